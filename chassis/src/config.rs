//! Configuration from environment variables: typed, with a default for each,
//! and every bad value reported at once.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use tracing_subscriber::filter::Targets;

use crate::export::Export;

type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Reads variables through a lookup, so that a test passes a map where a
/// process passes its environment, and collects what is wrong with them.
pub struct Env<'a> {
    lookup: Box<Lookup<'a>>,
    problems: Vec<String>,
}

impl Env<'static> {
    /// The environment of this process.
    pub fn process() -> Self {
        Self::new(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }
}

impl<'a> Env<'a> {
    /// An environment read through `lookup`.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self {
            lookup: Box::new(lookup),
            problems: Vec::new(),
        }
    }

    /// The value of `name`, or `default` where it is not set.
    pub fn get<T: Parameter>(&mut self, name: &str, default: T) -> T {
        self.parsed(name, T::EXPECTED, T::parse).unwrap_or(default)
    }

    /// What `parse` makes of the value of `name`, if it is set.
    pub fn parsed<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.look_up(name)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.reject(name, &value, expected);
        }
        parsed
    }

    /// The whole number in `name`, which has to be in `range`.
    pub fn number(&mut self, name: &str, default: u32, range: RangeInclusive<u32>) -> u32 {
        let Some(value) = self.look_up(name) else {
            return default;
        };
        let number = value.parse().ok().filter(|number| range.contains(number));
        number.unwrap_or_else(|| {
            let (least, most) = range.into_inner();
            self.reject(
                name,
                &value,
                format_args!("a whole number from {least} to {most}"),
            );
            default
        })
    }

    /// The time in `name`, in milliseconds: from one to an hour.
    pub fn milliseconds(&mut self, name: &str, default: Duration) -> Duration {
        const HOUR: u32 = 60 * 60 * 1000;
        let default = u32::try_from(default.as_millis()).unwrap_or(HOUR);
        Duration::from_millis(self.number(name, default, 1..=HOUR).into())
    }

    /// Notes that the value of `name` is not what it has to be.
    pub fn reject(&mut self, name: &str, value: impl fmt::Debug, expected: impl Display) {
        self.problems
            .push(format!("{name} is {value:?}, expected {expected}"));
    }

    /// The value of `name`, if it is set.
    ///
    /// An empty value counts as not set: compose files pass one for every
    /// variable left blank.
    pub(crate) fn look_up(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// `config`, unless any variable read so far was wrong.
    pub fn finish<T>(self, config: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError(self.problems))
        }
    }
}

/// A type that an environment variable can hold.
pub trait Parameter: Sized {
    /// What a good value looks like, for the error message.
    const EXPECTED: &'static str;

    /// The value, or `None` if it is not one.
    fn parse(value: &str) -> Option<Self>;
}

/// What is wrong with the environment: a line for each bad variable.
#[derive(Debug)]
pub struct ConfigError(Vec<String>);

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// What every service is configured with.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The name in health, logs and metrics.
    pub name: String,
    /// Which log lines are written.
    pub log_filter: Targets,
    /// How a log line looks.
    pub log_format: LogFormat,
    /// How much it takes on.
    pub limits: Limits,
    /// Where its spans go, if they go anywhere.
    pub export: Option<Export>,
}

/// How much a service takes on, so that no client can take all of it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most requests that are answered at once; one more is refused.
    pub in_flight: u32,
    /// The most records in a store; one more is refused.
    pub records: u32,
    /// How long the head of a request may take to arrive.
    pub head: Duration,
    /// How long the body of a request may take to arrive.
    pub body: Duration,
    /// How long a connection is kept with no request on it. Longer than
    /// services keep theirs to each other ([`client`](crate::client)), or a call
    /// could meet a connection that is just being closed.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: 1024,
            records: 1_000_000,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
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
            head: env.milliseconds("HEAD_TIMEOUT_MS", default.head),
            body: env.milliseconds("BODY_TIMEOUT_MS", default.body),
            idle: env.milliseconds("IDLE_TIMEOUT_MS", default.idle),
        }
    }
}

