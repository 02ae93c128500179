//! The return types of handlers.

use std::io::Cursor;

use chassis::contract::error::ApiError;
use chassis::contract::reply::{Body, Reply};
use rocket::http::Status;
use rocket::request::Request;
use rocket::response::{self, Responder, Response};
use tokio_util::io::StreamReader;

use crate::dispatch::arrived;

/// A reply of the contract, as a response of Rocket.
pub struct Answer(pub Reply);

impl<'r> Responder<'r, 'static> for Answer {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        let Reply {
            status,
            headers,
            body,
        } = self.0.sent();
        let mut response = Response::build();
        response.status(Status::new(status));
        match body {
            Body::Bytes(bytes) => {
                arrived(request).answer.lock().replace(bytes.clone());
                response.sized_body(bytes.len(), Cursor::new(bytes))
            }
            Body::Stream(stream) => response.streamed_body(StreamReader::new(stream)),
        };
        for (name, value) in headers {
            response.raw_header(name, value);
        }
        response.ok()
    }
}

// ANCHOR: failure
/// An error that a handler returns with `?`.
#[derive(Debug)]
pub struct Failure(pub(crate) ApiError);

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl<'r> Responder<'r, 'static> for Failure {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        Answer(self.0.reply()).respond_to(request)
    }
}
// ANCHOR_END: failure
