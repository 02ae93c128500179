//! Exercise 1: product-service on axum, with one more route.

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use chassis::contract::api::Api;
use chassis::contract::page::Page;
use chassis::contract::reply::Reply;
use chassis::serve::shutdown::Shutdown;
use chassis::serve::{run, server};
use chassis::telemetry;
use framework_comparison::axum as products;
use on_axum::Answer;
use product_service::{App, Config, api};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

fn main() -> ExitCode {
    run(Config::read, async |config| {
        let _log = telemetry::init(&config.service.telemetry)?;
        let shutdown = Shutdown::on_signal()?;
        let listener = server::bind(config.service.listen).await?;
        let app = App::new(&config, &API, shutdown)?;
        let service = Arc::clone(&app.service);
        on_axum::serve(listener, routes(), app, service).await
    })
}

/// The routes of product-service, and one more.
static API: LazyLock<Api> = LazyLock::new(|| {
    let mut document = api::Document::openapi();
    document.merge(Addition::openapi());
    Api::new(api::about("axum"), document)
});

#[derive(OpenApi)]
#[openapi(paths(count_products))]
struct Addition;

/// The answer of `GET /api/products/count`.
#[derive(Serialize, ToSchema)]
struct Count {
    /// How many products there are.
    total: usize,
}

/// How many products there are
#[utoipa::path(get, path = "/api/products/count", tag = "products",
    responses((status = 200, description = "The count of all products", body = Count)))]
fn count_products(app: &App) -> Reply {
    // Every page contains the count of all products.
    let total = app.products.list(Page::default()).total;
    Reply::json(200, &Count { total })
}

fn routes() -> Router<App> {
    products::routes().route("/api/products/count", get(count))
}

async fn count(State(app): State<App>) -> Answer {
    Answer(count_products(&app))
}
