//! The arguments of handlers.

use std::str::FromStr;

use chassis::contract::body::{self, MAX_BODY};
use chassis::contract::error::ApiError;
use chassis::contract::idempotency::Key;
use chassis::contract::page::Page;
use chassis::serve::service::Service;
use chassis::values::headers::IDEMPOTENCY_KEY;
use hyper::body::Bytes;
use poem::error::ReadBodyError;
use poem::http::{HeaderMap, HeaderValue};
use poem::{Body, FromRequest, Request, RequestBody, web};
use serde::de::DeserializeOwned;

use crate::answer::Failure;
use crate::operations::Serving;

// ANCHOR: path_and_query
/// The parameter in the path, such as an id.
pub struct Path<T>(pub T);

impl<'a, T: FromStr<Err = ApiError>> FromRequest<'a> for Path<T> {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let segment = web::Path::<String>::from_request_without_body(request).await;
        let web::Path(segment) = segment.map_err(|_| Failure(ApiError::undecodable()))?;
        Ok(Self(segment.parse().map_err(Failure)?))
    }
}

/// The page that the query asks for.
pub struct PageOf(pub Page);

impl<'a> FromRequest<'a> for PageOf {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(Page::parse(request.uri().query()).map_err(Failure)?))
    }
}
// ANCHOR_END: path_and_query

/// The `Idempotency-Key` header, if any.
pub struct IdempotencyKey(pub Option<Key>);

impl<'a> FromRequest<'a> for IdempotencyKey {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let key = Key::parse(
            request
                .headers()
                .get(IDEMPOTENCY_KEY)
                .map(HeaderValue::as_bytes),
            request.method().as_str(),
            request.uri().path(),
            request.uri().query(),
        );
        Ok(Self(key.map_err(Failure)?))
    }
}

// ANCHOR: json
/// A JSON body, read within the limits of the contract.
pub struct Json<T>(pub T);

impl<'a, T: DeserializeOwned> FromRequest<'a> for Json<T> {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> poem::Result<Self> {
        let service = Serving::from_request_without_body(request).await?;
        let bytes = read(&service, request.headers(), body.take()?).await;
        let body = bytes.and_then(|bytes| body::parse(&bytes));
        Ok(Self(body.map_err(Failure)?))
    }
}

pub(crate) async fn read(
    service: &Service,
    headers: &HeaderMap,
    body: Body,
) -> Result<Bytes, ApiError> {
    body::check_headers(|name| headers.get(name)?.to_str().ok())?;
    let reading = body.into_bytes_limit(MAX_BODY);
    let read = service.receive(reading).await?;
    read.map_err(|error| match error {
        ReadBodyError::PayloadTooLarge => ApiError::payload_too_large(MAX_BODY),
        error => body::unreadable(error),
    })
}
// ANCHOR_END: json
