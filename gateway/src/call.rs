//! What the layers pass on: a request for a service, and the response.

use std::error::Error;

use bytes::Bytes;
use chassis::contract::reply::{self, Reply};
use futures_util::TryStreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, StatusCode};

/// A request for a service of the shop.
#[derive(Debug)]
pub struct Call {
    /// The place of the service in [`DESTINATIONS`](crate::routes::DESTINATIONS).
    pub to: usize,
    /// The URL of the one instance that may get it; any, if it is `None`.
    pub instance: Option<String>,
    /// The request, with its body if it has one.
    pub request: Request<Option<Incoming>>,
}

/// A response, of a service or of the gateway itself.
pub type Response = hyper::Response<Body>;

/// The body of a response.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// A reply of the gateway itself.
pub fn respond(reply: Reply) -> Response {
    let reply = reply.sent();
    let mut response = Response::new(match reply.body {
        reply::Body::Bytes(bytes) => {
            let body = Full::new(bytes).map_err(|never| match never {});
            body.boxed_unsync()
        }
        reply::Body::Stream(stream) => {
            let frames = stream.map_ok(Frame::data).map_err(Into::into);
            StreamBody::new(frames).boxed_unsync()
        }
    });
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::try_from(value.as_ref()) {
            let name = HeaderName::from_static(name);
            response.headers_mut().insert(name, value);
        }
    }
    response
}
