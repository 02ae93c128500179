//! Exercise 1: product-service on axum, with one more route.

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use axum::Router;
use chassis::contract::api::Api;
use chassis::serve::shutdown::Shutdown;
use chassis::serve::{run, server};
use chassis::telemetry;
use framework_comparison::axum as products;
use product_service::{App, Config, api};

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

/// The routes of product-service. Yours is missing.
static API: LazyLock<Api> = LazyLock::new(|| api::on("axum"));

fn routes() -> Router<App> {
    // Add yours: GET /api/products/count.
    products::routes()
}
