//! The gateway program.

use std::process::ExitCode;

use chassis::serve::shutdown::Shutdown;
use chassis::serve::{run, server};
use chassis::telemetry;
use gateway::tls::Tls;
use gateway::{App, Config, http};

fn main() -> ExitCode {
    run(Config::read, async |config| {
        let _log = telemetry::init(&config.service.telemetry)?;
        let shutdown = Shutdown::on_signal()?;
        let listener = server::bind(config.service.listen).await?;
        let tls = config.tls.as_ref().map(Tls::bind).transpose()?;
        let app = App::new(&config, &http::API, shutdown)?;
        http::serve(listener, tls, app).await
    })
}
