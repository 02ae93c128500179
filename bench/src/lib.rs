//! The smallest server on each of the five frameworks, as its guide writes one: without log,
//! ids, CORS or metrics, and with the default settings, except for the port.
//!
//! The program `bare` runs them as the base line for measurements. `framework-comparison defaults`
//! probes them to see what a framework does by itself. Their routes: a health, a list, one record,
//! a creation, a handler that panics and a slow one.

use std::net::SocketAddr;
use std::time::Duration;

#[cfg(feature = "actix-web")]
pub mod actix;
#[cfg(feature = "axum")]
pub mod axum;
pub mod data;
#[cfg(feature = "measure")]
pub mod measure;
#[cfg(feature = "poem")]
pub mod poem;
#[cfg(feature = "rocket")]
pub mod rocket;
#[cfg(feature = "warp")]
pub mod warp;

/// The error of a server that cannot run.
pub type Failed = Box<dyn std::error::Error>;

/// The duration of `GET /slow`.
pub const A_WHILE: Duration = Duration::from_millis(400);

/// Prints the address of a server.
pub fn listening(address: SocketAddr) {
    println!("listening on http://{address}");
}
