//! Exercise 5: the routes of product-service on poem, with the contract of the shop.

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use chassis::contract::api::Api;
use chassis::serve::shutdown::Shutdown;
use chassis::serve::{run, server};
use chassis::telemetry;
use framework_comparison::poem as products;
use product_service::{App, Config, api};

static API: LazyLock<Api> = LazyLock::new(|| api::on("poem"));

fn main() -> ExitCode {
    run(Config::read, async |config| {
        let _log = telemetry::init(&config.service.telemetry)?;
        let shutdown = Shutdown::on_signal()?;
        let listener = server::bind(config.service.listen).await?;
        let app = App::new(&config, &API, shutdown)?;
        let service = Arc::clone(&app.service);
        on_poem::serve(listener, products::routes(), app, service).await
    })
}
