#![doc = include_str!("../README.md")]

#[cfg(feature = "actix-web")]
pub mod actix;
#[cfg(feature = "axum")]
pub mod axum;
mod conversation;
pub mod framework;
#[cfg(feature = "poem")]
pub mod poem;
pub mod probes;
pub mod report;
#[cfg(feature = "rocket")]
pub mod rocket;
#[cfg(feature = "warp")]
pub mod warp;

pub use framework::Framework;
