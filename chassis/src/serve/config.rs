//! The configuration that all services have, read from environment variables.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::env::{Env, Parameter, Switch, Variables};
use crate::telemetry::TelemetryConfig;
use crate::upstream::instances::source::Source;
use crate::upstream::registry::Registry;

/// The configuration that all services have.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Which service of the shop it is.
    pub service: &'static str,
    /// The name in health, logs and metrics.
    pub name: String,
    /// Log, metrics and traces.
    pub telemetry: TelemetryConfig,
    /// The limits.
    pub limits: Limits,
    /// Where it registers, and where others are registered.
    pub registry: Registry,
    /// Whether it has the routes of the [lab](crate::lab).
    pub lab: bool,
    /// All variables of the service, to be shown.
    pub variables: Variables,
}

/// The limits of a service, so that no client can use up all of it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most requests in flight. One more is refused.
    pub in_flight: u32,
    /// The most records in a store. One more is refused.
    pub records: u32,
    /// The most idempotency keys that are kept. One more is refused.
    pub keys: u32,
    /// The time-out for the head of a request.
    pub head: Duration,
    /// The most connections. For one more, the oldest idle one is closed.
    pub connections: u32,
    /// The most request bodies that are still arriving. For one more, the oldest is refused.
    pub bodies: u32,
    /// The share of each of these limits that one client address gets, in percent; not of the
    /// records.
    pub client_share: u32,
    /// The time-out for the body of a request. For half of it, a client may send nothing of a
    /// body and read nothing of a response.
    pub body: Duration,
    /// How long a client may take to read a response, while the service waits for it.
    pub response: Duration,
    /// How long an idle connection stays open. Longer than services keep their connections
    /// to each other ([`client`](crate::upstream::client)): a call must not use a connection
    /// that the other service is closing.
    pub idle: Duration,
}

/// The KiB of large responses that may wait for their clients to read them. Together with the
/// records, they fit into the 128 MiB of the lab's containers.
pub const UNREAD_KIB: u32 = 16 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: 1024,
            records: 1_000_000,
            keys: 1_000_000,
            connections: 2048,
            bodies: 128,
            client_share: 80,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            response: Duration::from_mins(1),
            idle: Duration::from_secs(75),
        }
    }
}

impl Limits {
    fn read(env: &mut Env<'_>) -> Self {
        let default = Self::default();
        Self {
            in_flight: env.number("MAX_IN_FLIGHT", default.in_flight, 1..=1_000_000),
            records: env.number("MAX_RECORDS", default.records, 1..=100_000_000),
            keys: env.number("MAX_KEYS", default.keys, 1..=100_000_000),
            connections: env.number("MAX_CONNECTIONS", default.connections, 1..=1_000_000),
            bodies: env.number("MAX_ARRIVING_BODIES", default.bodies, 1..=1_000_000),
            client_share: env.number("CLIENT_SHARE_PERCENT", default.client_share, 1..=100),
            head: env.milliseconds("HEAD_TIMEOUT_MS", default.head),
            body: env.milliseconds("BODY_TIMEOUT_MS", default.body),
            response: env.milliseconds("RESPONSE_TIMEOUT_MS", default.response),
            idle: env.milliseconds("IDLE_TIMEOUT_MS", default.idle),
        }
    }
}

impl ServiceConfig {
    /// Reads the variables that all services have. `service` and `port` are the defaults of this
    /// service.
    pub fn read(env: &mut Env<'_>, service: &'static str, port: u16) -> Self {
        let host = env.get("HOST", IpAddr::from([127, 0, 0, 1]));
        let port = env.get("PORT", port);
        let name = env.get("SERVICE_NAME", ServiceName(service.to_owned())).0;
        Self {
            service,
            listen: SocketAddr::new(host, port),
            telemetry: TelemetryConfig::read(env, &name),
            name,
            limits: Limits::read(env),
            registry: Registry::read(env),
            lab: env.get("LAB_MODE", Switch::Off).is_on(),
            variables: env.variables(),
        }
    }

    /// Reads where another service is found; without `variable`, on this machine at `port`.
    pub fn source(&self, env: &mut Env<'_>, variable: &str, port: u16) -> Source {
        let source = env.get(variable, Source::local(port));
        source.registered_at(&self.registry)
    }
}

struct ServiceName(String);

impl Parameter for ServiceName {
    const EXPECTED: &'static str = "1 to 64 letters, digits, dots, dashes or underscores";
    fn parse(value: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        (value.len() <= 64 && value.chars().all(allowed)).then(|| Self(value.to_owned()))
    }
    fn shown(&self) -> String {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::config::LogFormat;

    fn env(variables: &'static [(&'static str, &'static str)]) -> Env<'static> {
        Env::new(|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_variables_a_service_listens_on_localhost() {
        let mut env = env(&[("PORT", "")]);
        let config = ServiceConfig::read(&mut env, "user-service", 8001);
        let config = env.finish(config).expect("the defaults are good");
        assert_eq!(config.listen.to_string(), "127.0.0.1:8001");
        assert_eq!(config.name, "user-service");
        assert_eq!(config.telemetry.format, LogFormat::Json);
    }

    #[test]
    fn the_error_lists_every_invalid_variable_with_its_value_and_the_expected_form() {
        let mut env = env(&[
            ("HOST", "localhost"),
            ("PORT", "80000"),
            ("LOG_LEVEL", "loud"),
            ("RUST_LOG", "a=b=c"),
            ("LOG_FORMAT", "xml"),
            ("SERVICE_NAME", "two words"),
            ("USER_SERVICE_URL", "https://users"),
            ("MAX_IN_FLIGHT", "0"),
            ("BODY_TIMEOUT_MS", "10s"),
        ]);
        let config = ServiceConfig::read(&mut env, "user-service", 8001);
        env.get("USER_SERVICE_URL", Source::local(8001));
        let error = env.finish(config).expect_err("nine bad values").to_string();
        assert_eq!(error.lines().count(), 9, "{error}");
        assert!(
            error.contains(r#"PORT is "80000", expected a port from 0 to 65535"#),
            "{error}"
        );
        assert!(
            error.contains(r#"USER_SERVICE_URL is "https://users", expected"#),
            "{error}"
        );
        assert!(
            error.contains(r#"MAX_IN_FLIGHT is "0", expected a whole number from 1 to 1000000"#),
            "{error}"
        );
    }

    #[test]
    fn rust_log_overrides_log_level() {
        let mut env = env(&[("LOG_LEVEL", "error"), ("RUST_LOG", "debug")]);
        let config = ServiceConfig::read(&mut env, "user-service", 8001);
        assert!(
            config
                .telemetry
                .filter
                .would_enable("anything", &tracing::Level::DEBUG)
        );
    }
}
