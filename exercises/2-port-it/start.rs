//! Exercise 2: the route of the first exercise, on warp.

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use chassis::contract::api::Api;
use chassis::serve::shutdown::Shutdown;
use chassis::serve::{run, server};
use chassis::telemetry;
use framework_comparison::warp as products;
use product_service::{App, Config, api};
use warp::{Filter, Rejection};

fn main() -> ExitCode {
    run(Config::read, async |config| {
        let _log = telemetry::init(&config.service.telemetry)?;
        let shutdown = Shutdown::on_signal()?;
        let listener = server::bind(config.service.listen).await?;
        let app = App::new(&config, &API, shutdown)?;
        let service = Arc::clone(&app.service);
        on_warp::serve(listener, routes(), app, service).await
    })
}

/// The routes of product-service. Copy the description of your route, and the function that
/// computes its answer, from exercise 1: neither names a framework.
static API: LazyLock<Api> = LazyLock::new(|| api::on("warp"));

fn routes() -> impl Filter<Extract = (impl warp::Reply,), Error = Rejection> + Copy {
    // Add yours: GET /api/products/count.
    products::routes()
}
