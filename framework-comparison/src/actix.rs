//! actix-web's adapter: the routes of the product API, and a handler for each.

use std::sync::{Arc, LazyLock};

use actix_web::web::{Data, ServiceConfig, delete, patch, post, put};
use chassis::contract::api::Api;
use chassis::serve::run::RunError;
use on_actix_web::{Answer, Failure, IdempotencyKey, Json, PageOf, Path, get};
use product_service::model::{ChangeBody, NewProductBody, ProductId, StockBody};
use product_service::{App, api};
use tokio::net::TcpListener;

/// The API of product-service, on actix-web.
pub static API: LazyLock<Api> = LazyLock::new(|| api::on("actix-web"));

/// Serves the API on `listener` until the app has shut down.
pub async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    on_actix_web::serve(listener, routes, app, service).await
}

// ANCHOR: routes
fn routes(routes: &mut ServiceConfig) {
    routes
        .route("/api/products", get(list_products))
        .route("/api/products", post().to(create_product))
        .route("/api/products/{id}", get(get_product))
        .route("/api/products/{id}", put().to(change_product))
        .route("/api/products/{id}", delete().to(delete_product))
        .route("/api/products/{id}/stock", patch().to(change_stock));
}
// ANCHOR_END: routes

// Handlers, in the order of the routes.

async fn list_products(app: Data<App>, PageOf(page): PageOf) -> Answer {
    Answer(api::list_products(&app, page).await)
}

// ANCHOR: create_product
async fn create_product(
    app: Data<App>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<NewProductBody>,
) -> Result<Answer, Failure> {
    Ok(Answer(api::create_product(&app, key, body).await?))
}
// ANCHOR_END: create_product

async fn get_product(app: Data<App>, Path(id): Path<ProductId>) -> Result<Answer, Failure> {
    Ok(Answer(api::get_product(&app, id)?))
}

async fn change_product(
    app: Data<App>,
    Path(id): Path<ProductId>,
    Json(body): Json<ChangeBody>,
) -> Result<Answer, Failure> {
    Ok(Answer(api::change_product(&app, id, body).await?))
}

async fn delete_product(app: Data<App>, Path(id): Path<ProductId>) -> Result<Answer, Failure> {
    Ok(Answer(api::delete_product(&app, id)?))
}

async fn change_stock(
    app: Data<App>,
    Path(id): Path<ProductId>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<StockBody>,
) -> Result<Answer, Failure> {
    Ok(Answer(api::change_stock(&app, id, key, body).await?))
}
