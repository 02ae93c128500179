//! The descriptions of the routes that every service has. The handlers are in each
//! framework's adapter; the functions here only carry the descriptions.
#![expect(
    dead_code,
    reason = "utoipa attaches descriptions to functions; these are never called"
)]

use crate::contract::error::{ErrorBody, FieldError};
use crate::contract::health::{Health, Readiness};
use crate::contract::index::Index;

/// The operations of every service.
#[derive(utoipa::OpenApi)]
#[openapi(paths(index, health, ready, metrics, openapi_json, docs, docs_file), components(schemas(ErrorBody<'_>, FieldError)))]
pub(crate) struct Operations;

/// What is here
///
/// A page of links for a browser, JSON for those who ask for it, text for all others.
#[utoipa::path(get, path = "/", tag = "operations", responses(
    (status = 200, description = "The service and its routes", content(
        (String = "text/plain"), (String = "text/html"), (Index = "application/json"),
    )),
))]
fn index() {}

/// Whether the service is alive
///
/// Never calls another service.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, description = "Alive", body = Health)))]
fn health() {}

/// Whether the service can do its work
#[utoipa::path(get, path = "/health/ready", tag = "operations", responses(
    (status = 200, description = "It can, if perhaps without something it can do without", body = Readiness),
    (status = 503, description = "A dependency it needs is down, or it is shutting down", body = Readiness),
))]
fn ready() {}

/// Counters and timings for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "operations", responses(
    (status = 200, description = "The text format of Prometheus, or OpenMetrics for those who ask for it", content(
        (String = "text/plain"), (String = "application/openmetrics-text"),
    )),
))]
fn metrics() {}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "operations", responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
fn openapi_json() {}

/// This document, to read and try in a browser
#[utoipa::path(get, path = "/docs", tag = "operations", responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
fn docs() {}

/// A file of the page
#[utoipa::path(get, path = "/docs/{file}", tag = "operations",
    params(("file" = String, Path, description = "`page.js`, `swagger-ui.css` or `swagger-ui-bundle.js`")),
    responses((status = 200, description = "The file", content(
        (String = "text/css"), (String = "text/javascript"),
    ))),
)]
fn docs_file() {}
