//! The operations: the routes that all services have.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use chassis::contract::accept::Accept;
use chassis::lab::Asked;
use chassis::serve::service::Service;
use futures_util::Stream;
use warp::http::Method;
use warp::http::header::{ACCEPT, HeaderMap, HeaderValue};
use warp::path::FullPath;
use warp::{Filter, Rejection};

use crate::answer::{Answer, Failure};
use crate::extract::{decoded, get_or_head, query, receive, service};

pub(crate) fn operations() -> impl Filter<Extract = (impl warp::Reply,), Error = Rejection> + Copy {
    let get = get_or_head().and(service());
    warp::path::end()
        .and(get)
        .and(accept())
        .then(index)
        .or(warp::path!("health").and(get).then(health))
        .or(warp::path!("health" / "ready").and(get).then(ready))
        .or(warp::path!("metrics").and(get).and(accept()).then(metrics))
        .or(warp::path!("openapi.json").and(get).then(openapi_json))
        .or(warp::path!("docs").and(get).then(docs))
        .or(warp::path!("docs" / String).and(get).then(docs_file))
        .or(lab())
}

/// The routes of the lab. Without a lab, they match nothing.
fn lab() -> impl Filter<Extract = (Answer,), Error = Rejection> + Copy {
    warp::path("lab")
        .and(service())
        .and_then(async |service: Arc<Service>| match service.lab() {
            Some(_) => Ok(service),
            None => Err(warp::reject()),
        })
        .and(warp::method())
        .and(warp::path::full())
        .and(query())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(lab_reply)
}

async fn lab_reply(
    service: Arc<Service>,
    method: Method,
    path: FullPath,
    query: Option<String>,
    headers: HeaderMap,
    chunks: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
) -> Answer {
    let header = |name| headers.get(name)?.to_str().ok();
    let read = async {
        let body = receive(&service, &headers, chunks).await;
        body.map(BytesMut::freeze)
    };
    let asked = Asked::new(method.as_str(), path.as_str(), query.as_deref());
    // In a box, so that other requests have no room for it.
    Answer(Box::pin(service.lab_reply(asked, header, read)).await)
}

fn accept() -> impl Filter<Extract = (Accept,), Error = Infallible> + Copy {
    warp::header::headers_cloned().map(|headers: HeaderMap| {
        let lines = headers.get_all(ACCEPT).iter();
        Accept::parse(lines.map(HeaderValue::as_bytes))
    })
}

async fn index(service: Arc<Service>, accept: Accept) -> Answer {
    Answer(service.api().index(&accept))
}

async fn health(service: Arc<Service>) -> Answer {
    Answer(service.health())
}

async fn ready(service: Arc<Service>) -> Answer {
    Answer(service.ready().await)
}

async fn metrics(service: Arc<Service>, accept: Accept) -> Answer {
    Answer(service.metrics_text(&accept))
}

// ANCHOR: openapi
async fn openapi_json(service: Arc<Service>) -> Answer {
    Answer(service.api().document())
}

async fn docs(service: Arc<Service>) -> Answer {
    Answer(service.api().page())
}

async fn docs_file(file: String, service: Arc<Service>) -> Result<Answer, Failure> {
    let file = decoded(&file)?;
    Ok(Answer(service.api().page_file(&file)))
}
// ANCHOR_END: openapi

pub(crate) async fn unrouted(
    method: Method,
    path: FullPath,
    headers: HeaderMap,
    service: Arc<Service>,
) -> Answer {
    let header = |name| headers.get(name)?.to_str().ok();
    let api = service.api();
    Answer(api.unrouted(method.as_str(), path.as_str(), header))
}
