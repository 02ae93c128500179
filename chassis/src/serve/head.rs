//! The head of a request: what is accepted, before a framework sees it.
//!
//! hyper and actix-web each check heads, and they disagree. The checks here are at least as
//! strict as either, so that both accept what passes, and read it in the same way.

use std::mem::MaybeUninit;
use std::net::Ipv6Addr;
use std::ops::Range;
use std::sync::Arc;

use httparse::{Header, Request, Status};
use hyper::http::uri::Scheme;
use hyper::{StatusCode, Uri};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::contract::body::MAX_BODY;
use crate::contract::error::ApiError;
use crate::contract::reply::{Body, Reply};
use crate::serve::connection::MAX_HEAD;
use crate::serve::exchange::{Exchange, STANDARD_HEADERS};
use crate::serve::framing::{Chunks, Framing};
use crate::serve::service::Service;
use crate::values::headers::REQUEST_ID;
use crate::values::text::shortened;

/// The most header fields of a request. actix-web's parser can take no more.
pub(super) const MAX_FIELDS: usize = 96;

/// A head that is accepted.
#[derive(Debug)]
pub(super) struct Head {
    /// Its length in bytes.
    pub(super) length: usize,
    /// Its body.
    pub(super) body: Framing,
    /// Whether the client wants the connection to be closed after this request.
    pub(super) is_last: bool,
    /// Whether the client waits for a 100 before it sends the body.
    pub(super) expects_continue: bool,
    /// Where it asks for that, or for another protocol.
    pub(super) wishes: Vec<Range<usize>>,
}

/// Checks the head that `bytes` begin with. `None` if more of it must arrive.
pub(super) fn check(bytes: &[u8]) -> Result<Option<Head>, ApiError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(_) => return Err(ApiError::head_too_large(format!("{MAX_HEAD} bytes"))),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(ApiError::head_too_large(format!("{MAX_FIELDS} headers")));
        }
        Err(httparse::Error::Version) => {
            return Err(ApiError::invalid_head(
                "This server speaks HTTP/1.1 and HTTP/1.0; the request has another version",
            ));
        }
        Err(cause) => {
            return Err(ApiError::invalid_head(format!(
                "The head of the request is not HTTP/1.1: {cause}"
            )));
        }
    };
    check_target(
        request.method.unwrap_or_default(),
        request.path.unwrap_or_default(),
    )?;

    let is_1_0 = request.version == Some(0);
    let (mut host, mut content_length, mut coding) = (None, None, None);
    let (mut close, mut keep_alive) = (false, false);
    let mut expects_continue = false;
    let mut wishes = Vec::new();
    let begin = bytes.as_ptr().addr();
    for field in &*request.headers {
        let name = field.name;
        if name.eq_ignore_ascii_case("host") {
            once(&mut host, field)?;
        } else if name.eq_ignore_ascii_case("content-length") {
            once(&mut content_length, field)?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            once(&mut coding, field)?;
        } else if name.eq_ignore_ascii_case("connection") {
            for option in field.value.split(|byte| *byte == b',') {
                let option = option.trim_ascii();
                close |= option.eq_ignore_ascii_case(b"close");
                keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                if option.eq_ignore_ascii_case(b"upgrade") {
                    wishes.push(range(begin, option));
                }
            }
        } else if name.eq_ignore_ascii_case("upgrade") {
            wishes.push(range(begin, field.value));
        } else if name.eq_ignore_ascii_case("expect") {
            let mut wanted = field.value.split(|byte| *byte == b',');
            expects_continue |=
                wanted.any(|it| it.trim_ascii().eq_ignore_ascii_case(b"100-continue"));
            wishes.push(range(begin, field.value));
        }
    }
    check_host(host, is_1_0)?;
    Ok(Some(Head {
        length,
        body: body(&request, content_length, coding)?,
        is_last: close || is_1_0 && !keep_alive,
        // HTTP/1.0 has no interim responses.
        expects_continue: expects_continue && !is_1_0,
        wishes,
    }))
}

