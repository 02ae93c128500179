//! poem's adapter: routes, and a handler for each.

use std::sync::{Arc, LazyLock};

use chassis::contract::api::Api;
use chassis::serve::run::RunError;
use on_poem::{Answer, Failure, IdempotencyKey, Json, PageOf, Path};
use poem::web::Data;
use poem::{Route, get, handler, post};
use tokio::net::TcpListener;

use crate::model::{OrderBody, OrderId, UserId};
use crate::{App, api};

/// The API of order-service, on poem.
pub static API: LazyLock<Api> = LazyLock::new(|| api::on("poem"));

/// Serves the API on `listener` until the app has shut down.
pub async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    on_poem::serve(listener, routes(), app, service).await
}

fn routes() -> Route {
    Route::new()
        .at("/api/orders", get(list_orders).post(place_order))
        .at("/api/orders/stats", get(stats))
        .at("/api/orders/user/:userId", get(list_orders_of_user))
        .at("/api/orders/:id", get(get_order))
        .at("/api/orders/:id/cancel", post(cancel_order))
}

// Handlers, in the order of the routes.

#[handler]
async fn list_orders(app: Data<&App>, PageOf(page): PageOf) -> Answer {
    Answer(api::list_orders(&app, page).await)
}

#[handler]
async fn place_order(
    app: Data<&App>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<OrderBody>,
) -> Result<Answer, Failure> {
    Ok(Answer(api::place_order(&app, key, body).await?))
}

#[handler]
async fn stats(app: Data<&App>) -> Answer {
    Answer(api::stats(&app))
}

#[handler]
async fn list_orders_of_user(
    app: Data<&App>,
    Path(id): Path<UserId>,
    PageOf(page): PageOf,
) -> Answer {
    Answer(api::list_orders_of_user(&app, id, page).await)
}

#[handler]
async fn get_order(app: Data<&App>, Path(id): Path<OrderId>) -> Result<Answer, Failure> {
    Ok(Answer(api::get_order(&app, id)?))
}

#[handler]
async fn cancel_order(
    app: Data<&App>,
    Path(id): Path<OrderId>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<Answer, Failure> {
    Ok(Answer(api::cancel_order(&app, id, key).await?))
}
