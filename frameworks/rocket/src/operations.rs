//! The operations: the routes that all services have.

use std::convert::Infallible;
use std::sync::Arc;

use chassis::contract::accept::Accept;
use chassis::contract::error::ApiError;
use chassis::lab::Asked;
use chassis::serve::service::Service;
use rocket::data::Data;
use rocket::http::{Method, Status};
use rocket::request::{FromRequest, Outcome, Request};
use rocket::route::{self, Handler, Route};
use rocket::{State, catch, get, routes};

use crate::answer::Answer;
use crate::dispatch::{Arrived, arrived};
use crate::exchange::{exchange, header, service};
use crate::extract::read;

/// `has_lab` tells whether the routes of the lab are among them.
pub(crate) fn operations(has_lab: bool) -> Vec<Route> {
    let mut routes = routes![index, health, ready, metrics, openapi_json, docs, docs_file];
    if has_lab {
        let methods = [
            Method::Get,
            Method::Post,
            Method::Put,
            Method::Delete,
            Method::Patch,
            Method::Options,
            // What Rocket does not know.
            Method::Trace,
        ];
        routes.extend(methods.map(|method| Route::new(method, "/lab/<route..>", Lab)));
    }
    routes
}

type Serving = State<Arc<Service>>;

#[get("/")]
fn index(service: &Serving, accept: Accepted) -> Answer {
    let Accepted(accept) = accept;
    Answer(service.api().index(&accept))
}

#[get("/health")]
fn health(service: &Serving) -> Answer {
    Answer(service.health())
}

#[get("/health/ready")]
async fn ready(service: &Serving) -> Answer {
    Answer(service.ready().await)
}

#[get("/metrics")]
fn metrics(service: &Serving, accept: Accepted) -> Answer {
    let Accepted(accept) = accept;
    Answer(service.metrics_text(&accept))
}

/// What the client accepts.
struct Accepted(Accept);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Accepted {
    type Error = Infallible;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Infallible> {
        let lines = request.headers().get("accept");
        Outcome::Success(Self(Accept::parse(lines.map(str::as_bytes))))
    }
}

// ANCHOR: openapi
#[get("/openapi.json")]
fn openapi_json(service: &Serving) -> Answer {
    Answer(service.api().document())
}

#[get("/docs")]
fn docs(service: &Serving) -> Answer {
    Answer(service.api().page())
}

#[get("/docs/<file>")]
fn docs_file(service: &Serving, file: &str) -> Answer {
    Answer(service.api().page_file(file))
}
// ANCHOR_END: openapi

/// The handler of all routes of the lab.
#[derive(Clone)]
struct Lab;

#[rocket::async_trait]
impl Handler for Lab {
    async fn handle<'r>(&self, request: &'r Request<'_>, _: Data<'r>) -> route::Outcome<'r> {
        let Arrived { method, uri, .. } = arrived(request);
        let header = |name| header(request, name);
        let asked = Asked::new(method.as_str(), uri.path(), uri.query());
        let replied = service(request).lab_reply(asked, header, read(request));
        route::Outcome::from(request, Answer(replied.await))
    }
}

// ANCHOR: unrouted
#[catch(default)]
pub(crate) fn unrouted(status: Status, request: &Request<'_>) -> Answer {
    let api = service(request).api();
    let arrived = arrived(request);
    let reply = || match status {
        Status::NotFound => api.unrouted(arrived.method.as_str(), arrived.uri.path(), |name| {
            header(request, name)
        }),
        // Handlers and guards of this crate return their errors as an `Answer`.
        other => ApiError::internal(format!("Rocket itself answered {other}")).reply(),
    };
    Answer(exchange(request).context().clone().enter(reply))
}
// ANCHOR_END: unrouted
