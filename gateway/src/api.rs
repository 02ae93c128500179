//! The gateway's own routes: the reply of each, and the OpenAPI document.

use std::time::Duration;

use chassis::contract::accept::Accept;
use chassis::contract::api::{About, Api};
use chassis::contract::error::ApiError;
use chassis::contract::reply::Reply;
use chassis::upstream::registry::{Listing, Registered};
use chassis::values::id::Id;
use hyper::header::HeaderMap;
use utoipa::OpenApi;

use crate::App;
use crate::console;
use crate::dashboard::Dashboard;
use crate::registry::{InstanceId, RegistrationBody};
use crate::status::{Overview, Status};

#[derive(OpenApi)]
#[openapi(
    paths(
        index,
        console_file,
        console_module,
        console_part,
        status,
        dashboard,
        registry,
        register,
        deregister
    ),
    components(schemas(Id))
)]
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
    let changes = ["register", "deregister"].as_slice();
    let no_token = ApiError::unauthenticated("No token was sent");
    let from_a_page = ApiError::forbidden("A page in a browser must not register an instance");
    let errors = [
        (["dashboard"].as_slice(), unavailable),
        (["dashboard"].as_slice(), unknown),
        (["dashboard"].as_slice(), limited),
        (changes, no_token),
        (changes, from_a_page),
        (
            ["register"].as_slice(),
            ApiError::conflict("The instance 1-5f0c3d5e is registered at 127.0.0.1:8005"),
        ),
        (
            ["register"].as_slice(),
            ApiError::gone("The instance 1-5f0c3d5e was deregistered"),
        ),
    ];
    Api::with_errors(about, Document::openapi(), &errors)
}

/// What is here
///
/// The services behind the gateway: their paths, their docs, and whether they answer. The console
/// for a browser, JSON for all others.
#[utoipa::path(get, path = "/", tag = "operations",
    responses(
        (status = 200, description = "The gateway and the services", content(
            (Overview = "application/json"), (String = "text/html"),
        )),
        (status = 304, description = "The browser has the console already"),
    ))]
pub fn index(app: &App, accept: &Accept, request: &HeaderMap) -> Reply {
    const JSON: &str = "application/json";
    const HTML: &str = "text/html; charset=utf-8";
    let reply = match accept.prefers(&[JSON, HTML]) {
        JSON => Reply::json(200, &Overview::new(&Status::now(app))),
        _ => console::page(request),
    };
    reply.with_header("vary", "Accept")
}

/// A file of the console
#[utoipa::path(get, path = "/console/{file}", tag = "console",
    params(("file" = String, Path, description = "`app.js`, `style.css`, …")),
    responses(
        (status = 200, description = "The file", content(
            (String = "text/javascript"), (String = "text/css"),
            (String = "image/svg+xml"), (String = "text/html"),
        )),
        (status = 304, description = "The browser has it already"),
        (status = 404, description = "`not_found`: the console has no such file"),
    ))]
pub fn console_file(path: &str, request: &HeaderMap) -> Reply {
    console::file(path, request)
}

/// A module of the console
#[utoipa::path(get, path = "/console/{folder}/{file}", tag = "console",
    params(
        ("folder" = String, Path, description = "`lib` or `pages`"),
        ("file" = String, Path, description = "`api.js`, `map.js`, …"),
    ),
    responses(
        (status = 200, description = "The module", content((String = "text/javascript"))),
        (status = 304, description = "The browser has it already"),
        (status = 404, description = "`not_found`: the console has no such file"),
    ))]
pub fn console_module(path: &str, request: &HeaderMap) -> Reply {
    console::file(path, request)
}

/// A part of a page of the console
#[utoipa::path(get, path = "/console/{folder}/{page}/{file}", tag = "console",
    params(
        ("folder" = String, Path, description = "`pages`"),
        ("page" = String, Path, description = "`map`, `shop`, …"),
        ("file" = String, Path, description = "`drawing.js`, …"),
    ),
    responses(
        (status = 200, description = "The module", content((String = "text/javascript"))),
        (status = 304, description = "The browser has it already"),
        (status = 404, description = "`not_found`: the console has no such file"),
    ))]
pub fn console_part(path: &str, request: &HeaderMap) -> Reply {
    console::file(path, request)
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

/// The registered instances
///
/// In the first six seconds of the gateway the list is not `complete`: an instance may not have
/// registered yet.
#[utoipa::path(get, path = "/registry", tag = "registry",
    responses((status = 200, description = "All instances, by service and id", body = Listing)))]
pub fn registry(app: &App) -> Reply {
    Reply::json(200, &app.registry.listing())
}

/// Register an instance, or renew it
///
/// An instance is forgotten after six seconds without a renewal.
#[utoipa::path(put, path = "/registry/{service}/{instance}", tag = "registry",
    params(
        ("service" = String, Path, description = "The service"),
        ("instance" = String, Path, description = "An id that no other instance has had, 1 to 64 letters, digits, dots, dashes or underscores"),
    ),
    request_body = RegistrationBody,
    responses(
        (status = 200, description = "The instance was registered, and is renewed", body = Registered),
        (status = 201, description = "The instance is registered", body = Registered),
        (status = 401, description = "`unauthenticated`: the bearer token is not `REGISTRY_TOKEN`"),
        (status = 403, description = "`forbidden`: nobody may register here, or not from a page in a browser"),
        (status = 409, description = "`conflict`: the instance is registered at another address"),
        (status = 410, description = "`gone`: the instance was deregistered"),
    ))]
pub fn register(app: &App, id: InstanceId, body: RegistrationBody) -> Result<Reply, ApiError> {
    let path = id.path();
    let (registered, is_new) = app.registry.register(id, body)?;
    Ok(if is_new {
        Reply::created(path, &registered)
    } else {
        Reply::json(200, &registered)
    })
}

/// Deregister an instance, known or not
#[utoipa::path(delete, path = "/registry/{service}/{instance}", tag = "registry",
    params(
        ("service" = String, Path, description = "The service"),
        ("instance" = String, Path, description = "The id of the instance"),
    ),
    responses(
        (status = 204, description = "The instance is not registered, and its id cannot be for a minute"),
        (status = 401, description = "`unauthenticated`: the bearer token is not `REGISTRY_TOKEN`"),
        (status = 403, description = "`forbidden`: nobody may register here, or not from a page in a browser"),
    ))]
pub fn deregister(app: &App, id: InstanceId) -> Reply {
    app.registry.deregister(id);
    Reply::no_content()
}
