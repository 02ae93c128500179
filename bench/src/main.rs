//! The program `bare`: the smallest server on each of the five frameworks and on hyper without a
//! framework, as the base line for measurements.
//!
//! `bare <axum|rocket|poem|warp|actix-web|hyper> [port]` runs one. Port 0, the default, means any
//! free port. `scripts/figures.sh throughput` runs it beside the services. `bare floor` is
//! product-service's API on hyper, and `bare floor-on-rocket` the same on Rocket's own server, for
//! `scripts/compare.sh`; both have as many threads as a service. `bare sink` accepts every request,
//! as a collector for `scripts/figures.sh telemetry`.

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

/// Runs a server on the runtime of a service, so that all measured servers have the same number
/// of threads.
#[cfg(feature = "floor")]
fn on_threads_of_a_service(serve: impl AsyncFnOnce() -> Result<(), Failed>) -> ExitCode {
    use chassis::serve::run::{RunError, until_stopped};

    until_stopped(async || {
        let served = serve().await;
        served.map_err(|error| RunError::Start(error.to_string()))
    })
}
