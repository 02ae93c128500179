//! The smallest server on each of the five frameworks, with nothing of ours: as the
//! framework's own guide writes one, with no log, no ids, no CORS and no metrics.
//! Nothing is set that a guide does not set, but for the port.
//!
//! They are what the shop is measured against, as the program `bare`, and what
//! `framework-comparison defaults` asks to see what a framework does by itself: a
//! health, a list, one record, a creation, a handler that panics and one that takes a
//! while.

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

/// Why a server could not run.
pub type Failed = Box<dyn std::error::Error>;

/// How long `GET /slow` takes.
pub const A_WHILE: Duration = Duration::from_millis(400);

/// Says where a server is found.
pub fn listening(address: SocketAddr) {
    println!("listening on http://{address}");
}
