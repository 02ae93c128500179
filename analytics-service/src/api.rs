//! The API of analytics-service: what each route answers, and the document that
//! says so. It names no framework; the room of one brings what a request holds.

use chassis::contract::api::{About, Api};
use chassis::contract::error::ApiError;
use chassis::contract::reply::Reply;
use utoipa::OpenApi;

use crate::App;
use crate::model::{OrderTotals, Sample, ServiceState, Summary, Total, Window};

#[derive(OpenApi)]
#[openapi(paths(summary, users, products, orders, notifications, services, history))]
struct Document;

/// The API, as it is on `framework`.
pub fn on(framework: &'static str) -> Api {
    let about = About {
        name: "analytics-service",
        framework,
        version: env!("CARGO_PKG_VERSION"),
        description: "Totals of the shop, and how its services do.",
    };
    Api::new(about, Document::openapi())
}

/// All totals, and the services they come from
///
/// While a service is down, its total is the last one known.
#[utoipa::path(get, path = "/api/analytics/summary", tag = "analytics",
    responses((status = 200, description = "The totals", body = Summary)))]
pub async fn summary(app: &App) -> Result<Reply, ApiError> {
    Ok(Reply::json(200, &app.totals.summary().await?))
}

/// How many users there are
#[utoipa::path(get, path = "/api/analytics/users", tag = "analytics",
    responses((status = 200, description = "The last total known", body = Total)))]
pub async fn users(app: &App) -> Result<Reply, ApiError> {
    let users = app.totals.users().await?;
    Ok(Reply::json(200, &Total::from(users)))
}

/// How many products there are
#[utoipa::path(get, path = "/api/analytics/products", tag = "analytics",
    responses((status = 200, description = "The last total known", body = Total)))]
pub async fn products(app: &App) -> Result<Reply, ApiError> {
    let products = app.totals.products().await?;
    Ok(Reply::json(200, &Total::from(products)))
}

/// How many orders there are, and what they are worth
#[utoipa::path(get, path = "/api/analytics/orders", tag = "analytics",
    responses((status = 200, description = "The last totals known", body = OrderTotals)))]
pub async fn orders(app: &App) -> Result<Reply, ApiError> {
    let orders = app.totals.orders().await?;
    Ok(Reply::json(200, &OrderTotals::from(orders)))
}

/// How many notifications there are
#[utoipa::path(get, path = "/api/analytics/notifications", tag = "analytics",
    responses((status = 200, description = "The last total known", body = Total)))]
pub async fn notifications(app: &App) -> Result<Reply, ApiError> {
    let notifications = app.totals.notifications().await?;
    Ok(Reply::json(200, &Total::from(notifications)))
}

/// How the four services do
///
/// Of a poll made now, which requests that arrive together share. A service that
/// is down is told as far as it is known.
#[utoipa::path(get, path = "/api/analytics/services", tag = "analytics",
    responses((status = 200, description = "User, product, order and notification-service", body = [ServiceState])))]
pub async fn services(app: &App) -> Result<Reply, ApiError> {
    Ok(Reply::json(200, &app.watch.services().await?))
}

/// How they did
///
/// The polls kept in memory, an hour of them at most, in the order of time.
#[utoipa::path(get, path = "/api/analytics/history", tag = "analytics", params(Window),
    responses((status = 200, description = "A sample for each poll", body = [Sample])))]
pub fn history(app: &App, query: &str) -> Result<Reply, ApiError> {
    let window = Window::parse(query)?;
    Ok(Reply::json(200, &app.watch.history(window)))
}
