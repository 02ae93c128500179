//! The API of order-service: the reply of each route, and the OpenAPI document. It names no
//! framework: `http.rs` reads the arguments from the request.

use chassis::contract::api::{About, Api};
use chassis::contract::body;
use chassis::contract::error::ApiError;
use chassis::contract::examples::ErrorExample;
use chassis::contract::idempotency::{Key, KeyHeader};
use chassis::contract::page::Page;
use chassis::contract::reply::Reply;
use chassis::values::id::Id;
use utoipa::OpenApi;

use crate::App;
use crate::cancel_order::Cancellation;
use crate::error::OrderError;
use crate::model::{NewOrder, Order, OrderBody, OrderId, Stats, UserId};

#[derive(OpenApi)]
#[openapi(paths(
    list_orders,
    place_order,
    stats,
    list_orders_of_user,
    get_order,
    cancel_order
))]
struct Document;

/// The API, for an implementation on `framework`.
pub fn on(framework: &'static str) -> Api {
    let about = About {
        name: "order-service",
        framework,
        version: env!("CARGO_PKG_VERSION"),
        description: "Orders of the shop.",
    };
    Api::with_errors(about, Document::openapi(), &errors())
}

/// Examples of the errors that are this service's own.
fn errors() -> [ErrorExample<'static>; 6] {
    let id = Id::ZERO.next();
    let empty = body::parse(b"{}").and_then(NewOrder::parse);
    let short = "Product 1 has only 1 left in stock, and 2 were asked for";
    [
        (&["place_order"], empty.expect_err("a user is required")),
        (
            &["place_order"],
            OrderError::InsufficientStock(short.to_owned()).into(),
        ),
        (
            &["get_order", "cancel_order"],
            OrderError::NotFound(id).into(),
        ),
        (&["list_orders_of_user"], ApiError::no_such("user", "x")),
        (&["cancel_order"], OrderError::AlreadyCancelled(id).into()),
        (
            &["cancel_order"],
            ApiError::dependency_unavailable("product-service", "only the log has this"),
        ),
    ]
}

/// All orders
#[utoipa::path(get, path = "/api/orders", tag = "orders", params(Page),
    responses((status = 200, description = "A page of orders", body = [Order])))]
pub async fn list_orders(app: &App, page: Page) -> Reply {
    Reply::listing("/api/orders", &app.orders.list(page)).await
}

/// Place an order
///
/// Takes the stock and notifies the user. If the notification fails, the order stands and
/// its notification is marked `failed`.
#[utoipa::path(post, path = "/api/orders", tag = "orders", params(KeyHeader), request_body = OrderBody, responses(
    (status = 201, description = "The confirmed order", body = Order),
    (status = 409, description = "`insufficient_stock`: fewer in stock than asked for"),
    (status = 503, description = "`dependency_unavailable`: user-service or product-service does not answer; nothing was changed"),
))]
pub async fn place_order(app: &App, key: Option<Key>, body: OrderBody) -> Result<Reply, ApiError> {
    let (app, new) = (app.clone(), NewOrder::parse(body)?);
    let shutdown = app.service.shutdown().clone();
    // It runs to its end even if the client hangs up, so that no stock is taken without an
    // order.
    let placing = async move {
        let placing = async || {
            let order = crate::place_order::place_order(&app, new).await?;
            Ok(Reply::created(format!("/api/orders/{}", order.id), &order))
        };
        app.keys.once(key, &new, placing).await
    };
    shutdown.finish(placing).await
}

/// The totals of all orders
#[utoipa::path(get, path = "/api/orders/stats", tag = "orders",
    responses((status = 200, description = "The totals, updated with every order", body = Stats)))]
pub fn stats(app: &App) -> Reply {
    Reply::json(200, &Stats::from(app.orders.totals()))
}

/// The orders of one user
#[utoipa::path(get, path = "/api/orders/user/{userId}", tag = "orders", params(("userId" = Id, Path), Page),
    responses((status = 200, description = "A page of the user's orders", body = [Order])))]
pub async fn list_orders_of_user(app: &App, UserId(id): UserId, page: Page) -> Reply {
    let path = format!("/api/orders/user/{id}");
    Reply::listing(&path, &app.orders.list_of_user(id, page)).await
}

/// One order
#[utoipa::path(get, path = "/api/orders/{id}", tag = "orders", params(("id" = Id, Path)),
    responses((status = 200, description = "The order", body = Order)))]
pub fn get_order(app: &App, OrderId(id): OrderId) -> Result<Reply, ApiError> {
    Ok(Reply::json(200, &app.orders.find(id)?))
}

/// Cancel an order and return its stock
///
/// If product-service does not say in time whether the stock is back, order-service goes on
/// asking. The order at `Location` then becomes `cancelled`, or it stands.
#[utoipa::path(post, path = "/api/orders/{id}/cancel", tag = "orders", params(("id" = Id, Path), KeyHeader), responses(
    (status = 200, description = "The cancelled order", body = Order),
    (status = 202, description = "The order as it is; the cancellation goes on", body = Order),
    (status = 409, description = "`conflict`: the order is cancelled already, or its stock does not fit"),
    (status = 503, description = "`dependency_unavailable`: product-service does not answer; nothing was begun"),
))]
pub async fn cancel_order(
    app: &App,
    OrderId(id): OrderId,
    key: Option<Key>,
) -> Result<Reply, ApiError> {
    let app = app.clone();
    let shutdown = app.service.shutdown().clone();
    // The key must know the outcome even if the client hangs up.
    let cancelling = async move {
        let cancelling = async || {
            Ok(
                match crate::cancel_order::cancel_order(app.clone(), id).await? {
                    Cancellation::Done(order) => Reply::json(200, &order),
                    Cancellation::InProgress(order) => {
                        Reply::accepted(format!("/api/orders/{id}"), &order)
                    }
                },
            )
        };
        app.keys.once(key, &(), cancelling).await
    };
    shutdown.finish(cancelling).await
}
