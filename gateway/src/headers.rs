//! A layer for the headers that change on the way: those that are about one connection are
//! removed, and those that say where a request comes from are set.

use std::task::{Context as Task, Poll};

use chassis::contract::error::ApiError;
use chassis::serve::connection::{is_encrypted, peer};
use chassis::telemetry::context::Context;
use chassis::values::headers::{REQUEST_ID, TRACEPARENT, TRACESTATE};
use futures_util::TryFutureExt;
use futures_util::future::MapOk;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, StatusCode, Uri, Version};
use tower::{Layer, Service};

use crate::call::{Call, Response};
use crate::proxies::{FORWARDED_FOR, TrustedProxies};

pub(crate) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What proves that a request comes from a service of the shop: never from a client.
const INTERNAL_TOKEN: HeaderName = HeaderName::from_static("x-internal-token");

/// The headers that are about one connection
/// ([RFC 9110, 7.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1)), besides those that
/// `Connection` names. `Trailer` is one of them here, because trailers are dropped.
static HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// The layer.
#[derive(Clone, Debug)]
pub struct Headers {
    trusted: TrustedProxies,
}

impl Headers {
    /// Believes `trusted` about where a request comes from.
    pub fn new(trusted: TrustedProxies) -> Self {
        Self { trusted }
    }
}

impl<S> Layer<S> for Headers {
    type Service = Rewritten<S>;

    fn layer(&self, next: S) -> Rewritten<S> {
        Rewritten {
            headers: self.clone(),
            next,
        }
    }
}

/// The next layer, with the headers changed.
#[derive(Clone, Debug)]
pub struct Rewritten<S> {
    headers: Headers,
    next: S,
}

impl<S: Service<Call, Response = Response, Error = ApiError>> Service<Call> for Rewritten<S> {
    type Response = Response;
    type Error = ApiError;
    type Future = MapOk<S::Future, fn(Response) -> Response>;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), ApiError>> {
        self.next.poll_ready(task)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        let trusts_peer = peer().is_some_and(|peer| self.headers.trusted.contains(peer));
        prepare(&mut call.request, trusts_peer);
        let prepare: fn(Response) -> Response = prepared;
        self.next.call(call).map_ok(prepare)
    }
}

/// Whether this is a request to go on as a web socket.
pub(crate) fn wants_websocket<B>(request: &Request<B>) -> bool {
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(request.headers(), &CONNECTION, "upgrade")
        && has_token(request.headers(), &UPGRADE, "websocket")
}

/// Makes a request one for another connection.
fn prepare<B: hyper::body::Body>(request: &mut Request<Option<B>>, trusts_peer: bool) {
    let wants_websocket = wants_websocket(request);
    make_host_a_header(request);
    if request.version() == Version::HTTP_2 {
        join_cookies(request.headers_mut());
    }
    *request.version_mut() = Version::HTTP_11;
    let body = request.body().as_ref();
    let length = body.map_or(Some(0), |body| body.size_hint().exact());
    let headers = request.headers_mut();
    remove_hop_by_hop(headers);
    headers.remove(EXPECT);
    headers.remove(INTERNAL_TOKEN);
    match length {
        Some(0) => {}
        Some(length) => {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        None => {
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    if wants_websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, WEBSOCKET);
    }
    set_origin(headers, trusts_peer);
    Context::with_current(|context| set_ids(headers, context));
}

/// A target with a host, as for a proxy, is a path and a `Host`
/// ([RFC 9112, 3.2.2](https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2)).
fn make_host_a_header<B>(request: &mut Request<B>) {
    let Some(host) = request.uri().authority() else {
        return;
    };
    let host = HeaderValue::from_str(host.as_str());
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    if let Ok(host) = host {
        request.headers_mut().insert(HOST, host);
    }
}

/// On HTTP/2, each cookie may have a line of its own
/// ([RFC 9113, 8.2.3](https://www.rfc-editor.org/rfc/rfc9113#section-8.2.3)).
fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(COOKIE).iter().collect();
    if lines.len() > 1 {
        let lines: Vec<_> = lines.into_iter().map(HeaderValue::as_bytes).collect();
        // What was valid in lines is valid in one.
        if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// Says where the request comes from.
fn set_origin(headers: &mut HeaderMap, trusts_peer: bool) {
    if !trusts_peer {
        for header in [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO] {
            headers.remove(header);
        }
    }
    let address = peer().map(|peer| peer.to_canonical().to_string());
    if let Some(address) = address.and_then(|address| HeaderValue::try_from(address).ok()) {
        // The addresses that the peer has sent, then its own.
        headers.append(FORWARDED_FOR, address);
    }
    if !headers.contains_key(FORWARDED_PROTO) {
        let scheme = if is_encrypted() { "https" } else { "http" };
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if !headers.contains_key(FORWARDED_HOST)
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(FORWARDED_HOST, host);
    }
}

/// The id of the request. Those of its trace are set for each attempt to send it, which has a span
/// of its own.
fn set_ids(headers: &mut HeaderMap, context: &Context) {
    for name in [REQUEST_ID, TRACEPARENT, TRACESTATE] {
        headers.remove(name);
    }
    if let Ok(id) = HeaderValue::from_str(context.request_id()) {
        headers.insert(HeaderName::from_static(REQUEST_ID), id);
    }
}

/// Makes a response one for another connection.
fn prepared(mut response: Response) -> Response {
    let is_websocket = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    remove_hop_by_hop(headers);
    if is_websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, WEBSOCKET);
    }
    response
}

