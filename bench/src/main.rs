//! The five frameworks with nothing of ours, to measure against: each as its own
//! guide writes a small server, with no log, no ids, no CORS and no metrics; and
//! hyper without a framework.
//!
//! `bare <axum|rocket|poem|warp|actix-web|hyper> [port]`; port 0, the default, is
//! any free one. `scripts/figures.sh throughput` runs it beside the services.
//! `bare floor` is product-service's API on hyper, for `scripts/compare.sh`;
//! `bare sink` takes whatever it is sent, as a collector for
//! `scripts/figures.sh telemetry`.

#[cfg(feature = "actix-web")]
mod actix;
#[cfg(feature = "axum")]
mod axum;
mod data;
#[cfg(feature = "floor")]
mod floor;
#[cfg(feature = "hyper")]
mod hyper;
#[cfg(feature = "poem")]
mod poem;
#[cfg(feature = "rocket")]
mod rocket;
#[cfg(feature = "warp")]
mod warp;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use data::Failed;

const USAGE: &str = "usage: bare <axum|rocket|poem|warp|actix-web|hyper|floor|sink> [port]";

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
        "axum" => axum::serve(address),
        #[cfg(feature = "rocket")]
        "rocket" => rocket::serve(address),
        #[cfg(feature = "poem")]
        "poem" => poem::serve(address),
        #[cfg(feature = "warp")]
        "warp" => warp::serve(address),
        #[cfg(feature = "actix-web")]
        "actix-web" => actix::serve(address),
        #[cfg(feature = "hyper")]
        "hyper" => hyper::serve_items(address),
        #[cfg(feature = "floor")]
        "floor" => floor::serve(address),
        #[cfg(feature = "axum")]
        "sink" => axum::sink(address),
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

/// Says where a server is found.
fn listening(address: SocketAddr) {
    println!("listening on http://{address}");
}
