//! The smallest server on each of the five frameworks, to measure against; and hyper
//! without a framework.
//!
//! `bare <axum|rocket|poem|warp|actix-web|hyper> [port]`; port 0, the default, is
//! any free one. `scripts/figures.sh throughput` runs it beside the services.
//! `bare floor` is product-service's API on hyper, `bare floor-on-rocket` the same on
//! Rocket's own server, for `scripts/compare.sh`: both on the threads of a service.
//! `bare sink` takes whatever it is sent, as a collector for
//! `scripts/figures.sh telemetry`.

#[cfg(feature = "floor")]
mod floor;
#[cfg(feature = "hyper")]
mod hyper;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use bench::Failed;

const USAGE: &str = "usage: bare \
    <axum|rocket|poem|warp|actix-web|hyper|floor|floor-on-rocket|sink> [port]";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let framework = arguments.next().unwrap_or_default();
    let Ok(port) = arguments.next().map_or(Ok(0), |port| port.parse()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let served = match framework.as_str() {
        #[cfg(feature = "axum")]
        "axum" => bench::axum::serve(address),
        #[cfg(feature = "rocket")]
        "rocket" => bench::rocket::serve(address),
        #[cfg(feature = "poem")]
        "poem" => bench::poem::serve(address),
        #[cfg(feature = "warp")]
        "warp" => bench::warp::serve(address),
        #[cfg(feature = "actix-web")]
        "actix-web" => bench::actix::serve(address),
        #[cfg(feature = "hyper")]
        "hyper" => hyper::serve_items(address),
        #[cfg(feature = "floor")]
        "floor" => return on_threads_of_a_service(async || floor::serve(address).await),
        #[cfg(all(feature = "floor", feature = "rocket"))]
        "floor-on-rocket" => {
            return on_threads_of_a_service(async || floor::on_rocket::serve(address).await);
        }
        #[cfg(feature = "hyper")]
        "sink" => hyper::serve_sink(address),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    served.map_or_else(
        |error: Failed| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// Runs a server on the runtime that every service has: what is measured side by side
/// has the same number of threads.
#[cfg(feature = "floor")]
fn on_threads_of_a_service(serve: impl AsyncFnOnce() -> Result<(), Failed>) -> ExitCode {
    use chassis::serve::run::{RunError, until_stopped};

    until_stopped(async || {
        let served = serve().await;
        served.map_err(|error| RunError::Start(error.to_string()))
    })
}
