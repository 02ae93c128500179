//! The routes that every service has.

use actix_web::web::{self, Data};
use actix_web::{Error, HttpRequest};
use chassis::serve::service::Service;

use crate::answer::Answer;
use crate::extract::get;

pub(crate) fn operations(routes: &mut web::ServiceConfig) {
    routes
        .route("/health", get(health))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi_json))
        .route("/docs", get(docs))
        .route("/docs/{file}", get(docs_file));
}

pub(crate) async fn health(service: Data<Service>) -> Answer {
    Answer(service.health())
}

pub(crate) async fn ready(service: Data<Service>) -> Answer {
    Answer(service.ready().await)
}

pub(crate) async fn metrics(service: Data<Service>) -> Answer {
    Answer(service.metrics_text())
}

// ANCHOR: openapi
pub(crate) async fn openapi_json(service: Data<Service>) -> Answer {
    Answer(service.api().document())
}

pub(crate) async fn docs(service: Data<Service>) -> Answer {
    Answer(service.api().page())
}

pub(crate) async fn docs_file(
    service: Data<Service>,
    file: Result<web::Path<String>, Error>,
) -> Answer {
    // What cannot be decoded is the name of no file.
    let file = file.map_or_else(|_| String::new(), web::Path::into_inner);
    Answer(service.api().page_file(&file))
}
// ANCHOR_END: openapi

pub(crate) async fn unrouted(service: Data<Service>, request: HttpRequest) -> Answer {
    let api = service.api();
    Answer(api.unrouted(request.method().as_str(), request.path()))
}
