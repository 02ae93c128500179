//! axum's adapter: routes, and a handler for each.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use chassis::contract::api::Api;
use chassis::serve::run::RunError;
use on_axum::{Answer, Failure, IdempotencyKey, Json, PageOf, Path};
use tokio::net::TcpListener;

use crate::model::{UserBody, UserId};
use crate::{App, api};

/// The API of user-service, on axum.
pub static API: LazyLock<Api> = LazyLock::new(|| api::on("axum"));

/// Serves the API on `listener` until the app has shut down.
pub async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    on_axum::serve(listener, routes(), app, service).await
}

fn routes() -> Router<App> {
    Router::new()
        .route("/api/users", get(list_users).post(create_user))
        .route(
            "/api/users/{id}",
            get(get_user).put(replace_user).delete(delete_user),
        )
}

// Handlers, in the order of the routes.

async fn list_users(State(app): State<App>, PageOf(page): PageOf) -> Answer {
    Answer(api::list_users(&app, page).await)
}

async fn create_user(
    State(app): State<App>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<UserBody>,
) -> Result<Answer, Failure> {
    Ok(Answer(api::create_user(&app, key, body).await?))
}

async fn get_user(State(app): State<App>, Path(id): Path<UserId>) -> Result<Answer, Failure> {
    Ok(Answer(api::get_user(&app, id)?))
}

async fn replace_user(
    State(app): State<App>,
    Path(id): Path<UserId>,
    Json(body): Json<UserBody>,
) -> Result<Answer, Failure> {
    Ok(Answer(api::replace_user(&app, id, body)?))
}

async fn delete_user(State(app): State<App>, Path(id): Path<UserId>) -> Result<Answer, Failure> {
    Ok(Answer(api::delete_user(&app, id)?))
}