/// Checks the head of a request of HTTP/2, as far as its HTTP layer does not: that is, what
/// HTTP/1.1 has too.
pub(super) fn check_http2<B>(request: &hyper::Request<B>) -> Result<(), ApiError> {
    let (uri, headers) = (request.uri(), request.headers());
    if headers.len() > MAX_FIELDS {
        return Err(ApiError::head_too_large(format!("{MAX_FIELDS} headers")));
    }
    let (mut host, mut content_length) = (None, None);
    for (name, value) in headers {
        let field = Header {
            name: name.as_str(),
            value: value.as_bytes(),
        };
        match field.name {
            "host" => once(&mut host, &field)?,
            "content-length" => once(&mut content_length, &field)?,
            _ => {}
        }
    }
    content_length.map_or(Ok(0), parse_length)?;
    let authority = uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    if let (Some(host), Some(authority)) = (host, authority)
        && !host.eq_ignore_ascii_case(authority)
    {
        return Err(ApiError::invalid_head(
            "The request names one host in :authority and another one in Host; send one of them",
        ));
    }
    // A proxy takes this one.
    check_host(authority.or(host), false)?;
    if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTPS) {
        return Err(ApiError::invalid_head(
            "The :scheme of a request within TLS must be https",
        ));
    }
    match uri.path_and_query() {
        Some(target) => check_target(request.method().as_str(), target.as_str()),
        // It is CONNECT.
        None => Ok(()),
    }
}

/// Where `part` is in the bytes that begin at the address `begin`.
fn range(begin: usize, part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - begin;
    start..start + part.len()
}

/// Remembers the value of a field that may be there once.
fn once<'a>(seen: &mut Option<&'a [u8]>, field: &Header<'a>) -> Result<(), ApiError> {
    if seen.replace(field.value).is_some() {
        let name = field.name;
        return Err(ApiError::invalid_head(format!(
            "The request has two {name} headers; send one"
        )));
    }
    Ok(())
}

/// Whether the target has a form that the method may have
/// ([RFC 9112, 3.2](https://www.rfc-editor.org/rfc/rfc9112#section-3.2)).
fn check_target(method: &str, target: &str) -> Result<(), ApiError> {
    if !target.is_ascii() {
        return Err(ApiError::invalid_head(
            "The path or the query contains characters that are not ASCII; percent-encode them, \
             such as ü as %C3%BC",
        ));
    }
    // hyper and actix parse it with two versions of this type.
    let uri = Uri::try_from(target).map_err(|cause| {
        ApiError::invalid_head(format!(
            "The path or the query of the request is not valid: {cause}; percent-encode special \
             characters"
        ))
    })?;
    let is_valid = match (method, target) {
        ("CONNECT", _) => uri.authority().is_some() && uri.scheme().is_none(),
        ("OPTIONS", "*") => true,
        _ => target.starts_with('/') || uri.scheme().is_some(),
    };
    if is_valid {
        Ok(())
    } else {
        Err(ApiError::invalid_head(
            "The path of the request must start with /",
        ))
    }
}

/// HTTP/1.1 needs one Host
/// ([RFC 9112, 3.2](https://www.rfc-editor.org/rfc/rfc9112#section-3.2)).
fn check_host(host: Option<&[u8]>, is_1_0: bool) -> Result<(), ApiError> {
    match host {
        None if is_1_0 => Ok(()),
        None => Err(ApiError::invalid_head(
            "The request has no Host header; HTTP/1.1 requires one",
        )),
        Some(host) if is_host(host) => Ok(()),
        Some(host) => Err(ApiError::invalid_head(format!(
            "The Host header must be a host name or an address, with or without a port, not {:?}",
            shortened(&String::from_utf8_lossy(host))
        ))),
    }
}

