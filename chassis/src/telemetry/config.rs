//! What a service says about itself, read from environment variables.

use std::str::FromStr;

use tracing_subscriber::filter::Targets;

use crate::env::{Env, Parameter};
use crate::telemetry::export::Export;

/// Which log lines a service writes, and where its spans go.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// The name of the service in each line and span.
    pub service: String,
    /// Which log lines are written.
    pub filter: Targets,
    /// How a log line looks.
    pub format: LogFormat,
    /// The collector that spans are sent to; `None` sends none.
    pub export: Option<Export>,
}

impl TelemetryConfig {
    /// Reads `LOG_LEVEL`, `RUST_LOG`, `LOG_FORMAT` and the `OTEL_*` variables for the
    /// service called `service`.
    pub fn read(env: &mut Env<'_>, service: &str) -> Self {
        let level = env.get("LOG_LEVEL", LogLevel(tracing::Level::INFO));
        Self {
            service: service.to_owned(),
            export: Export::read(env, service),
            filter: env.get("RUST_LOG", Targets::new().with_default(level.0)),
            format: env.get("LOG_FORMAT", LogFormat::Json),
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// One short line, for people; coloured on a terminal unless `NO_COLOR` is set.
    Pretty,
}

struct LogLevel(tracing::Level);

impl Parameter for LogLevel {
    const EXPECTED: &'static str = "debug, info, warn or error";
    fn parse(value: &str) -> Option<Self> {
        let level = match value.to_ascii_lowercase().as_str() {
            "debug" => tracing::Level::DEBUG,
            "info" => tracing::Level::INFO,
            "warn" => tracing::Level::WARN,
            "error" => tracing::Level::ERROR,
            _ => return None,
        };
        Some(Self(level))
    }
    fn shown(&self) -> String {
        self.0.to_string().to_ascii_lowercase()
    }
}

impl Parameter for Targets {
    const EXPECTED: &'static str = "a filter such as info or warn,order_service=debug";
    fn parse(value: &str) -> Option<Self> {
        Self::from_str(value).ok()
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Parameter for LogFormat {
    const EXPECTED: &'static str = "json or pretty";
    fn parse(value: &str) -> Option<Self> {
        match value.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "pretty" => Some(Self::Pretty),
            _ => None,
        }
    }
    fn shown(&self) -> String {
        let name = match self {
            Self::Json => "json",
            Self::Pretty => "pretty",
        };
        name.to_owned()
    }
}
