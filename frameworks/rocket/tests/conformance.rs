//! The conformance tests, on this framework.

use std::sync::Arc;

use chassis::serve::run::RunError;
use chassis::testkit::conformance::{self, App, ThingBody, ThingId};
use on_rocket::{Answer, Checked, Failure, IdempotencyKey, Json, PageOf, Path};
use rocket::{State, get, post, routes};
use tokio::net::TcpListener;

#[get("/api/things")]
fn list(page: Checked<PageOf>) -> Result<Answer, Failure> {
    let PageOf(page) = page?;
    Ok(Answer(conformance::list(page)))
}

#[post("/api/things", data = "<body>")]
fn create(key: Checked<IdempotencyKey>, body: Checked<Json<ThingBody>>) -> Result<Answer, Failure> {
    let (IdempotencyKey(key), Json(body)) = (key?, body?);
    Ok(Answer(conformance::create(key, body)))
}

#[get("/api/things/<id>")]
fn find(id: Checked<Path<ThingId>>) -> Result<Answer, Failure> {
    let Path(id) = id?;
    Ok(Answer(conformance::find(id)))
}

#[get("/api/wait")]
async fn wait(app: &State<App>) -> Answer {
    Answer(conformance::wait(app).await)
}

#[get("/api/panic")]
fn panic() -> Answer {
    Answer(conformance::panic())
}

async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    let routes = routes![list, create, find, wait, panic];
    on_rocket::serve(listener, routes, app, service).await
}

chassis::conformance!(serve);
