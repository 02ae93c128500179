//! Exercise 5, half solved: it keeps the contract, but has no log and ignores signals.

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use chassis::contract::api::Api;
use chassis::serve::shutdown::Shutdown;
use chassis::serve::{run, server};
use framework_comparison::poem as products;
use product_service::{App, Config, api};

static API: LazyLock<Api> = LazyLock::new(|| api::on("poem"));

fn main() -> ExitCode {
    run(Config::read, async |config| {
        let listener = server::bind(config.service.listen).await?;
        let app = App::new(&config, &API, Shutdown::default())?;
        let service = Arc::clone(&app.service);
        on_poem::serve(listener, products::routes(), app, service).await
    })
}
