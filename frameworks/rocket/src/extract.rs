//! The arguments of handlers.

use std::str::FromStr;

use bytes::Bytes;
use chassis::contract::body::{self, MAX_BODY};
use chassis::contract::error::ApiError;
use chassis::contract::idempotency::Key;
use chassis::contract::page::Page;
use chassis::values::headers::IDEMPOTENCY_KEY;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use rocket::data::{self, Data, FromData};
use rocket::http::Status;
use rocket::outcome::IntoOutcome;
use rocket::request::{self, FromParam, FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::answer::Failure;
use crate::dispatch::{Arrived, arrived};
use crate::exchange::{header, service};

/// The result of a guard. If a guard fails, Rocket passes only the status to its catcher. A
/// handler that takes the result instead gets the error.
pub type Checked<T> = Result<T, Failure>;

// ANCHOR: path_and_query
/// The parameter in the path, such as an id.
pub struct Path<T>(pub T);

impl<'r, T: FromStr<Err = ApiError>> FromParam<'r> for Path<T> {
    type Error = Failure;

    fn from_param(segment: &'r str) -> Result<Self, Failure> {
        Ok(Self(segment.parse()?))
    }
}

/// The page that the query asks for.
pub struct PageOf(pub Page);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for PageOf {
    type Error = Failure;

    async fn from_request(request: &'r Request<'_>) -> request::Outcome<Self, Failure> {
        let page = Page::parse(arrived(request).uri.query());
        page.map(Self).map_err(Failure).or_error(Status::BadRequest)
    }
}
// ANCHOR_END: path_and_query

/// The `Idempotency-Key` header, if any.
pub struct IdempotencyKey(pub Option<Key>);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for IdempotencyKey {
    type Error = Failure;

    async fn from_request(request: &'r Request<'_>) -> request::Outcome<Self, Failure> {
        let Arrived { method, uri, .. } = arrived(request);
        let key = Key::parse(
            request
                .headers()
                .get_one(IDEMPOTENCY_KEY)
                .map(str::as_bytes),
            method.as_str(),
            uri.path(),
            uri.query(),
        );
        key.map(Self).map_err(Failure).or_error(Status::BadRequest)
    }
}

// ANCHOR: json
/// A JSON body, read within the limits of the contract.
pub struct Json<T>(pub T);

#[rocket::async_trait]
impl<'r, T: DeserializeOwned> FromData<'r> for Json<T> {
    type Error = Failure;

    async fn from_data(request: &'r Request<'_>, _: Data<'r>) -> data::Outcome<'r, Self> {
        let body = read(request).await.and_then(|bytes| body::parse(&bytes));
        body.map(Self).map_err(Failure).or_error(Status::BadRequest)
    }
}

pub(crate) async fn read(request: &Request<'_>) -> Result<Bytes, ApiError> {
    body::check_headers(|name| header(request, name))?;
    let body = arrived(request).body.lock().take();
    let body = body.ok_or_else(|| ApiError::internal("the body was already read"))?;
    let reading = Limited::new(body, MAX_BODY).collect();
    match service(request).receive(reading).await? {
        Ok(read) => Ok(read.to_bytes()),
        Err(cause) if cause.is::<LengthLimitError>() => Err(ApiError::payload_too_large(MAX_BODY)),
        Err(cause) => Err(body::unreadable(cause)),
    }
}
// ANCHOR_END: json
