//! The arguments of handlers.

use std::future::{self, Ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::http::header::HeaderValue;
use actix_web::web::{self, Bytes, Data};
use actix_web::{FromRequest, Handler, HttpRequest, Responder, guard};
use chassis::contract::body::{self, MAX_BODY};
use chassis::contract::error::ApiError;
use chassis::contract::idempotency::Key;
use chassis::contract::page::Page;
use chassis::serve::service::Service;
use chassis::values::headers::IDEMPOTENCY_KEY;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

use crate::answer::Failure;

// ANCHOR: path_and_query
/// The parameter in the path, such as an id.
pub struct Path<T>(pub T);

impl<T: FromStr<Err = ApiError>> FromRequest for Path<T> {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let segment = web::Path::<String>::from_request(request, payload).into_inner();
        let segment = segment.map_err(|_| ApiError::undecodable());
        let value = segment.and_then(|segment| segment.into_inner().parse());
        future::ready(value.map(Self).map_err(Failure::from))
    }
}

/// The page that the query asks for.
pub struct PageOf(pub Page);

impl FromRequest for PageOf {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let page = Page::parse(request.uri().query());
        future::ready(page.map(Self).map_err(Failure::from))
    }
}
// ANCHOR_END: path_and_query

/// The `Idempotency-Key` header, if any.
pub struct IdempotencyKey(pub Option<Key>);

impl FromRequest for IdempotencyKey {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let key = Key::parse(
            request
                .headers()
                .get(IDEMPOTENCY_KEY)
                .map(HeaderValue::as_bytes),
            request.method().as_str(),
            request.uri().path(),
            request.uri().query(),
        );
        future::ready(key.map(Self).map_err(Failure::from))
    }
}

// ANCHOR: json
/// A JSON body, read within the limits of the contract.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let body = web::Payload::from_request(&request, payload).into_inner();
        async move {
            let body = body.map_err(body::unreadable)?;
            Ok(Self(read_json(&request, body).await?))
        }
        .boxed_local()
    }
}

async fn read_json<T: DeserializeOwned>(
    request: &HttpRequest,
    body: web::Payload,
) -> Result<T, ApiError> {
    body::parse(&read(request, body).await?)
}

pub(crate) async fn read(request: &HttpRequest, body: web::Payload) -> Result<Bytes, ApiError> {
    body::check_headers(|name| request.headers().get(name)?.to_str().ok())?;
    let service = request.app_data::<Data<Service>>();
    let service = service.expect("`with_rules` adds it to the app data");
    let reading = body.to_bytes_limited(MAX_BODY);
    let read = service.receive(reading).await?;
    let bytes = read.map_err(|_| ApiError::payload_too_large(MAX_BODY))?;
    bytes.map_err(body::unreadable)
}
// ANCHOR_END: json

/// A route for GET and HEAD. actix's own `get` does not answer HEAD.
pub fn get<F, Args>(handler: F) -> actix_web::Route
where
    F: Handler<Args, Output: Responder + 'static>,
    Args: FromRequest + 'static,
{
    web::route()
        .guard(guard::Any(guard::Get()).or(guard::Head()))
        .to(handler)
}
