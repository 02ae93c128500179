//! Passes requests from hyper to Rocket's in-process client, and responses back.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use chassis::serve::guarded::Guarded;
use futures_util::TryStreamExt;
use http_body_util::{Either, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::{StatusCode, Uri};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rocket::http::uri::Origin;
use rocket::http::{Header, Method};
use rocket::local::asynchronous::Client;
use rocket::request::Request;
use rocket::uri;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

/// The parts of a request that Rocket's in-process client cannot represent: an unknown
/// method, the raw path, and an unread body. The cache of Rocket's request holds them, and
/// also the body of the response, which Rocket would copy.
#[derive(Default)]
pub(crate) struct Arrived {
    pub(crate) method: hyper::Method,
    pub(crate) uri: Uri,
    pub(crate) body: Mutex<Option<Incoming>>,
    pub(crate) answer: Arc<Mutex<Option<Bytes>>>,
}

pub(crate) fn arrived<'r>(request: &'r Request<'_>) -> &'r Arrived {
    request.local_cache(Arrived::default)
}

/// Passes a request to Rocket and returns its response. Rocket's request owns the exchange,
/// Rocket's response owns that request, and the body owns that response.
pub(crate) async fn dispatch(
    rocket: &'static Client,
    request: hyper::Request<Incoming>,
) -> hyper::Response<
    impl Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
> {
    let (head, body) = request.into_parts();
    // Rocket parses `get` as GET. An unknown method becomes TRACE, which no route has.
    let method: Option<Method> = head.method.as_str().parse().ok();
    let method = method.filter(|method| method.as_str() == head.method.as_str());
    let mut request = rocket.req(method.unwrap_or(Method::Trace), origin(&head.uri));
    for (name, value) in &head.headers {
        // Rocket's header values are text. Convert others lossily rather than dropping them:
        // a header that must be refused must not count as absent.
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        request.add_header(Header::new(name.to_string(), value));
    }
    let whole = Arc::<Mutex<Option<Bytes>>>::default();
    request.local_cache(|| Arrived {
        method: head.method,
        uri: head.uri,
        body: Mutex::new(Some(body)),
        answer: Arc::clone(&whole),
    });
    let mut answer = request.dispatch().await;

    let mut response = hyper::Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(answer.status().code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for header in answer.headers().iter() {
        let name = HeaderName::try_from(header.name().as_str());
        let value = HeaderValue::try_from(header.value());
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    // For HEAD, Rocket has dropped the body but kept its size.
    let body = if let Some(size) = answer.body().preset_size() {
        response.headers_mut().insert(CONTENT_LENGTH, size.into());
        let whole = whole.lock().take().filter(|bytes| bytes.len() == size);
        let bytes = if let Some(bytes) = whole {
            bytes
        } else {
            let mut bytes = Vec::with_capacity(size);
            // The body is in memory, so reading cannot fail.
            let _ = answer.read_to_end(&mut bytes).await;
            bytes.into()
        };
        Either::Left(Guarded::new(Full::from(bytes), answer))
    } else {
        let chunks = ReaderStream::new(answer).map_ok(Frame::data);
        Either::Right(StreamBody::new(chunks))
    };
    response.map(|()| body)
}

/// The URI in Rocket's syntax: hyper allows more characters unescaped. A target without a
/// path (`OPTIONS *`) becomes the root, which has no route.
fn origin(uri: &Uri) -> Origin<'static> {
    const ESCAPED: &AsciiSet = &CONTROLS
        .add(b'"')
        .add(b'\\')
        .add(b'^')
        .add(b'`')
        .add(b'{')
        .add(b'|')
        .add(b'}');
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Origin::parse_owned(utf8_percent_encode(target, ESCAPED).to_string())
        .unwrap_or_else(|_| uri!("/"))
}
