//! warp's adapter: the routes of the product API, and a handler for each.

use std::sync::{Arc, LazyLock};

use chassis::contract::api::Api;
use chassis::contract::idempotency::Key;
use chassis::contract::page::Page;
use chassis::serve::run::RunError;
use on_warp::{Answer, Failure, app, get_or_head, idempotency_key, json, page, parameter};
use product_service::model::{ChangeBody, NewProductBody, ProductId, StockBody};
use product_service::{App, api};
use tokio::net::TcpListener;
use warp::{Filter, Rejection};

/// The API of product-service, on warp.
pub static API: LazyLock<Api> = LazyLock::new(|| api::on("warp"));

/// Serves the API on `listener` until the app has shut down.
pub async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    on_warp::serve(listener, routes(), app, service).await
}

/// The routes of the product API, without the operations.
///
// ANCHOR: routes
/// Each route checks path and method first. A later filter rejects only for the route that
/// the request is for, so its rejection is the error that the client gets.
pub fn routes() -> impl Filter<Extract = (impl warp::Reply,), Error = Rejection> + Copy {
    let products = warp::path!("api" / "products");
    let product = warp::path!("api" / "products" / String);
    let list = products
        .and(get_or_head())
        .and(app())
        .and(page())
        .then(list_products);
    let create = products
        .and(warp::post())
        .and(app())
        .and(idempotency_key())
        .and(json())
        .then(create_product);
    let get = product
        .and(get_or_head())
        .and_then(parameter)
        .and(app())
        .then(get_product);
    let change = product
        .and(warp::put())
        .and_then(parameter)
        .and(app())
        .and(json())
        .then(change_product);
    let delete = product
        .and(warp::delete())
        .and_then(parameter)
        .and(app())
        .then(delete_product);
    let change_stock = warp::path!("api" / "products" / String / "stock")
        .and(warp::patch())
        .and_then(parameter)
        .and(app())
        .and(idempotency_key())
        .and(json())
        .then(change_stock);
    list.or(create)
        .or(get)
        .or(change)
        .or(delete)
        .or(change_stock)
}
// ANCHOR_END: routes

// Handlers, in the order of the routes.

async fn list_products(app: App, page: Page) -> Answer {
    Answer(api::list_products(&app, page).await)
}

// ANCHOR: create_product
async fn create_product(
    app: App,
    key: Option<Key>,
    body: NewProductBody,
) -> Result<Answer, Failure> {
    Ok(Answer(api::create_product(&app, key, body).await?))
}
// ANCHOR_END: create_product

async fn get_product(id: ProductId, app: App) -> Result<Answer, Failure> {
    Ok(Answer(api::get_product(&app, id)?))
}

async fn change_product(id: ProductId, app: App, body: ChangeBody) -> Result<Answer, Failure> {
    Ok(Answer(api::change_product(&app, id, body).await?))
}

async fn delete_product(id: ProductId, app: App) -> Result<Answer, Failure> {
    Ok(Answer(api::delete_product(&app, id)?))
}

async fn change_stock(
    id: ProductId,
    app: App,
    key: Option<Key>,
    body: StockBody,
) -> Result<Answer, Failure> {
    Ok(Answer(api::change_stock(&app, id, key, body).await?))
}
