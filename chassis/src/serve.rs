//! Running a service: configuration, the accept loop, what happens around each
//! request, and stopping.

pub mod config;
pub mod connection;
pub mod exchange;
pub mod guarded;
mod healthcheck;
pub mod run;
pub mod server;
pub mod service;
pub mod shutdown;

pub use run::run;
