//! What a service says about itself: log lines, metrics and spans, and the ids that
//! connect them.

pub mod config;
pub mod context;
pub mod export;
mod log;
pub mod metrics;
mod output;
pub(crate) mod recorder;
pub mod spans;

pub use config::TelemetryConfig;
pub use log::{Guard, init};
