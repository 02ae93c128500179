//! The conformance tests, on this framework.

use std::sync::Arc;

use chassis::serve::run::RunError;
use chassis::testkit::conformance::{self, App, ThingBody, ThingId};
use on_poem::{Answer, IdempotencyKey, Json, PageOf, Path};
use poem::web::Data;
use poem::{Route, get, handler};
use tokio::net::TcpListener;

#[handler]
async fn list(PageOf(page): PageOf) -> Answer {
    Answer(conformance::list(page))
}

#[handler]
async fn create(IdempotencyKey(key): IdempotencyKey, Json(body): Json<ThingBody>) -> Answer {
    Answer(conformance::create(key, body))
}

#[handler]
async fn find(Path(id): Path<ThingId>) -> Answer {
    Answer(conformance::find(id))
}

#[handler]
async fn wait(app: Data<&App>) -> Answer {
    Answer(conformance::wait(&app).await)
}

#[handler]
async fn panic() -> Answer {
    Answer(conformance::panic())
}

async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let routes = Route::new()
        .at("/api/things", get(list).post(create))
        .at("/api/things/:id", get(find))
        .at("/api/wait", get(wait))
        .at("/api/panic", get(panic));
    let service = Arc::clone(&app.service);
    on_poem::serve(listener, routes, app, service).await
}

chassis::conformance!(serve);
