//! The smallest server on each framework, as its own guide writes one: a list, one
//! record, a creation, a handler that panics and one that takes a while. Nothing is
//! set that a guide does not set, but for the port.
//!
//! `framework-comparison defaults` finds out what they do by themselves.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(feature = "actix-web")]
pub mod actix;
#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "poem")]
pub mod poem;
#[cfg(feature = "rocket")]
pub mod rocket;
#[cfg(feature = "warp")]
pub mod warp;

/// Why a server could not run.
pub type Failed = Box<dyn std::error::Error>;

/// How long the slow handler takes.
pub(crate) const A_WHILE: Duration = Duration::from_millis(400);

/// What the servers have and take.
#[derive(Deserialize, Serialize)]
pub(crate) struct Item {
    name: String,
    price: f64,
}

impl Item {
    pub(crate) fn teapot() -> Self {
        Self {
            name: "Teapot".to_owned(),
            price: 19.99,
        }
    }
}

/// The query of the list.
#[derive(Deserialize)]
pub(crate) struct Paging {
    limit: Option<usize>,
}

impl Paging {
    pub(crate) fn items(&self) -> Vec<Item> {
        let items = [Item::teapot(), Item::teapot()];
        items.into_iter().take(self.limit.unwrap_or(100)).collect()
    }
}

/// Says where a server is found.
fn listening(address: io::Result<SocketAddr>) -> io::Result<()> {
    println!("listening on port {}", address?.port());
    Ok(())
}
