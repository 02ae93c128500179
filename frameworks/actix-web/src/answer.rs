//! The return types of handlers.

use std::fmt;

use actix_web::body::{BodyStream, BoxBody};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, Responder, ResponseError};
use chassis::contract::error::ApiError;
use chassis::contract::reply::{Body, Reply};

/// A reply of the contract, as a response of actix.
pub struct Answer(pub Reply);

impl Answer {
    pub(crate) fn into_response(self) -> HttpResponse {
        let Reply {
            status,
            headers,
            body,
        } = self.0.sent();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        for (name, value) in headers {
            // actix ignores this header and has a method for it.
            if (name, value.as_ref()) == ("connection", "close") {
                response.force_close();
            } else {
                response.insert_header((name, value.as_ref()));
            }
        }
        match body {
            Body::Bytes(bytes) => response.body(bytes),
            Body::Stream(stream) => response.body(BodyStream::new(stream)),
        }
    }
}

impl Responder for Answer {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.into_response()
    }
}

// ANCHOR: failure
/// An error that a handler returns with `?`.
#[derive(Debug)]
pub struct Failure(ApiError);

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl ResponseError for Failure {
    fn error_response(&self) -> HttpResponse {
        Answer(self.0.clone().reply()).into_response()
    }
}
// ANCHOR_END: failure
