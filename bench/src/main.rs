//! The five frameworks with nothing of ours, to measure against: each as its own
//! guide writes a small server, with no log, no ids, no CORS and no metrics.
//!
//! `bare <axum|rocket|poem|warp|actix-web> [port]`; port 0, the default, is any
//! free one. `scripts/figures.sh throughput` runs it beside the services.
//! `bare sink` takes whatever it is sent, as a collector for
//! `scripts/figures.sh telemetry`.

mod actix;
mod axum;
mod data;
mod poem;
mod rocket;
mod warp;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use data::Failed;

const USAGE: &str = "usage: bare <axum|rocket|poem|warp|actix-web|sink> [port]";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let framework = arguments.next().unwrap_or_default();
    let Ok(port) = arguments.next().map_or(Ok(0), |port| port.parse()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let served = match framework.as_str() {
        "axum" => axum::serve(address),
        "rocket" => rocket::serve(address),
        "poem" => poem::serve(address),
        "warp" => warp::serve(address),
        "actix-web" => actix::serve(address),
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
