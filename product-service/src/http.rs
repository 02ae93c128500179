//! Rocket's adapter: routes, and a handler for each.

use std::sync::{Arc, LazyLock};

use chassis::contract::api::Api;
use chassis::serve::run::RunError;
use on_rocket::{Answer, Checked, Failure, IdempotencyKey, Json, PageOf, Path};
use rocket::{Route, State, delete, get, patch, post, put, routes};
use tokio::net::TcpListener;

use crate::model::{ChangeBody, NewProductBody, ProductId, StockBody};
use crate::{App, api};

/// The API of product-service, on Rocket.
pub static API: LazyLock<Api> = LazyLock::new(|| api::on("rocket"));

/// Serves the API on `listener` until the app has shut down.
pub async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    on_rocket::serve(listener, routes(), app, service).await
}

// ANCHOR: routes
fn routes() -> Vec<Route> {
    routes![
        list_products,
        create_product,
        get_product,
        change_product,
        change_stock,
        delete_product,
    ]
}
// ANCHOR_END: routes

// Handlers, in the order of the routes.

#[get("/api/products")]
async fn list_products(app: &State<App>, page: Checked<PageOf>) -> Result<Answer, Failure> {
    let PageOf(page) = page?;
    Ok(Answer(api::list_products(app, page).await))
}

// ANCHOR: create_product
#[post("/api/products", data = "<body>")]
async fn create_product(
    app: &State<App>,
    key: Checked<IdempotencyKey>,
    body: Checked<Json<NewProductBody>>,
) -> Result<Answer, Failure> {
    let (IdempotencyKey(key), Json(body)) = (key?, body?);
    Ok(Answer(api::create_product(app, key, body).await?))
}
// ANCHOR_END: create_product

// ANCHOR: get_product
#[get("/api/products/<id>")]
fn get_product(app: &State<App>, id: Checked<Path<ProductId>>) -> Result<Answer, Failure> {
    let Path(id) = id?;
    Ok(Answer(api::get_product(app, id)?))
}
// ANCHOR_END: get_product

#[put("/api/products/<id>", data = "<body>")]
async fn change_product(
    app: &State<App>,
    id: Checked<Path<ProductId>>,
    body: Checked<Json<ChangeBody>>,
) -> Result<Answer, Failure> {
    let (Path(id), Json(body)) = (id?, body?);
    Ok(Answer(api::change_product(app, id, body).await?))
}

#[patch("/api/products/<id>/stock", data = "<body>")]
async fn change_stock(
    app: &State<App>,
    id: Checked<Path<ProductId>>,
    key: Checked<IdempotencyKey>,
    body: Checked<Json<StockBody>>,
) -> Result<Answer, Failure> {
    let (Path(id), IdempotencyKey(key), Json(body)) = (id?, key?, body?);
    Ok(Answer(api::change_stock(app, id, key, body).await?))
}

#[delete("/api/products/<id>")]
fn delete_product(app: &State<App>, id: Checked<Path<ProductId>>) -> Result<Answer, Failure> {
    let Path(id) = id?;
    Ok(Answer(api::delete_product(app, id)?))
}
