//! The arguments of handlers.

use std::error::Error;
use std::str::FromStr;

use axum::body::{Bytes, to_bytes};
use axum::extract::{self, FromRequest, FromRequestParts, Request};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::{Extension, RequestExt};
use chassis::contract::body::{self, MAX_BODY};
use chassis::contract::error::ApiError;
use chassis::contract::idempotency::Key;
use chassis::contract::page::Page;
use chassis::values::headers::IDEMPOTENCY_KEY;
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;

use crate::answer::Failure;
use crate::operations::Serving;

// ANCHOR: path_and_query
/// The parameter in the path, such as an id.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: FromStr<Err = ApiError>> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let segment = extract::Path::<String>::from_request_parts(parts, state).await;
        let extract::Path(segment) = segment.map_err(|_| ApiError::undecodable())?;
        Ok(Self(segment.parse()?))
    }
}

/// The page that the query asks for.
pub struct PageOf(pub Page);

impl<S: Send + Sync> FromRequestParts<S> for PageOf {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(Page::parse(parts.uri.query())?))
    }
}
// ANCHOR_END: path_and_query

/// The `Idempotency-Key` header, if any.
pub struct IdempotencyKey(pub Option<Key>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let key = parts.headers.get(IDEMPOTENCY_KEY);
        Ok(Self(Key::parse(
            key.map(HeaderValue::as_bytes),
            parts.method.as_str(),
            parts.uri.path(),
            parts.uri.query(),
        )?))
    }
}

// ANCHOR: json
/// A JSON body, read within the limits of the contract.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        Ok(Self(body::parse(&read(request).await?)?))
    }
}

pub(crate) async fn read(mut request: Request) -> Result<Bytes, ApiError> {
    body::check_headers(|name| request.headers().get(name)?.to_str().ok())?;
    let service = request.extract_parts::<Serving>().await;
    let Extension(service) = service.map_err(ApiError::internal)?;
    let reading = to_bytes(request.into_body(), MAX_BODY);
    let read = service.receive(reading).await?;
    read.map_err(|error| match error.source() {
        Some(cause) if cause.is::<LengthLimitError>() => ApiError::payload_too_large(MAX_BODY),
        _ => body::unreadable(error),
    })
}
// ANCHOR_END: json
