//! The operations: the routes that all services have.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::http::header::{ACCEPT, HeaderMap, HeaderValue};
use axum::http::{Method, Uri};
use axum::routing::{any, get};
use axum::{Extension, Router, extract};
use chassis::contract::accept::Accept;
use chassis::lab::Asked;
use chassis::serve::service::Service;

use crate::answer::Answer;
use crate::extract::read;

/// The service of a request. An extension, since the type of the app differs per service.
pub(crate) type Serving = Extension<Arc<Service>>;

/// `has_lab` tells whether the routes of the lab are among them.
pub(crate) fn operations(has_lab: bool) -> Router {
    let routes = Router::new()
        .route("/", get(index))
        .route("/health", get(health))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi_json))
        .route("/docs", get(docs))
        .route("/docs/{file}", get(docs_file));
    if has_lab {
        routes.route("/lab/{*route}", any(lab))
    } else {
        routes
    }
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

async fn lab(Extension(service): Serving, request: extract::Request) -> Answer {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let headers = request.headers().clone();
    let header = |name| headers.get(name)?.to_str().ok();
    let asked = Asked::new(method.as_str(), uri.path(), uri.query());
    Answer(service.lab_reply(asked, header, read(request)).await)
}

pub(crate) async fn unrouted(
    Extension(service): Serving,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let header = |name| headers.get(name)?.to_str().ok();
    Answer(service.api().unrouted(method.as_str(), uri.path(), header))
}
