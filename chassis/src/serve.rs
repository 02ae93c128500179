//! Running a service: configuration, the accept loop, the exchange around each request, and
//! shutdown.

pub mod config;
pub mod connection;
pub mod exchange;
mod framing;
pub mod guarded;
mod head;
mod healthcheck;
pub mod requests;
pub mod run;
pub mod server;
pub mod service;
pub mod shutdown;

pub use run::run;
