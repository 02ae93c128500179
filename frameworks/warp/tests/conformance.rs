//! The conformance tests, on this framework.

use std::sync::Arc;

use chassis::contract::idempotency::Key;
use chassis::contract::page::Page;
use chassis::serve::run::RunError;
use chassis::testkit::conformance::{self, App, ThingBody, ThingId};
use on_warp::{Answer, app, get_or_head, idempotency_key, json, page, parameter};
use tokio::net::TcpListener;
use warp::{Filter, Rejection};

fn routes() -> impl Filter<Extract = (impl warp::Reply,), Error = Rejection> + Copy {
    let list = warp::path!("api" / "things")
        .and(get_or_head())
        .and(page())
        .then(list);
    let create = warp::path!("api" / "things")
        .and(warp::post())
        .and(idempotency_key())
        .and(json())
        .then(create);
    let find = warp::path!("api" / "things" / String)
        .and(get_or_head())
        .and_then(parameter)
        .then(find);
    let wait = warp::path!("api" / "wait")
        .and(get_or_head())
        .and(app())
        .then(wait);
    let panic = warp::path!("api" / "panic").and(get_or_head()).then(panic);
    list.or(create).or(find).or(wait).or(panic)
}

async fn list(page: Page) -> Answer {
    Answer(conformance::list(page))
}

async fn create(key: Option<Key>, body: ThingBody) -> Answer {
    Answer(conformance::create(key, body))
}

async fn find(id: ThingId) -> Answer {
    Answer(conformance::find(id))
}

async fn wait(app: App) -> Answer {
    Answer(conformance::wait(&app).await)
}

async fn panic() -> Answer {
    Answer(conformance::panic())
}

async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    on_warp::serve(listener, routes(), app, service).await
}

chassis::conformance!(serve);
