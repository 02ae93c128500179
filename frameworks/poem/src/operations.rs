//! The operations: the routes that all services have.

use std::sync::Arc;

use chassis::contract::accept::Accept;
use chassis::lab::Asked;
use chassis::serve::service::Service;
use poem::http::header::{ACCEPT, HeaderMap, HeaderValue};
use poem::web::{self, Data};
use poem::{Body, Request, Route, get, handler};

use crate::answer::Answer;
use crate::extract::read;

/// The service of a request.
pub(crate) type Serving<'a> = Data<&'a Arc<Service>>;

/// `has_lab` tells whether the routes of the lab are among them.
pub(crate) fn with_operations(routes: Route, has_lab: bool) -> Route {
    let routes = routes
        .at("/", get(index))
        .at("/health", get(health))
        .at("/health/ready", get(ready))
        .at("/metrics", get(metrics))
        .at("/openapi.json", get(openapi_json))
        .at("/docs", get(docs))
        .at("/docs/:file", get(docs_file));
    if has_lab {
        routes.at("/lab/*route", lab)
    } else {
        routes
    }
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

#[handler]
async fn lab(service: Serving<'_>, request: &Request, body: Body) -> Answer {
    let headers = request.headers();
    let header = |name| headers.get(name)?.to_str().ok();
    let uri = request.uri();
    let asked = Asked::new(request.method().as_str(), uri.path(), uri.query());
    let replied = service.lab_reply(asked, header, read(&service, headers, body));
    // In a box, so that other requests have no room for it.
    Answer(Box::pin(replied).await)
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
