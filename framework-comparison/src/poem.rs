//! poem's adapter: the routes of the product API, and a handler for each.

use std::sync::{Arc, LazyLock};

use chassis::contract::api::Api;
use chassis::serve::run::RunError;
use on_poem::{Answer, Failure, IdempotencyKey, Json, PageOf, Path};
use poem::web::Data;
use poem::{Route, get, handler, patch};
use product_service::model::{ChangeBody, NewProductBody, ProductId, StockBody};
use product_service::{App, api};
use tokio::net::TcpListener;

/// The API of product-service, on poem.
pub static API: LazyLock<Api> = LazyLock::new(|| api::on("poem"));

/// Serves the API on `listener` until the app has shut down.
pub async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    on_poem::serve(listener, routes(), app, service).await
}

/// The routes of the product API, without the operations.
// ANCHOR: routes
pub fn routes() -> Route {
    Route::new()
        .at("/api/products", get(list_products).post(create_product))
        .at(
            "/api/products/:id",
            get(get_product).put(change_product).delete(delete_product),
        )
        .at("/api/products/:id/stock", patch(change_stock))
}
// ANCHOR_END: routes

// Handlers, in the order of the routes.

#[handler]
async fn list_products(app: Data<&App>, PageOf(page): PageOf) -> Answer {
    Answer(api::list_products(&app, page).await)
}

// ANCHOR: create_product
#[handler]
async fn create_product(
    app: Data<&App>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<NewProductBody>,
) -> Result<Answer, Failure> {
    Ok(Answer(api::create_product(&app, key, body).await?))
}
// ANCHOR_END: create_product

#[handler]
async fn get_product(app: Data<&App>, Path(id): Path<ProductId>) -> Result<Answer, Failure> {
    Ok(Answer(api::get_product(&app, id)?))
}

#[handler]
async fn change_product(
    app: Data<&App>,
    Path(id): Path<ProductId>,
    Json(body): Json<ChangeBody>,
) -> Result<Answer, Failure> {
    Ok(Answer(api::change_product(&app, id, body).await?))
}

#[handler]
async fn delete_product(app: Data<&App>, Path(id): Path<ProductId>) -> Result<Answer, Failure> {
    Ok(Answer(api::delete_product(&app, id)?))
}

#[handler]
async fn change_stock(
    app: Data<&App>,
    Path(id): Path<ProductId>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<StockBody>,
) -> Result<Answer, Failure> {
    Ok(Answer(api::change_stock(&app, id, key, body).await?))
}
