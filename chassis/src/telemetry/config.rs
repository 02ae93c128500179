//! What a service says about itself, read from environment variables.

use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

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

/// The crates that may be in a service: each writes log lines under its own name.
const LOCK: &str = include_str!("../../../Cargo.lock");

impl Parameter for Targets {
    const EXPECTED: &'static str = "levels, alone or by crate: warn,order_service=debug";
    /// Any word would be a target by itself, and a misspelt level a filter for lines that
    /// nobody writes: no lines at all.
    fn parse(value: &str) -> Option<Self> {
        let known = value.split(',').all(is_directive);
        known.then(|| Self::from_str(value).ok())?
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

/// Whether this is a level, a target, or a target with a level.
fn is_directive(directive: &str) -> bool {
    match directive.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(directive) || is_target(directive),
    }
}

fn is_level(text: &str) -> bool {
    !text.is_empty() && text.parse::<LevelFilter>().is_ok()
}

/// Whether the crate of this target is in the lock file. The services share `RUST_LOG`, so
/// each allows the crates of all.
fn is_target(target: &str) -> bool {
    let name = target.split([':', '[']).next().unwrap_or_default();
    let mut lines = LOCK.lines();
    lines.any(|line| {
        let known = line
            .strip_prefix("name = \"")
            .and_then(|rest| rest.strip_suffix('"'));
        known.is_some_and(|known| known.replace('-', "_") == name)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_levels_and_crates_that_are_there() {
        for good in [
            "warn",
            "OFF",
            "warn,order_service=debug",
            "info,hyper=off,chassis::serve::server=trace",
            "on_actix_web",
            "order_service[{status}]=info",
        ] {
            assert!(Targets::parse(good).is_some(), "{good}");
        }
        for (bad, reason) in [
            ("warning", "no level"),
            ("wran,order_service=debug", "one misspelt"),
            ("info,order-service=debug", "a service, but not as a crate"),
            ("info,orders=debug", "no crate"),
            ("info, order_service=debug", "a space"),
            ("order_service=verbose", "no level after a crate"),
            ("order_service=", "nothing after it"),
            ("warn,", "nothing after a comma"),
            ("order_service=info=warn", "two levels"),
            ("order_service[status]=info=warn", "and with a field"),
            ("9", "a number"),
        ] {
            assert!(Targets::parse(bad).is_none(), "{reason}: {bad}");
        }
    }
}
