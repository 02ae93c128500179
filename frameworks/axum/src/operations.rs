//! The operations: the routes that all services have.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::http::header::{ACCEPT, HeaderMap, HeaderValue};
use axum::http::{Method, Uri};
use axum::routing::get;
use axum::{Extension, Router, extract};
use chassis::contract::accept::Accept;
use chassis::serve::service::Service;

use crate::answer::Answer;

/// The service of a request. An extension, since the type of the app differs per service.
pub(crate) type Serving = Extension<Arc<Service>>;

pub(crate) fn operations() -> Router {
    Router::new()
        .route("/", get(index))
        .route("/health", get(health))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi_json))
        .route("/docs", get(docs))
        .route("/docs/{file}", get(docs_file))
}

async fn index(Extension(service): Serving, headers: HeaderMap) -> Answer {
    Answer(service.api().index(&accept(&headers)))
}

async fn health(Extension(service): Serving) -> Answer {
    Answer(service.health())
}

async fn ready(Extension(service): Serving) -> Answer {
    Answer(service.ready().await)
}

async fn metrics(Extension(service): Serving, headers: HeaderMap) -> Answer {
    Answer(service.metrics_text(&accept(&headers)))
}

fn accept(headers: &HeaderMap) -> Accept {
    let lines = headers.get_all(ACCEPT).iter();
    Accept::parse(lines.map(HeaderValue::as_bytes))
}

// ANCHOR: openapi
async fn openapi_json(Extension(service): Serving) -> Answer {
    Answer(service.api().document())
}

async fn docs(Extension(service): Serving) -> Answer {
    Answer(service.api().page())
}

async fn docs_file(
    Extension(service): Serving,
    file: Result<extract::Path<String>, PathRejection>,
) -> Answer {
    // A name that cannot be decoded is unknown, like the empty name.
    let file = file.map_or_else(|_| String::new(), |extract::Path(file)| file);
    Answer(service.api().page_file(&file))
}
// ANCHOR_END: openapi

pub(crate) async fn unrouted(
    Extension(service): Serving,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let header = |name| headers.get(name)?.to_str().ok();
    Answer(service.api().unrouted(method.as_str(), uri.path(), header))
}
