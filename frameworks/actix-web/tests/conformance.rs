//! The conformance tests, on this framework.

use std::sync::Arc;

use actix_web::web::{Data, ServiceConfig, post};
use chassis::serve::run::RunError;
use chassis::testkit::conformance::{self, App, ThingBody, ThingId};
use on_actix_web::{Answer, IdempotencyKey, Json, PageOf, Path, get};
use tokio::net::TcpListener;

fn routes(routes: &mut ServiceConfig) {
    routes
        .route("/api/things", get(list))
        .route("/api/things", post().to(create))
        .route("/api/things/{id}", get(find))
        .route("/api/wait", get(wait))
        .route("/api/panic", get(panic));
}

async fn list(PageOf(page): PageOf) -> Answer {
    Answer(conformance::list(page))
}

async fn create(IdempotencyKey(key): IdempotencyKey, Json(body): Json<ThingBody>) -> Answer {
    Answer(conformance::create(key, body))
}

async fn find(Path(id): Path<ThingId>) -> Answer {
    Answer(conformance::find(id))
}

async fn wait(app: Data<App>) -> Answer {
    Answer(conformance::wait(&app).await)
}

async fn panic() -> Answer {
    Answer(conformance::panic())
}

async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    on_actix_web::serve(listener, routes, app, service).await
}

chassis::conformance!(serve);
