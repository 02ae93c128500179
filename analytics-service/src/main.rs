//! The analytics-service program.

use std::process::ExitCode;

use analytics_service::{App, Config, http};
use chassis::serve::shutdown::Shutdown;
use chassis::serve::{registration, run, server};
use chassis::telemetry;

fn main() -> ExitCode {
    run(Config::read, async |config| {
        let _log = telemetry::init(&config.service.telemetry)?;
        let shutdown = Shutdown::on_signal()?;
        let listener = server::bind(config.service.listen).await?;
        registration::begin(&config.service, &listener, &shutdown)?;
        let app = App::new(&config, &http::API, shutdown)?;
        http::serve(listener, app).await
    })
}
