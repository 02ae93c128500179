//! Environment variables, read as typed values. Each has a default; the error lists every
//! invalid value.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Serialize, Serializer};

type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Reads variables and collects the errors. A test can pass a map instead of the environment of
/// the process.
///
/// ```
/// use chassis::env::Env;
///
/// let mut env = Env::new(|name| (name == "PORT").then(|| "80".to_owned()));
/// let port = env.get("PORT", 8001_u16);
/// let records = env.number("MAX_RECORDS", 1000, 1..=1_000_000);
/// assert_eq!(env.finish((port, records)).unwrap(), (80, 1000));
/// ```
pub struct Env<'a> {
    lookup: Box<Lookup<'a>>,
    problems: Vec<String>,
    variables: Variables,
}

/// A variable that was read.
#[derive(Clone, Debug, Serialize)]
struct Variable {
    name: String,
    default: String,
    /// `None` if it is not set. That of a secret is not kept.
    value: Option<String>,
    expected: String,
}

/// The variables that were read, in their order: for `--help`, and for `GET /lab/settings`. Clones
/// share one list, so one that is taken at the start has all in the end.
#[derive(Clone, Debug, Default)]
pub struct Variables(Arc<Mutex<Vec<Variable>>>);

/// The column at which the form of a value begins,
const FORM_AT: usize = 29;

/// on a screen of so many.
const SCREEN: usize = 80;

impl Variables {
    fn add(&self, variable: Variable) {
        // The standard has twenty for telemetry, and this one switches it on.
        let is_minor =
            variable.name.starts_with("OTEL_") && variable.name != "OTEL_EXPORTER_OTLP_ENDPOINT";
        let mut all = self.0.lock();
        if (is_minor && variable.value.is_none()) || all.iter().any(|one| one.name == variable.name)
        {
            return;
        }
        all.push(variable);
    }

    /// The text of `--help` on each.
    pub(crate) fn help(&self) -> String {
        let lines = self.0.lock();
        let lines = lines.iter().map(|one| {
            let (variable, expected) = (format!("    {}={}", one.name, one.default), &one.expected);
            if variable.len() < FORM_AT && FORM_AT + expected.len() <= SCREEN {
                format!("{variable:FORM_AT$}{expected}\n")
            } else {
                format!("{variable}\n        {expected}\n")
            }
        });
        lines.collect()
    }
}

