//! The return types of handlers.

use chassis::contract::error::ApiError;
use chassis::contract::reply::{self, Reply};
use poem::http::{HeaderName, HeaderValue, StatusCode};
use poem::{Body, IntoResponse, Response};

/// A reply of the contract, as a response of poem.
pub struct Answer(pub Reply);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Reply {
            status,
            headers,
            body,
        } = self.0.sent();
        let mut response = Response::default();
        response
            .set_status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        match body {
            reply::Body::Bytes(bytes) => {
                // poem drops the body of a response to HEAD, and its length with it.
                let length = HeaderValue::from(bytes.len());
                response.headers_mut().insert("content-length", length);
                response.set_body(bytes);
            }
            reply::Body::Stream(stream) => response.set_body(Body::from_bytes_stream(stream)),
        }
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::try_from(value.as_ref()) {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

// ANCHOR: failure
/// An error that a handler returns with `?`.
pub struct Failure(pub(crate) ApiError);

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl From<Failure> for poem::Error {
    fn from(Failure(error): Failure) -> Self {
        Self::from_response(Answer(error.reply()).into_response())
    }
}
// ANCHOR_END: failure
