//! Environment variables, read as typed values: a default for each, and every bad
//! value reported at once.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

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