/// Removes what is about one connection.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<_> = tokens(headers, &CONNECTION)
        .filter_map(|name| HeaderName::try_from(name).ok())
        // What says whom a message is for and where it ends is never about one connection.
        .filter(|name| ![HOST, CONTENT_LENGTH].contains(name))
        .collect();
    // Mostly none is there: to look at those that are costs less than to look for each.
    let always = headers.keys().filter(|name| HOP_BY_HOP.contains(name));
    let always: Vec<_> = always.cloned().collect();
    for name in named.into_iter().chain(always) {
        headers.remove(name);
    }
}

/// Whether a header that is a list has this item.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|one| one.eq_ignore_ascii_case(token))
}

/// Whether `If-None-Match` names this tag. Compared without the mark of weak tags
/// ([RFC 9110, 13.1.2](https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2)).
pub(crate) fn names_tag(headers: &HeaderMap, tag: &str) -> bool {
    let own = tag.trim_start_matches("W/");
    let mut named = tokens(headers, &IF_NONE_MATCH);
    named.any(|one| one == "*" || one.trim_start_matches("W/") == own)
}

/// The items of a header that is a list.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use super::*;

    type Body = Option<Empty<bytes::Bytes>>;

    fn request(headers: &[(&'static str, &'static str)]) -> Request<Body> {
        let mut request = Request::new(None);
        for (name, value) in headers {
            let value = HeaderValue::from_static(value);
            request.headers_mut().append(*name, value);
        }
        request
    }

    /// The values of a header of a request, once it is prepared.
    fn prepared(mut request: Request<Body>, trusts_peer: bool, name: &str) -> Vec<String> {
        prepare(&mut request, trusts_peer);
        let values = request.headers().get_all(name).iter();
        let values = values.map(|value| value.to_str().expect("ASCII").to_owned());
        values.collect()
    }

    #[test]
    fn what_is_about_one_connection_is_removed() {
        let headers = [
            ("host", "shop.test"),
            ("connection", "keep-alive, X-Hop, host, content-length"),
            ("connection", "x-hop-too"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("proxy-authorization", "Basic YTpi"),
            ("proxy-connection", "keep-alive"),
            ("expect", "100-continue"),
            ("x-hop", "1"),
            ("x-hop-too", "1"),
            ("x-internal-token", "forged"),
            ("authorization", "Bearer a"),
            ("cookie", "a=b"),
            ("cookie", "c=d"),
        ];
        let mut request = request(&headers);
        prepare(&mut request, false);
        let mut left: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                "authorization",
                "cookie",
                "host",
                "x-forwarded-host",
                "x-forwarded-proto"
            ]
        );
        assert_eq!(request.headers().get_all("cookie").iter().count(), 2);
    }

    #[test]
    fn a_client_is_not_believed_about_its_origin_but_a_proxy_is() {
        let headers = [
            ("host", "gateway"),
            ("x-forwarded-host", "shop.test"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        let values = |trusts, name| prepared(request(&headers), trusts, name);
        assert_eq!(values(false, "x-forwarded-host"), ["gateway"]);
        assert_eq!(values(false, "x-forwarded-proto"), ["http"]);
        assert!(values(false, "x-forwarded-for").is_empty());
        assert_eq!(values(true, "x-forwarded-host"), ["shop.test"]);
        assert_eq!(values(true, "x-forwarded-proto"), ["https"]);
        assert_eq!(values(true, "x-forwarded-for"), ["192.0.2.1"]);
    }

    #[test]
    fn only_a_web_socket_is_an_upgrade_that_is_passed_on() {
        let upgrade = |connection, upgrade| {
            let request = request(&[("connection", connection), ("upgrade", upgrade)]);
            prepared(request, false, "upgrade")
        };
        assert_eq!(upgrade("Upgrade", "WebSocket"), ["websocket"]);
        assert_eq!(upgrade("keep-alive, Upgrade", "websocket"), ["websocket"]);
        assert!(upgrade("keep-alive", "websocket").is_empty());
        assert!(upgrade("Upgrade, HTTP2-Settings", "h2c").is_empty());
    }

    #[test]
    fn a_target_with_a_host_becomes_a_path_and_a_host() {
        let mut request = request(&[("host", "other.test")]);
        *request.uri_mut() = "http://shop.test/api/users?a=%20".parse().expect("a URI");
        prepare(&mut request, false);
        assert_eq!(request.uri(), "/api/users?a=%20");
        assert_eq!(request.headers()["host"], "shop.test");
    }
}
