//! The return types of handlers.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chassis::contract::error::ApiError;
use chassis::contract::reply::{self, Reply};

/// A reply of the contract, as a response of axum.
pub struct Answer(pub Reply);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Reply {
            status,
            headers,
            body,
        } = self.0.sent();
        let mut response = Response::new(match body {
            reply::Body::Bytes(bytes) => Body::from(bytes),
            reply::Body::Stream(stream) => Body::from_stream(stream),
        });
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
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
pub struct Failure(ApiError);

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        Answer(self.0.reply()).into_response()
    }
}
// ANCHOR_END: failure