impl Serialize for Variables {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.lock().serialize(serializer)
    }
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
            variables: Variables::default(),
        }
    }

    /// The variables that are read here, so far and later.
    pub fn variables(&self) -> Variables {
        self.variables.clone()
    }

    /// The value of `name`, or `default` if it is not set.
    pub fn get<T: Parameter>(&mut self, name: &str, default: T) -> T {
        let value = self.noted(name, default.shown(), T::EXPECTED);
        let parsed = value.and_then(|value| self.checked(name, &value, T::EXPECTED, T::parse));
        parsed.unwrap_or(default)
    }

    /// The value of `name`, parsed with `parse`, if it is set.
    pub fn parsed<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.noted(name, "", expected)?;
        self.checked(name, &value, expected, parse)
    }

    /// The same for a value that must not be shown.
    pub fn secret<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.look_up(name);
        let hidden = value.as_ref().map(|_| "(not shown)".to_owned());
        self.note(name, "", expected, hidden);
        let value = value?;
        let parsed = parse(&value);
        if parsed.is_none() {
            let length = value.chars().count();
            self.problems.push(format!(
                "{name} has {length} characters, expected {expected}"
            ));
        }
        parsed
    }

    fn checked<T>(
        &mut self,
        name: &str,
        value: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let parsed = parse(value);
        if parsed.is_none() {
            self.reject(name, value, expected);
        }
        parsed
    }

    /// The whole number in `name`, which must be in `range`.
    pub fn number(&mut self, name: &str, default: u32, range: RangeInclusive<u32>) -> u32 {
        let (least, most) = (range.start(), range.end());
        let expected = format!("a whole number from {least} to {most}");
        let value = self.noted(name, default, &expected);
        let parse = |value: &str| value.parse().ok().filter(|number| range.contains(number));
        let number = value.and_then(|value| self.checked(name, &value, &expected, parse));
        number.unwrap_or(default)
    }

    /// The time in `name`, in milliseconds: from 1 ms to 1 h.
    pub fn milliseconds(&mut self, name: &str, default: Duration) -> Duration {
        const HOUR: u32 = 60 * 60 * 1000;
        let default = u32::try_from(default.as_millis()).unwrap_or(HOUR);
        Duration::from_millis(self.number(name, default, 1..=HOUR).into())
    }

    /// Records that the value of `name` is invalid.
    pub fn reject(&mut self, name: &str, value: impl fmt::Debug, expected: impl Display) {
        self.problems
            .push(format!("{name} is {value:?}, expected {expected}"));
    }

    /// The value of `name`, if it is set. It is noted among the variables.
    fn noted(&self, name: &str, default: impl Display, expected: &str) -> Option<String> {
        let value = self.look_up(name);
        self.note(name, default, expected, value.clone());
        value
    }

    fn note(&self, name: &str, default: impl Display, expected: &str, value: Option<String>) {
        self.variables.add(Variable {
            name: name.to_owned(),
            default: default.to_string(),
            value,
            expected: expected.to_owned(),
        });
    }

    /// The value of `name`, if it is set.
    ///
    /// An empty value counts as not set: compose files pass an empty value for every variable
    /// left blank.
    pub(crate) fn look_up(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// `config`, unless any variable read so far is invalid.
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
    /// The form of a valid value, for the error message.
    const EXPECTED: &'static str;

    /// The value, or `None` if it is invalid.
    fn parse(value: &str) -> Option<Self>;

    /// The value as it would be written in the variable.
    fn shown(&self) -> String;
}

/// The invalid environment variables, a line for each.
#[derive(Debug)]
pub struct ConfigError(Vec<String>);

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// What is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// It is on.
    On,
    /// It is off.
    Off,
}

impl Switch {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

impl Parameter for Switch {
    const EXPECTED: &'static str = "on or off";
    fn parse(value: &str) -> Option<Self> {
        match value.to_ascii_lowercase().as_str() {
            "on" => Some(Self::On),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
    fn shown(&self) -> String {
        let name = match self {
            Self::On => "on",
            Self::Off => "off",
        };
        name.to_owned()
    }
}

impl Parameter for IpAddr {
    const EXPECTED: &'static str = "an IP address such as 127.0.0.1 or 0.0.0.0";
    fn parse(value: &str) -> Option<Self> {
        value.parse().ok()
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Parameter for u16 {
    const EXPECTED: &'static str = "a port from 0 to 65535";
    fn parse(value: &str) -> Option<Self> {
        value.parse().ok()
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_listed_once_with_their_values_but_secrets_are_not_shown() {
        let mut env = Env::new(|name| match name {
            "PORT" => Some("80".to_owned()),
            "TOKEN" => Some("open sesame".to_owned()),
            _ => None,
        });
        let variables = env.variables();
        env.get("PORT", 8001_u16);
        env.get("PORT", 8002_u16);
        env.number("MAX_RECORDS", 1000, 1..=5000);
        env.secret("TOKEN", "a token", |value| Some(value.len()));
        env.secret("OTHER_TOKEN", "a token", |value| Some(value.len()));
        env.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048, 1..=5000);
        let shown = serde_json::to_value(&variables).expect("JSON");
        let expected = serde_json::json!([
            {"name": "PORT", "default": "8001", "value": "80", "expected": "a port from 0 to 65535"},
            {"name": "MAX_RECORDS", "default": "1000", "value": null, "expected": "a whole number from 1 to 5000"},
            {"name": "TOKEN", "default": "", "value": "(not shown)", "expected": "a token"},
            {"name": "OTHER_TOKEN", "default": "", "value": null, "expected": "a token"},
        ]);
        assert_eq!(shown, expected);
    }
}