/// Whether it is `uri-host [ ":" port ]`, with a host that is not empty.
fn is_host(value: &[u8]) -> bool {
    let Ok(value) = str::from_utf8(value) else {
        return false;
    };
    let (is_host, port) = if let Some(rest) = value.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').unwrap_or_default();
        let port = if rest.is_empty() {
            Some("")
        } else {
            rest.strip_prefix(':')
        };
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let (name, port) = value.split_once(':').unwrap_or((value, ""));
        (is_name(name), Some(port))
    };
    // `a:` is valid, `a:+1` is not.
    let is_port =
        |port: &str| port.is_empty() || port.parse::<u16>().is_ok() && !port.starts_with('+');
    is_host && port.is_some_and(is_port)
}

/// A host name or an IPv4 address
/// ([RFC 3986, 3.2.2](https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2)).
fn is_name(name: &str) -> bool {
    let mut parts = name.split('%');
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&b);
    let plain = |part: &str| part.bytes().all(allowed);
    let encoded = |part: &str| {
        let digits = part.get(..2).unwrap_or_default();
        digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit()) && plain(&part[2..])
    };
    !name.is_empty() && parts.next().is_some_and(plain) && parts.all(encoded)
}

/// How long the body is
/// ([RFC 9112, 6.3](https://www.rfc-editor.org/rfc/rfc9112#section-6.3)).
fn body(
    request: &Request<'_, '_>,
    content_length: Option<&[u8]>,
    coding: Option<&[u8]>,
) -> Result<Framing, ApiError> {
    let is_1_0 = request.version == Some(0);
    match (content_length, coding) {
        (None, None) if is_1_0 && request.method == Some("POST") => Err(ApiError::invalid_head(
            "A POST in HTTP/1.0 needs a Content-Length header",
        )),
        (None, None) => Ok(Framing::Length(0)),
        (Some(length), None) => parse_length(length).map(Framing::Length),
        (Some(_), Some(_)) => Err(ApiError::invalid_head(
            "The request has a Content-Length and a Transfer-Encoding header; send one of them",
        )),
        (None, Some(_)) if is_1_0 => Err(ApiError::invalid_head(
            "HTTP/1.0 has no Transfer-Encoding; send a Content-Length header",
        )),
        (None, Some(coding)) => check_coding(coding).map(|()| Framing::Chunked(Chunks::Begin)),
    }
}

fn parse_length(value: &[u8]) -> Result<u64, ApiError> {
    let digits = str::from_utf8(value).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ApiError::invalid_head(format!(
            "Content-Length must be a number of bytes, not {:?}",
            shortened(&String::from_utf8_lossy(value))
        )));
    }
    // More than a number can hold is also more than the limit.
    let length = digits.parse().ok().filter(|length| *length < u64::MAX / 2);
    length.ok_or_else(|| ApiError::payload_too_large(MAX_BODY))
}

fn check_coding(value: &[u8]) -> Result<(), ApiError> {
    let mut codings = value.rsplit(|byte| *byte == b',');
    let is_chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    let shown = || format!("{:?}", shortened(&String::from_utf8_lossy(value)));
    if !codings.next().is_some_and(is_chunked) {
        return Err(ApiError::invalid_head(format!(
            "The last Transfer-Encoding of a request must be chunked, not {}",
            shown()
        )));
    }
    match codings.map(is_chunked).max() {
        None => Ok(()),
        Some(true) => Err(ApiError::invalid_head(
            "The body is chunked twice; send Transfer-Encoding: chunked",
        )),
        Some(false) => Err(ApiError::unknown_coding(shown())),
    }
}

/// The response to a head that is refused. The request is logged and counted like any other.
pub(super) fn refuse(service: &Arc<Service>, bytes: &[u8], error: ApiError) -> Vec<u8> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = Request::new(&mut fields);
    // After an error, it holds the parts before it.
    let _ = request.parse(bytes);
    let header = |name: &'static str| {
        let fields = request.headers.iter();
        let fields = fields.filter(move |field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value)
    };
    let target = request.path.unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let method = request.method.unwrap_or_default();
    let exchange = Exchange::begin(service, method, path, header);
    let reply = exchange.context().clone().enter(|| error.reply());
    exchange.answered(reply.status, None);
    let id = exchange.context().request_id();
    written(&reply, id, service.headers(), method == "HEAD")
}

