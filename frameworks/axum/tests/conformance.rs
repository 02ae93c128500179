//! The conformance tests, on this framework.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use chassis::serve::run::RunError;
use chassis::testkit::conformance::{self, App, ThingBody, ThingId};
use on_axum::{Answer, IdempotencyKey, Json, PageOf, Path};
use tokio::net::TcpListener;

async fn list(PageOf(page): PageOf) -> Answer {
    Answer(conformance::list(page))
}

async fn create(IdempotencyKey(key): IdempotencyKey, Json(body): Json<ThingBody>) -> Answer {
    Answer(conformance::create(key, body))
}

async fn find(Path(id): Path<ThingId>) -> Answer {
    Answer(conformance::find(id))
}

async fn wait(State(app): State<App>) -> Answer {
    Answer(conformance::wait(&app).await)
}

async fn panic() -> Answer {
    Answer(conformance::panic())
}

async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let routes = Router::new()
        .route("/api/things", get(list).post(create))
        .route("/api/things/{id}", get(find))
        .route("/api/wait", get(wait))
        .route("/api/panic", get(panic));
    let service = Arc::clone(&app.service);
    on_axum::serve(listener, routes, app, service).await
}

chassis::conformance!(serve);
