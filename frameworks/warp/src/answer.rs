//! The return types of handlers.

use chassis::contract::error::ApiError;
use chassis::contract::reply::{Body, Reply};
use futures_util::stream::{StreamExt, poll_fn};
use parking_lot::Mutex;
use warp::Rejection;
use warp::http::{HeaderName, HeaderValue, StatusCode};
use warp::reject::{MethodNotAllowed, Reject};
use warp::reply::Response;

/// A reply of the contract, as a response of warp.
pub struct Answer(pub Reply);

impl warp::Reply for Answer {
    fn into_response(self) -> Response {
        let Reply {
            status,
            headers,
            body,
        } = self.0.sent();
        let mut response = match body {
            Body::Bytes(bytes) => Response::new(bytes.into()),
            Body::Stream(stream) => {
                // warp requires a body that is `Sync`. The mutex is never locked.
                let mut stream = Mutex::new(stream);
                let chunks = poll_fn(move |cx| stream.get_mut().poll_next_unpin(cx));
                warp::reply::stream(chunks).into_response()
            }
        };
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
/// An error that a handler returns with `?`, or that a filter rejects with.
#[derive(Debug)]
pub struct Failure(pub(crate) ApiError);

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl warp::Reply for Failure {
    fn into_response(self) -> Response {
        Answer(self.0.reply()).into_response()
    }
}

impl Reject for Failure {}

/// Turns a rejection into a response. A rejection tells warp to try the next route, so this
/// one contains those of all routes. If one of them is a [`Failure`], it is the response;
/// otherwise no route matched.
pub(crate) async fn failed(rejection: Rejection) -> Result<Answer, Rejection> {
    if let Some(Failure(error)) = rejection.find() {
        Ok(Answer(error.clone().reply()))
    } else if rejection.is_not_found() || rejection.find::<MethodNotAllowed>().is_some() {
        Err(rejection)
    } else {
        Ok(Answer(ApiError::internal(format!("{rejection:?}")).reply()))
    }
}
// ANCHOR_END: failure
