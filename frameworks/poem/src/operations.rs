//! The operations: the routes that all services have.

use std::sync::Arc;

use chassis::contract::accept::Accept;
use chassis::serve::service::Service;
use poem::http::header::{ACCEPT, HeaderMap, HeaderValue};
use poem::web::{self, Data};
use poem::{Route, get, handler};

use crate::answer::Answer;

/// The service of a request.
pub(crate) type Serving<'a> = Data<&'a Arc<Service>>;

pub(crate) fn with_operations(routes: Route) -> Route {
    routes
        .at("/", get(index))
        .at("/health", get(health))
        .at("/health/ready", get(ready))
        .at("/metrics", get(metrics))
        .at("/openapi.json", get(openapi_json))
        .at("/docs", get(docs))
        .at("/docs/:file", get(docs_file))
}

#[handler]
async fn index(service: Serving<'_>, headers: &HeaderMap) -> Answer {
    Answer(service.api().index(&accept(headers)))
}

#[handler]
async fn health(service: Serving<'_>) -> Answer {
    Answer(service.health())
}

#[handler]
async fn ready(service: Serving<'_>) -> Answer {
    Answer(service.ready().await)
}

#[handler]
async fn metrics(service: Serving<'_>, headers: &HeaderMap) -> Answer {
    Answer(service.metrics_text(&accept(headers)))
}

fn accept(headers: &HeaderMap) -> Accept {
    let lines = headers.get_all(ACCEPT).iter();
    Accept::parse(lines.map(HeaderValue::as_bytes))
}

// ANCHOR: openapi
#[handler]
async fn openapi_json(service: Serving<'_>) -> Answer {
    Answer(service.api().document())
}

#[handler]
async fn docs(service: Serving<'_>) -> Answer {
    Answer(service.api().page())
}

#[handler]
async fn docs_file(service: Serving<'_>, file: poem::Result<web::Path<String>>) -> Answer {
    // A name that cannot be decoded is unknown, like the empty name.
    let file = file.map_or_else(|_| String::new(), |web::Path(file)| file);
    Answer(service.api().page_file(&file))
}
// ANCHOR_END: openapi
