//! A layer that compresses responses for clients that accept it.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_compression::Level;
use async_compression::brotli::EncoderParams;
use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder};
use chassis::serve::guarded::Guarded;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as _, Frame};
use hyper::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, VARY,
};
use hyper::{Method, Request, StatusCode};
use tokio::io::AsyncRead;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::io::{ReaderStream, StreamReader};
use tower::{Layer, Service};

use crate::call::{Body, Response};

/// The smallest body that is compressed, in bytes: a smaller one fits into one packet anyway.
const LEAST: u64 = 1024;

/// The most responses that are compressed at a time. Each takes up to 2 MB. One more is sent as it
/// is.
const AT_A_TIME: usize = 32;

/// More would save few bytes for much time.
const LEVEL: Level = Level::Precise(4);

/// The logarithm of the bytes in which brotli looks for repetitions. With its default, 22, each
/// response would take several MB.
const WINDOW: i32 = 16;

/// How much of a compressed body is sent at once, at most.
const PIECE: usize = 16 * 1024;

/// The layer.
#[derive(Clone, Debug)]
pub struct Compression(Arc<Semaphore>);

impl Compression {
    /// Nothing is compressed yet.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_A_TIME)))
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for Compression {
    type Service = Compressed<S>;

    fn layer(&self, next: S) -> Compressed<S> {
        Compressed {
            free: Arc::clone(&self.0),
            next,
        }
    }
}

/// The next layer, with responses that are compressed.
#[derive(Clone, Debug)]
pub struct Compressed<S> {
    free: Arc<Semaphore>,
    next: S,
}

impl<B, S> Service<Request<B>> for Compressed<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.next.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let coding = Coding::accepted(request.headers());
        let coding = coding.filter(|_| request.method() != Method::HEAD);
        let known = request.headers().get(IF_NONE_MATCH).cloned();
        let free = Arc::clone(&self.free);
        let answering = self.next.call(request);
        Box::pin(async move {
            let mut response = answering.await?;
            if response.status() == StatusCode::NOT_MODIFIED {
                keep_tag(response.headers_mut(), known.as_ref());
                return Ok(response);
            }
            if !is_worth_it(&response) {
                return Ok(response);
            }
            vary(response.headers_mut());
            let permit = || free.try_acquire_owned().ok();
            Ok(match coding.and_then(|coding| Some((coding, permit()?))) {
                Some((coding, permit)) => coding.apply(response, permit),
                None => response,
            })
        })
    }
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Brotli,
}

impl Coding {
    /// The one that a client likes best, unless it prefers a body as it is
    /// ([RFC 9110, 12.5.3](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3)).
    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let mut any = None;
        let (mut as_it_is, mut brotli, mut gzip) = (None, None, None);
        for item in items(headers, &ACCEPT_ENCODING) {
            let (name, quality) = item.split_once(';').unwrap_or((item, "q=1"));
            let quality = quality.trim().strip_prefix(['q', 'Q']);
            let quality = quality.and_then(|quality| quality.strip_prefix('='));
            // What cannot be read is not wanted.
            let quality: f32 = quality.and_then(|one| one.parse().ok()).unwrap_or(0.0);
            match name.trim().to_ascii_lowercase().as_str() {
                "*" => any = Some(quality),
                "identity" => as_it_is = Some(quality),
                "br" => brotli = Some(quality),
                "gzip" | "x-gzip" => gzip = Some(quality),
                _ => {}
            }
        }
        let quality = |named: Option<f32>| named.or(any).unwrap_or(0.0);
        let (brotli, gzip) = (quality(brotli), quality(gzip));
        // At this level they save the same, and brotli takes several times the processor time.
        let (best, coding) = if gzip >= brotli {
            (gzip, Self::Gzip)
        } else {
            (brotli, Self::Brotli)
        };
        (best > 0.0 && best >= as_it_is.unwrap_or(0.0)).then_some(coding)
    }

    fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        })
    }

    /// Compresses a response piece by piece, as its client reads it.
    fn apply(self, response: Response, permit: OwnedSemaphorePermit) -> Response {
        let (mut head, body) = response.into_parts();
        let body = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
        let body = match self {
            Self::Brotli => {
                let params = EncoderParams::default().quality(LEVEL).window_size(WINDOW);
                pieces(BrotliEncoder::with_params(body, params))
            }
            Self::Gzip => pieces(GzipEncoder::with_quality(body, LEVEL)),
        };
        let headers = &mut head.headers;
        headers.insert(CONTENT_ENCODING, self.name());
        headers.remove(CONTENT_LENGTH);
        // A range would be one of the compressed bytes, which are made anew each time.
        headers.remove(ACCEPT_RANGES);
        weaken_tag(headers);
        Response::from_parts(head, Guarded::new(body, permit).boxed_unsync())
    }
}

