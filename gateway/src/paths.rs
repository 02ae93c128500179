//! A layer that refuses paths which a service, or something in between, could read as another
//! path: the request would reach what the gateway has not chosen.

use std::borrow::Cow;
use std::task::{Context, Poll};

use chassis::contract::error::ApiError;
use futures_util::future::{Either, Ready, ready};
use percent_encoding::percent_decode_str;
use tower::{Layer, Service};

use crate::call::Call;

/// The layer.
#[derive(Clone, Copy, Debug)]
pub struct Paths;

impl<S> Layer<S> for Paths {
    type Service = Checked<S>;

    fn layer(&self, next: S) -> Checked<S> {
        Checked(next)
    }
}

/// The next layer, for calls with a clear path.
#[derive(Clone, Debug)]
pub struct Checked<S>(S);

impl<S: Service<Call, Error = ApiError>> Service<Call> for Checked<S> {
    type Response = S::Response;
    type Error = ApiError;
    type Future = Either<S::Future, Ready<Result<S::Response, ApiError>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ApiError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        if is_clear(call.request.uri().path()) {
            Either::Left(self.0.call(call))
        } else {
            Either::Right(ready(Err(ApiError::not_found(
                "The path has an empty segment, or one with . or .. or an encoded slash; the \
                 gateway does not forward it",
            ))))
        }
    }
}

/// Whether a path means the same to everybody who reads it.
fn is_clear(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|path| {
        path.split('/').all(|segment| {
            let segment = Cow::from(percent_decode_str(segment));
            let separates = |byte: &u8| matches!(byte, b'/' | b'\\' | 0);
            !matches!(&*segment, b"" | b"." | b"..") && !segment.iter().any(separates)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_mean_another_is_not_clear() {
        for clear in [
            "/api/users",
            "/api/users/7",
            "/api/users/%37",
            "/api/users/a.b",
            "/api/users/...",
            "/api/users/%20",
            "/api/users/%c3%bc",
            "/api/users/%ff",
            "/api/users/%",
            // Decoded once, it is the text %2f.
            "/api/users/%252f",
        ] {
            assert!(is_clear(clear), "{clear}");
        }
        for unclear in [
            "/api/users/",
            "/api//users",
            "//api/users",
            "/api/users/.",
            "/api/users/..",
            "/api/users/../products",
            "/api/users/%2e%2e/products",
            "/api/users/.%2E/products",
            "/api/users/%2e",
            "/api/users/a%2fb",
            "/api/users/a%2Fb",
            "/api/users/..%2fproducts",
            "/api/users/a\\b",
            "/api/users/a%5cb",
            "/api/users/a%5Cb",
            "/api/users/%00",
            "",
            "*",
        ] {
            assert!(!is_clear(unclear), "{unclear}");
        }
    }
}