/// The last response of a connection, as bytes.
fn written(
    reply: &Reply,
    request_id: &str,
    additions: &[(&'static str, &'static str)],
    is_head: bool,
) -> Vec<u8> {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_REQUEST);
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
    let body: &[u8] = match &reply.body {
        Body::Bytes(bytes) => bytes,
        Body::Stream(_) => b"",
    };
    let standard = STANDARD_HEADERS.iter().chain(additions);
    let standard = standard.map(|(name, value)| (*name, (*value).to_owned()));
    // The reply may have it too.
    let own = reply
        .headers
        .iter()
        .filter(|(name, _)| *name != "connection");
    let own = own.map(|(name, value)| (*name, value.to_string()));
    let mut headers: Vec<_> = own.chain(standard).collect();
    headers.extend([
        (REQUEST_ID, request_id.to_owned()),
        ("connection", "close".to_owned()),
        ("content-length", body.len().to_string()),
    ]);
    headers.extend(date.map(|date| ("date", date)));
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let head = format!("HTTP/1.1 {status}\r\n{}\r\n", lines.collect::<String>());
    let body: &[u8] = if is_head { b"" } else { body };
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(head: &str) -> Result<Option<Head>, u16> {
        check(head.as_bytes()).map_err(|error| error.status())
    }

    fn with(headers: &str) -> Result<Framing, u16> {
        let head = checked(&format!("POST / HTTP/1.1\r\nhost: a\r\n{headers}\r\n"))?;
        Ok(head.expect("a whole head").body)
    }

    #[test]
    fn a_head_is_checked_when_all_of_it_is_there() {
        let whole = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        for end in 1..whole.len() {
            assert!(
                checked(&whole[..end]).expect("valid so far").is_none(),
                "{end}"
            );
        }
        let head = checked(&format!("{whole}GET /"))
            .expect("valid")
            .expect("whole");
        assert_eq!((head.length, head.is_last), (whole.len(), false));
        // What can be no HTTP is refused at once.
        for start in [
            "\x16\x03\x01",
            "SSH-2.0\r\n",
            "GET / HTTP/2.0\r\n",
            "PRI * HTTP/2",
        ] {
            assert_eq!(checked(start).expect_err("no HTTP/1.1"), 400, "{start:?}");
        }
        let long = "x".repeat(MAX_HEAD);
        assert_eq!(checked(&format!("GET /{long}")).expect_err("too long"), 431);
        let many = |count| {
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
                "x: y\r\n".repeat(count)
            )
        };
        assert!(checked(&many(MAX_FIELDS - 1)).is_ok());
        assert_eq!(checked(&many(MAX_FIELDS)).expect_err("too many"), 431);
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_maybe_a_port() {
        for good in [
            "a",
            "shop.test",
            "a_b",
            "127.0.0.1:8001",
            "[::1]",
            "[::1]:8001",
            "a:",
            "a%20b",
            "A-1",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", " ", ":80", "a b", "a/b", "a:b", "a:80:80", "a:-1", "a:+1", "a:65536", "user@a",
            "::1", "[::1", "[::1]80", "[a]", "[]", "a%", "a%2", "a%zz", "http://a", "ü", "a\"",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
        assert!(!is_host(b"\xff"));
        let head = |version, host| format!("GET / HTTP/{version}\r\n{host}\r\n");
        assert!(checked(&head("1.0", "")).is_ok(), "HTTP/1.0 has none");
        for (version, host) in [
            ("1.1", ""),
            ("1.1", "host: a\r\nHost: a\r\n"),
            ("1.0", "host: /\r\n"),
        ] {
            assert_eq!(checked(&head(version, host)).expect_err(host), 400);
        }
    }

    #[test]
    fn the_length_of_a_body_is_clear_or_the_head_is_refused() {
        let chunked = || Ok(Framing::Chunked(Chunks::Begin));
        for (headers, expected) in [
            ("", Ok(Framing::Length(0))),
            ("Content-Length: 7\r\n", Ok(Framing::Length(7))),
            ("transfer-encoding: Chunked\r\n", chunked()),
            ("content-length: 7\r\ncontent-length: 7\r\n", Err(400)),
            ("content-length: 7, 7\r\n", Err(400)),
            ("content-length: +7\r\n", Err(400)),
            ("content-length: -7\r\n", Err(400)),
            ("content-length:\r\n", Err(400)),
            ("content-length: 18446744073709551615\r\n", Err(413)),
            ("content-length: 99999999999999999999999\r\n", Err(413)),
            (
                "content-length: 7\r\ntransfer-encoding: chunked\r\n",
                Err(400),
            ),
            ("transfer-encoding: chunked, chunked\r\n", Err(400)),
            (
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
                Err(400),
            ),
            ("transfer-encoding: chunked, gzip\r\n", Err(400)),
            ("transfer-encoding: identity\r\n", Err(400)),
            ("transfer-encoding: gzip, chunked\r\n", Err(501)),
        ] {
            assert_eq!(with(headers), expected, "{headers}");
        }
        for (head, status) in [
            ("POST / HTTP/1.0\r\n\r\n", 400),
            ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        ] {
            assert_eq!(checked(head).expect_err(head), status);
        }
    }

    #[test]
    fn a_client_says_whether_the_request_is_its_last_and_whether_it_wants_another_protocol() {
        for (version, connection, is_last) in [
            ("1.1", "", false),
            ("1.1", "connection: Close\r\n", true),
            ("1.1", "connection: a, close\r\n", true),
            (
                "1.1",
                "connection: keep-alive\r\nconnection: close\r\n",
                true,
            ),
            ("1.0", "", true),
            ("1.0", "connection: keep-alive\r\n", false),
        ] {
            let head = checked(&format!(
                "GET / HTTP/{version}\r\nhost: a\r\n{connection}\r\n"
            ));
            let head = head.expect("valid").expect("whole");
            assert_eq!(head.is_last, is_last, "{version} {connection}");
        }
    }

    #[test]
    fn what_a_client_asks_for_is_found() {
        let text = "GET / HTTP/1.1\r\nhost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n\
            Expect: 100-continue\r\n\r\n";
        let head = checked(text).expect("valid").expect("whole");
        let found: Vec<_> = head.wishes.into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, ["Upgrade", "h2c", "100-continue"]);
        for (version, expect, expected) in [
            ("1.1", "", false),
            ("1.1", "expect: 100-Continue\r\n", true),
            ("1.1", "expect: tea, 100-continue\r\n", true),
            ("1.1", "expect: tea\r\n", false),
            ("1.0", "expect: 100-continue\r\n", false),
        ] {
            let head = checked(&format!("GET / HTTP/{version}\r\nhost: a\r\n{expect}\r\n"));
            let head = head.expect("valid").expect("whole");
            assert_eq!(head.expects_continue, expected, "{version} {expect}");
        }
    }

    #[test]
    fn a_target_is_a_path_in_ascii() {
        for (method, target, good) in [
            ("GET", "/", true),
            ("GET", "/a?b={c}", true),
            ("GET", "http://a/b", true),
            ("GET", "a", false),
            ("GET", "*", false),
            ("GET", "/ü", false),
            ("GET", "/<", false),
            ("OPTIONS", "*", true),
            ("CONNECT", "a:80", true),
            ("CONNECT", "/", false),
        ] {
            assert_eq!(
                check_target(method, target).is_ok(),
                good,
                "{method} {target}"
            );
        }
    }
}