fn pieces(body: impl AsyncRead + Send + 'static) -> Body {
    let pieces = ReaderStream::with_capacity(body, PIECE);
    let frames = pieces.map_ok(Frame::data).map_err(Into::into);
    StreamBody::new(frames).boxed_unsync()
}

/// Whether it would be right to compress a response, and would save something. A body of unknown
/// length may be a stream whose reader waits for each piece: compressed, it would come late.
fn is_worth_it(response: &Response) -> bool {
    let headers = response.headers();
    let length = headers.get(CONTENT_LENGTH).map_or_else(
        || response.body().size_hint().exact(),
        |length| length.to_str().ok()?.parse().ok(),
    );
    length.is_some_and(|length| length >= LEAST)
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && response.status() != StatusCode::PARTIAL_CONTENT
        && !items(headers, &CACHE_CONTROL).any(|item| item.eq_ignore_ascii_case("no-transform"))
        && headers.get(CONTENT_TYPE).is_some_and(is_text)
}

/// Whether this is the type of a text, of JSON or of SVG.
fn is_text(content_type: &HeaderValue) -> bool {
    let content_type = content_type.to_str().unwrap_or_default();
    let name = content_type.split(';').next().unwrap_or_default();
    let name = name.trim().to_ascii_lowercase();
    match name.split_once('/') {
        Some(("text", kind)) => kind != "event-stream",
        Some(("application", kind)) => kind == "json" || kind.ends_with("+json"),
        Some(("image", kind)) => kind == "svg+xml",
        _ => false,
    }
}

/// Says that another client gets other bytes, also to one that gets them as they are.
fn vary(headers: &mut HeaderMap) {
    let there = items(headers, &VARY).filter(|name| !name.is_empty());
    let mut names: Vec<_> = there.collect();
    let coding = ACCEPT_ENCODING.as_str();
    if names
        .iter()
        .any(|name| *name == "*" || name.eq_ignore_ascii_case(coding))
    {
        return;
    }
    names.push("Accept-Encoding");
    if let Ok(names) = HeaderValue::try_from(names.join(", ")) {
        headers.insert(VARY, names);
    }
}

/// A strong tag promises the same bytes, a weak one only the same content.
fn weaken_tag(headers: &mut HeaderMap) {
    if let Some(weak) = headers.get(ETAG).and_then(weak) {
        headers.insert(ETAG, weak);
    }
}

/// A response that has not changed has the tag by which the client knows it.
fn keep_tag(headers: &mut HeaderMap, known: Option<&HeaderValue>) {
    let weak = headers.get(ETAG).and_then(weak);
    let known = known.map(HeaderValue::as_bytes).unwrap_or_default();
    if let Some(weak) = weak
        && known
            .windows(weak.len())
            .any(|part| part == weak.as_bytes())
    {
        headers.insert(ETAG, weak);
    }
}

/// The weak form of a strong tag.
fn weak(tag: &HeaderValue) -> Option<HeaderValue> {
    let is_strong = tag.as_bytes().starts_with(b"\"");
    let weak = is_strong.then(|| [b"W/", tag.as_bytes()].concat())?;
    HeaderValue::from_bytes(&weak).ok()
}

/// The items of a header that is a list.
fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses_the_coding() {
        let accepted = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            Coding::accepted(&headers)
        };
        let (brotli, gzip) = (Some(Coding::Brotli), Some(Coding::Gzip));
        for (lines, expected) in [
            ([].as_slice(), None),
            (&[""], None),
            (&["deflate, zstd"], None),
            (&["gzip"], gzip),
            (&["X-GZIP"], gzip),
            (&["gzip, deflate, br, zstd"], gzip),
            (&["br", "gzip"], gzip),
            (&["gzip;q=0.9, br;q=1.0"], brotli),
            (&["br"], brotli),
            (&["gzip ; q=0.5,br; Q=0.6"], brotli),
            (&["br;q=0, gzip;q=0.001"], gzip),
            (&["gzip;q=0"], None),
            (&["gzip;q=much"], None),
            (&["*"], gzip),
            (&["*, gzip;q=0"], brotli),
            (&["*;q=0"], None),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip"], gzip),
        ] {
            assert_eq!(accepted(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn text_json_and_svg_are_worth_it() {
        for (content_type, expected) in [
            ("text/html; charset=utf-8", true),
            ("TEXT/CSS", true),
            ("application/json", true),
            ("application/problem+json;charset=utf-8", true),
            ("image/svg+xml", true),
            ("text/event-stream", false),
            ("text/event-stream; charset=utf-8", false),
            ("application/octet-stream", false),
            ("application/x-ndjson", false),
            ("image/png", false),
            ("multipart/byteranges", false),
            ("json", false),
        ] {
            let is = is_text(&HeaderValue::from_static(content_type));
            assert_eq!(is, expected, "{content_type}");
        }
    }
}