impl ServiceConfig {
    /// Reads the variables that every service has; `name` and `port` are this
    /// service's own.
    pub fn read(env: &mut Env<'_>, name: &str, port: u16) -> Self {
        let host = env.get("HOST", IpAddr::from([127, 0, 0, 1]));
        let port = env.get("PORT", port);
        let level = env.get("LOG_LEVEL", LogLevel(tracing::Level::INFO));
        let name = env.get("SERVICE_NAME", ServiceName(name.to_owned())).0;
        Self {
            listen: SocketAddr::new(host, port),
            export: Export::read(env, &name),
            name,
            log_filter: env.get("RUST_LOG", Targets::new().with_default(level.0)),
            log_format: env.get("LOG_FORMAT", LogFormat::Json),
            limits: Limits::read(env),
        }
    }
}

/// Where a neighbour is found: `http://host:port`, checked at start-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl(Url);

impl UpstreamUrl {
    /// A neighbour on this machine.
    pub fn local(port: u16) -> Self {
        let url = format!("http://127.0.0.1:{port}");
        Self(Url::parse(&url).expect("a loopback URL parses"))
    }

    /// The URL of an address, for tests that start a neighbour on a free port.
    pub fn of(address: SocketAddr) -> Self {
        Self(Url::parse(&format!("http://{address}")).expect("a socket address makes a URL"))
    }

    pub(crate) fn origin(&self) -> &Url {
        &self.0
    }

    /// The URL without a slash at its end.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
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

struct ServiceName(String);

impl Parameter for IpAddr {
    const EXPECTED: &'static str = "an IP address such as 127.0.0.1 or 0.0.0.0";
    fn parse(value: &str) -> Option<Self> {
        value.parse().ok()
    }
}

impl Parameter for u16 {
    const EXPECTED: &'static str = "a port from 0 to 65535";
    fn parse(value: &str) -> Option<Self> {
        value.parse().ok()
    }
}

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
}

impl Parameter for Targets {
    const EXPECTED: &'static str = "a filter such as info or warn,order_service=debug";
    fn parse(value: &str) -> Option<Self> {
        Self::from_str(value).ok()
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
}

impl Parameter for ServiceName {
    const EXPECTED: &'static str = "1 to 64 letters, digits, dots, dashes or underscores";
    fn parse(value: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        (value.len() <= 64 && value.chars().all(allowed)).then(|| Self(value.to_owned()))
    }
}

impl Parameter for UpstreamUrl {
    const EXPECTED: &'static str = "a URL such as http://127.0.0.1:8001, with no path";
    fn parse(value: &str) -> Option<Self> {
        let url = Url::parse(value).ok()?;
        let plain = url.scheme() == "http"
            && url.has_host()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        plain.then_some(Self(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &'static [(&'static str, &'static str)]) -> Env<'static> {
        Env::new(|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_runs_locally() {
        let mut env = env(&[("PORT", "")]);
        let config = ServiceConfig::read(&mut env, "user-service", 8001);
        let config = env.finish(config).expect("the defaults are good");
        assert_eq!(config.listen.to_string(), "127.0.0.1:8001");
        assert_eq!(config.name, "user-service");
        assert_eq!(config.log_format, LogFormat::Json);
    }

    #[test]
    fn every_bad_value_is_reported_at_once_with_its_name_value_and_what_was_expected() {
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
        env.get("USER_SERVICE_URL", UpstreamUrl::local(8001));
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
    fn rust_log_wins_over_log_level() {
        let mut env = env(&[("LOG_LEVEL", "error"), ("RUST_LOG", "debug")]);
        let config = ServiceConfig::read(&mut env, "user-service", 8001);
        assert!(
            config
                .log_filter
                .would_enable("anything", &tracing::Level::DEBUG)
        );
    }

    #[test]
    fn an_upstream_is_a_plain_http_origin() {
        for (good, reason) in [
            ("http://127.0.0.1:8001", "the default"),
            ("http://user-service:8001", "a name on a container network"),
            ("http://[::1]:8001/", "IPv6, and a slash at the end"),
        ] {
            let url = UpstreamUrl::parse(good).expect(reason);
            assert!(!url.as_str().ends_with('/'), "{reason}");
        }
        for (bad, reason) in [
            ("user-service:8001", "no scheme"),
            ("https://user-service", "no TLS here"),
            ("http://user-service/api", "a path would be doubled"),
            ("http://user@host", "credentials do not belong in a URL"),
            ("http://host?x=1", "nor does a query"),
            ("nonsense", "not a URL"),
        ] {
            assert!(UpstreamUrl::parse(bad).is_none(), "{reason}");
        }
    }
}
