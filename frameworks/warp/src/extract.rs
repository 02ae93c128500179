//! The arguments of handlers.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};
use chassis::contract::body::{self, MAX_BODY};
use chassis::contract::error::ApiError;
use chassis::contract::idempotency::Key;
use chassis::contract::page::Page;
use chassis::serve::service::Service;
use chassis::values::headers::IDEMPOTENCY_KEY;
use futures_util::{Stream, StreamExt};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use warp::http::{HeaderMap, HeaderValue, Method};
use warp::path::FullPath;
use warp::{Filter, Rejection};

use crate::answer::Failure;

// ANCHOR: app
/// The state that the handlers share. The exchange adds it to the request. The filter holds
/// no state itself, because warp clones the whole chain of filters for each request.
pub fn app<A>() -> impl Filter<Extract = (A,), Error = Rejection> + Copy
where
    A: Clone + Send + Sync + 'static,
{
    warp::ext::get::<A>()
}
// ANCHOR_END: app

pub(crate) fn service() -> impl Filter<Extract = (Arc<Service>,), Error = Rejection> + Copy {
    app::<Arc<Service>>()
}

/// Matches GET and HEAD. For HEAD, hyper leaves out the body.
pub fn get_or_head() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::get().or(warp::head()).unify()
}

// ANCHOR: path_and_query
/// The value of a path parameter, such as an id. Use it after the filters for path and
/// method, so that it rejects only for the requested route.
pub async fn parameter<T: FromStr<Err = ApiError>>(segment: String) -> Result<T, Rejection> {
    let value = decoded(&segment).and_then(|segment| segment.parse());
    Ok(value.map_err(Failure)?)
}

/// Decodes a segment of the path; warp does not.
pub(crate) fn decoded(segment: &str) -> Result<Cow<'_, str>, ApiError> {
    percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| ApiError::undecodable())
}

/// The page that the query asks for.
pub fn page() -> impl Filter<Extract = (Page,), Error = Rejection> + Copy {
    query().and_then(async |query: Option<String>| {
        Ok::<_, Rejection>(Page::parse(query.as_deref()).map_err(Failure)?)
    })
}

/// The query, if any. warp's own filter rejects without one.
pub(crate) fn query() -> impl Filter<Extract = (Option<String>,), Error = Infallible> + Copy {
    warp::query::raw()
        .map(Some)
        .or_else(async |_| Ok::<_, Infallible>((None,)))
}
// ANCHOR_END: path_and_query

/// The `Idempotency-Key` header, if any.
pub fn idempotency_key() -> impl Filter<Extract = (Option<Key>,), Error = Rejection> + Copy {
    warp::header::headers_cloned()
        .and(warp::method())
        .and(warp::path::full())
        .and(query())
        .and_then(
            async |headers: HeaderMap, method: Method, path: FullPath, query: Option<String>| {
                let key = headers.get(IDEMPOTENCY_KEY).map(HeaderValue::as_bytes);
                let key = Key::parse(key, method.as_str(), path.as_str(), query.as_deref());
                Ok::<_, Rejection>(key.map_err(Failure)?)
            },
        )
}

// ANCHOR: json
/// A JSON body, read within the limits of the contract.
pub fn json<T: DeserializeOwned + Send>() -> impl Filter<Extract = (T,), Error = Rejection> + Copy {
    service()
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and_then(async |service: Arc<Service>, headers: HeaderMap, chunks| {
            Ok::<_, Rejection>(
                read_json(&service, &headers, chunks)
                    .await
                    .map_err(Failure)?,
            )
        })
}

async fn read_json<T: DeserializeOwned>(
    service: &Service,
    headers: &HeaderMap,
    chunks: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<T, ApiError> {
    body::parse(&receive(service, headers, chunks).await?)
}

pub(crate) async fn receive(
    service: &Service,
    headers: &HeaderMap,
    chunks: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<BytesMut, ApiError> {
    body::check_headers(|name| headers.get(name)?.to_str().ok())?;
    service.receive(read(chunks)).await?
}

async fn read(
    chunks: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<BytesMut, ApiError> {
    let mut chunks = pin!(chunks);
    let mut bytes = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(body::unreadable)?;
        if bytes.len() + chunk.remaining() > MAX_BODY {
            return Err(ApiError::payload_too_large(MAX_BODY));
        }
        bytes.put(chunk);
    }
    Ok(bytes)
}
// ANCHOR_END: json
