//! Exercise 2: the route of the first exercise, on warp.

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use chassis::contract::api::Api;
use chassis::contract::page::Page;
use chassis::contract::reply::Reply;
use chassis::serve::shutdown::Shutdown;
use chassis::serve::{run, server};
use chassis::telemetry;
use framework_comparison::warp as products;
use on_warp::{Answer, app, get_or_head};
use product_service::{App, Config, api};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};
use warp::path::FullPath;
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

/// The routes of product-service, and one more.
static API: LazyLock<Api> = LazyLock::new(|| {
    let mut document = api::Document::openapi();
    document.merge(Addition::openapi());
    Api::new(api::about("warp"), document)
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

fn routes() -> impl Filter<Extract = (impl warp::Reply,), Error = Rejection> + Copy {
    let count = warp::path!("api" / "products" / "count")
        .and(get_or_head())
        .and(app())
        .then(count);
    count.or(not_count().and(products::routes()))
}

/// Rejects `count`, so that it is never the id of a product. warp tries one route after the
/// other: without this filter, `DELETE` of `count` would reach the route of one product.
fn not_count() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::path::full()
        .and_then(async |path: FullPath| {
            if path.as_str() == "/api/products/count" {
                Err(warp::reject())
            } else {
                Ok(())
            }
        })
        .untuple_one()
}

async fn count(app: App) -> Answer {
    Answer(count_products(&app))
}
