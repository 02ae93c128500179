//! The gateway's own routes: the reply of each, and the OpenAPI document.

use std::time::Duration;

use chassis::contract::accept::Accept;
use chassis::contract::api::{About, Api};
use chassis::contract::error::ApiError;
use chassis::contract::reply::Reply;
use chassis::values::id::Id;
use utoipa::OpenApi;

use crate::App;
use crate::dashboard::Dashboard;
use crate::status::{Overview, Status};

#[derive(OpenApi)]
#[openapi(paths(index, status, dashboard), components(schemas(Id)))]
struct Document;

/// The API, for an implementation on `framework`.
pub fn on(framework: &'static str) -> Api {
    let about = About {
        name: "gateway",
        framework,
        version: env!("CARGO_PKG_VERSION"),
        description: "One address for the whole shop.",
    };
    let unavailable = ApiError::dependency_unavailable("user-service", "down");
    let unknown = ApiError::no_such("user", 7);
    let limited = ApiError::rate_limited(200, Duration::from_secs(1));
    let errors = [
        (["dashboard"].as_slice(), unavailable),
        (["dashboard"].as_slice(), unknown),
        (["dashboard"].as_slice(), limited),
    ];
    Api::with_errors(about, Document::openapi(), &errors)
}

/// What is here
///
/// The services behind the gateway: their paths, their docs, and whether they answer. A page of
/// links for a browser, JSON for all others.
#[utoipa::path(get, path = "/", tag = "operations",
    responses((status = 200, description = "The gateway and the services", content(
        (Overview = "application/json"), (String = "text/html"),
    ))))]
pub fn index(app: &App, accept: &Accept) -> Reply {
    const JSON: &str = "application/json";
    const HTML: &str = "text/html; charset=utf-8";
    let overview = Overview::new(&Status::now(app));
    let reply = match accept.prefers(&[JSON, HTML]) {
        JSON => Reply::json(200, &overview),
        _ => Reply::ok(HTML, overview.page().into_bytes()),
    };
    reply.with_header("vary", "Accept")
}

/// The instances of the services
///
/// Each instance is asked every two seconds whether it is ready.
#[utoipa::path(get, path = "/status", tag = "gateway",
    responses((status = 200, description = "Each service with its instances", body = Status)))]
pub fn status(app: &App) -> Reply {
    Reply::json(200, &Status::now(app))
}

/// A user with the newest orders and notifications
///
/// The parts are requested concurrently. One that cannot be had is `null`, and its service is in
/// `unavailable`.
#[utoipa::path(get, path = "/api/users/{id}/dashboard", tag = "gateway",
    params(("id" = Id, Path, description = "The user")),
    responses(
        (status = 200, description = "The parts that can be had", body = Dashboard),
        (status = 404, description = "`not_found`: no such user"),
        (status = 429, description = "`rate_limited`: more requests than one client may send"),
        (status = 503, description = "`dependency_unavailable`: user-service is down"),
    ))]
pub async fn dashboard(app: &App, id: &str) -> Result<Reply, ApiError> {
    let id = Id::in_path("user", id)?;
    Ok(Reply::json(200, &app.dashboards.of(id).await?))
}
