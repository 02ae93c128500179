//! Running a service: configuration, the accept loop, the exchange around each request, and
//! shutdown.

mod admission;
mod arriving;
pub mod config;
pub mod connection;
mod connections;
pub mod exchange;
mod frames;
mod framing;
pub mod guarded;
mod head;
mod healthcheck;
pub mod http2;
mod limit;
mod pace;
pub mod registration;
pub mod requests;
pub mod run;
pub mod server;
pub mod service;
pub mod shutdown;

pub use run::run;
