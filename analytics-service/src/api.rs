//! The API of analytics-service: the reply of each route, and the OpenAPI document. It names no
//! framework: `http.rs` reads the arguments from the request.

use chassis::contract::api::{About, Api};
use chassis::contract::error::ApiError;
use chassis::contract::reply::Reply;
use utoipa::OpenApi;

use crate::App;
use crate::model::{OrderTotals, Sample, ServiceState, Summary, Total, Window};
use crate::stream::Stream;
use crate::stream::tick::{PastSamples, Tick};

#[derive(OpenApi)]
#[openapi(
    paths(
        summary,
        users,
        products,
        orders,
        notifications,
        services,
        history,
        stream
    ),
    components(schemas(PastSamples, Tick))
)]
struct Document;

/// The API, for an implementation on `framework`.
pub fn on(framework: &'static str) -> Api {
    let about = About {
        name: "analytics-service",
        framework,
        version: env!("CARGO_PKG_VERSION"),
        description: "Totals of the shop, and the state of its services.",
    };
    let too_long = Window::parse("minutes=61").expect_err("at most 60");
    let errors = [
        (["history"].as_slice(), too_long),
        (["stream"].as_slice(), Stream::too_many()),
    ];
    Api::with_errors(about, Document::openapi(), &errors)
}

/// All totals, and the services they come from
///
/// While a service is down, its total is the last known one.
#[utoipa::path(get, path = "/api/analytics/summary", tag = "analytics",
    responses((status = 200, description = "The totals", body = Summary)))]
pub async fn summary(app: &App) -> Result<Reply, ApiError> {
    Ok(Reply::json(200, &app.totals.summary().await?))
}

/// How many users there are
///
/// While user-service is down, the total is the last known one: `status` and `as_of` say so.
#[utoipa::path(get, path = "/api/analytics/users", tag = "analytics",
    responses((status = 200, description = "The last known total", body = Total)))]
pub async fn users(app: &App) -> Result<Reply, ApiError> {
    let users = app.totals.users().await?;
    Ok(Reply::json(200, &Total::from(users)))
}

/// How many products there are
///
/// While product-service is down, the total is the last known one: `status` and `as_of` say so.
#[utoipa::path(get, path = "/api/analytics/products", tag = "analytics",
    responses((status = 200, description = "The last known total", body = Total)))]
pub async fn products(app: &App) -> Result<Reply, ApiError> {
    let products = app.totals.products().await?;
    Ok(Reply::json(200, &Total::from(products)))
}

/// How many orders there are, and their value
///
/// While order-service is down, the totals are the last known ones: `status` and `as_of` say so.
#[utoipa::path(get, path = "/api/analytics/orders", tag = "analytics",
    responses((status = 200, description = "The last known totals", body = OrderTotals)))]
pub async fn orders(app: &App) -> Result<Reply, ApiError> {
    let orders = app.totals.orders().await?;
    Ok(Reply::json(200, &OrderTotals::from(orders)))
}

/// How many notifications there are
///
/// While notification-service is down, the total is the last known one: `status` and `as_of`
/// say so.
#[utoipa::path(get, path = "/api/analytics/notifications", tag = "analytics",
    responses((status = 200, description = "The last known total", body = Total)))]
pub async fn notifications(app: &App) -> Result<Reply, ApiError> {
    let notifications = app.totals.notifications().await?;
    Ok(Reply::json(200, &Total::from(notifications)))
}

/// The current state of the four services
///
/// Polls the services anew; concurrent requests share a poll. For a service that is down,
/// framework and version are the last known ones.
#[utoipa::path(get, path = "/api/analytics/services", tag = "analytics",
    responses((status = 200, description = "User, product, order and notification-service", body = [ServiceState])))]
pub async fn services(app: &App) -> Result<Reply, ApiError> {
    Ok(Reply::json(200, &app.watch.services().await?))
}

/// The past states of the four services
///
/// At most an hour of samples, kept in memory, oldest first.
#[utoipa::path(get, path = "/api/analytics/history", tag = "analytics", params(Window),
    responses((status = 200, description = "A sample for each poll", body = [Sample])))]
pub fn history(app: &App, query: &str) -> Result<Reply, ApiError> {
    let window = Window::parse(query)?;
    Ok(Reply::json(200, &app.watch.history(window)))
}

/// The shop as it is now, event by event
///
/// Server-sent events. First comes `past` with the samples of the last 15 minutes, as
/// `PastSamples`; then `tick`, at once and each second, as `Tick`. Whoever reads slowly misses
/// ticks. The services are polled once for all who watch, and not at all if nobody does.
#[utoipa::path(get, path = "/api/analytics/stream", tag = "analytics",
    responses(
        (status = 200, description = "Events without end", body = String, content_type = "text/event-stream"),
        (status = 503, description = "`overloaded`: too many watch already"),
    ))]
pub fn stream(app: &App) -> Result<Reply, ApiError> {
    app.stream.reply(&app.service)
}
