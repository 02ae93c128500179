//! The operations: the routes that all services have.

use actix_web::http::header::{ACCEPT, HeaderValue};
use actix_web::web::{self, Data};
use actix_web::{Error, HttpRequest};
use chassis::contract::accept::Accept;
use chassis::lab::Asked;
use chassis::serve::service::Service;

use crate::answer::Answer;
use crate::extract::{get, read};

pub(crate) fn operations(routes: &mut web::ServiceConfig) {
    routes
        .route("/", get(index))
        .route("/health", get(health))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi_json))
        .route("/docs", get(docs))
        .route("/docs/{file}", get(docs_file));
}

async fn index(service: Data<Service>, request: HttpRequest) -> Answer {
    Answer(service.api().index(&accept(&request)))
}

async fn health(service: Data<Service>) -> Answer {
    Answer(service.health())
}

async fn ready(service: Data<Service>) -> Answer {
    Answer(service.ready().await)
}

async fn metrics(service: Data<Service>, request: HttpRequest) -> Answer {
    Answer(service.metrics_text(&accept(&request)))
}

fn accept(request: &HttpRequest) -> Accept {
    let lines = request.headers().get_all(ACCEPT);
    Accept::parse(lines.map(HeaderValue::as_bytes))
}

// ANCHOR: openapi
async fn openapi_json(service: Data<Service>) -> Answer {
    Answer(service.api().document())
}

async fn docs(service: Data<Service>) -> Answer {
    Answer(service.api().page())
}

async fn docs_file(service: Data<Service>, file: Result<web::Path<String>, Error>) -> Answer {
    // A name that cannot be decoded is unknown, like the empty name.
    let file = file.map_or_else(|_| String::new(), web::Path::into_inner);
    Answer(service.api().page_file(&file))
}
// ANCHOR_END: openapi

/// The routes of the lab, where they exist.
pub(crate) fn lab_routes(routes: &mut web::ServiceConfig) {
    routes.route("/lab/{route:.*}", web::to(lab));
}

async fn lab(service: Data<Service>, request: HttpRequest, body: web::Payload) -> Answer {
    let header = |name| request.headers().get(name)?.to_str().ok();
    let query = request.uri().query();
    let asked = Asked::new(request.method().as_str(), request.path(), query);
    let replied = service.lab_reply(asked, header, read(&request, body));
    Answer(replied.await)
}

pub(crate) async fn unrouted(service: Data<Service>, request: HttpRequest) -> Answer {
    let api = service.api();
    let header = |name| request.headers().get(name)?.to_str().ok();
    Answer(api.unrouted(request.method().as_str(), request.path(), header))
}
