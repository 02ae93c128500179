//! The API of product-service: the reply of each route, and the OpenAPI document. It names no
//! framework: `http.rs` reads the arguments from the request.

use chassis::contract::api::{About, Api};
use chassis::contract::body;
use chassis::contract::error::ApiError;
use chassis::contract::examples::ErrorExample;
use chassis::contract::idempotency::{Key, KeyHeader};
use chassis::contract::page::Page;
use chassis::contract::reply::{Message, Reply};
use chassis::values::id::Id;
use utoipa::OpenApi;

use crate::App;
use crate::error::ProductError;
use crate::model::{
    Change, ChangeBody, NewProduct, NewProductBody, Product, ProductId, StockBody, StockChange,
};

/// The routes of product-service. Each function describes its own.
#[derive(OpenApi)]
#[openapi(paths(
    list_products,
    create_product,
    get_product,
    change_product,
    change_stock,
    delete_product
))]
pub struct Document;

/// The API, for an implementation on `framework`.
pub fn on(framework: &'static str) -> Api {
    Api::with_errors(about(framework), Document::openapi(), &errors())
}

/// Examples of the errors that are this service's own.
fn errors() -> [ErrorExample<'static>; 5] {
    let id = Id::ZERO.next();
    let empty = body::parse(b"{}").and_then(NewProduct::parse);
    let no_delta = body::parse(b"{}").and_then(|body| StockChange::parse(id, body));
    let short = ProductError::InsufficientStock {
        id,
        left: 1,
        wanted: 2,
    };
    [
        (&["create_product"], empty.expect_err("a name is required")),
        (&["change_product"], ProductError::UnknownSeller.into()),
        (
            &["change_stock"],
            no_delta.expect_err("a delta is required"),
        ),
        (&["change_stock"], short.into()),
        (
            &[
                "get_product",
                "change_product",
                "change_stock",
                "delete_product",
            ],
            ProductError::NotFound(id).into(),
        ),
    ]
}

/// How product-service describes itself, for an implementation on `framework`.
pub fn about(framework: &'static str) -> About {
    About {
        name: "product-service",
        framework,
        version: env!("CARGO_PKG_VERSION"),
        description: "Products of the shop and their stock.",
    }
}

/// All products
#[utoipa::path(get, path = "/api/products", tag = "products", params(Page),
    responses((status = 200, description = "A page of products", body = [Product])))]
pub async fn list_products(app: &App, page: Page) -> Reply {
    Reply::listing("/api/products", &app.products.list(page)).await
}

/// Create a product
#[utoipa::path(post, path = "/api/products", tag = "products", params(KeyHeader), request_body = NewProductBody, responses(
    (status = 201, description = "The new product", body = Product),
    (status = 503, description = "`dependency_unavailable`: user-service does not answer, so the seller cannot be checked; nothing was changed"),
))]
pub async fn create_product(
    app: &App,
    key: Option<Key>,
    body: NewProductBody,
) -> Result<Reply, ApiError> {
    let new = NewProduct::parse(body)?;
    let creating = async || {
        app.sellers.check(new.seller_id).await?;
        let product = app.products.create(new.clone())?;
        let location = format!("/api/products/{}", product.id);
        Ok(Reply::created(location, &product))
    };
    app.keys.once(key, &new, creating).await
}

/// One product
#[utoipa::path(get, path = "/api/products/{id}", tag = "products", params(("id" = Id, Path)),
    responses((status = 200, description = "The product", body = Product)))]
pub fn get_product(app: &App, ProductId(id): ProductId) -> Result<Reply, ApiError> {
    Ok(Reply::json(200, &app.products.find(id)?))
}

/// Change a product
///
/// A field that is left out keeps its value. If one field is invalid, nothing is changed.
#[utoipa::path(put, path = "/api/products/{id}", tag = "products", params(("id" = Id, Path)), request_body = ChangeBody, responses(
    (status = 200, description = "The product as it is now", body = Product),
    (status = 503, description = "`dependency_unavailable`: user-service does not answer, so the seller cannot be checked; nothing was changed"),
))]
pub async fn change_product(
    app: &App,
    ProductId(id): ProductId,
    body: ChangeBody,
) -> Result<Reply, ApiError> {
    let change = Change::parse(body)?;
    // For an unknown product, do not call user-service.
    app.products.find(id)?;
    app.sellers.check(change.new_seller()).await?;
    let product = app.products.change(id, change)?;
    Ok(Reply::json(200, &product))
}

/// Take from the stock of a product, or add to it
///
/// Concurrent requests never take more than there is in stock.
#[utoipa::path(patch, path = "/api/products/{id}/stock", tag = "products", params(("id" = Id, Path), KeyHeader), request_body = StockBody, responses(
    (status = 200, description = "The product as it is now", body = Product),
    (status = 409, description = "`insufficient_stock`: fewer in stock than asked for; the message says how many are left"),
))]
pub async fn change_stock(
    app: &App,
    ProductId(id): ProductId,
    key: Option<Key>,
    body: StockBody,
) -> Result<Reply, ApiError> {
    let change = StockChange::parse(id, body)?;
    let changing = async || Ok(Reply::json(200, &app.products.change_stock(change)?));
    app.keys.once(key, &change.delta, changing).await
}

/// Delete a product
#[utoipa::path(delete, path = "/api/products/{id}", tag = "products", params(("id" = Id, Path)),
    responses((status = 200, description = "The product is gone", body = Message)))]
pub fn delete_product(app: &App, ProductId(id): ProductId) -> Result<Reply, ApiError> {
    app.products.delete(id)?;
    Ok(Reply::message("Product deleted successfully"))
}
