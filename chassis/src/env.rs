//! Environment variables, read as typed values. Each has a default; the error lists every
//! invalid value.

use std::cell::RefCell;
use std::fmt::{self, Display, Write as _};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

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
    described: Option<Described>,
}

/// The text of `--help` on each variable read so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Described(Rc<RefCell<String>>);

/// The column at which the form of a value begins,
const FORM_AT: usize = 29;

/// on a screen of so many.
const SCREEN: usize = 80;

impl Described {
    fn add(&self, name: &str, default: impl Display, expected: impl Display) {
        // The standard has twenty for telemetry, and this one switches it on.
        if name.starts_with("OTEL_") && name != "OTEL_EXPORTER_OTLP_ENDPOINT" {
            return;
        }
        let variable = format!("    {name}={default}");
        let expected = expected.to_string();
        let mut text = self.0.borrow_mut();
        // Writing to a string cannot fail.
        let _ = if variable.len() < FORM_AT && FORM_AT + expected.len() <= SCREEN {
            writeln!(text, "{variable:FORM_AT$}{expected}")
        } else {
            writeln!(text, "{variable}\n        {expected}")
        };
    }
}

impl Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.borrow())
    }
}

impl Env<'static> {
    /// The environment of this process.
    pub fn process() -> Self {
        Self::new(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// An empty environment, which describes each variable that is read.
    pub(crate) fn describing() -> (Self, Described) {
        let described = Described::default();
        let mut env = Self::new(|_| None);
        env.described = Some(described.clone());
        (env, described)
    }
}

impl<'a> Env<'a> {
    /// An environment read through `lookup`.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self {
            lookup: Box::new(lookup),
            problems: Vec::new(),
            described: None,
        }
    }

    /// The value of `name`, or `default` if it is not set.
    pub fn get<T: Parameter>(&mut self, name: &str, default: T) -> T {
        self.describe(name, default.shown(), T::EXPECTED);
        self.read(name, T::EXPECTED, T::parse).unwrap_or(default)
    }

    /// The value of `name`, parsed with `parse`, if it is set.
    pub fn parsed<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.describe(name, "", expected);
        self.read(name, expected, parse)
    }

    /// The same for a value that must not be shown.
    pub fn secret<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.describe(name, "", expected);
        let value = self.look_up(name)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            let length = value.chars().count();
            self.problems.push(format!(
                "{name} has {length} characters, expected {expected}"
            ));
        }
        parsed
    }

    fn read<T>(
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

    /// The whole number in `name`, which must be in `range`.
    pub fn number(&mut self, name: &str, default: u32, range: RangeInclusive<u32>) -> u32 {
        let (least, most) = (range.start(), range.end());
        let expected = format!("a whole number from {least} to {most}");
        self.describe(name, default, &expected);
        let Some(value) = self.look_up(name) else {
            return default;
        };
        let number = value.parse().ok().filter(|number| range.contains(number));
        number.unwrap_or_else(|| {
            self.reject(name, &value, &expected);
            default
        })
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

    fn describe(&self, name: &str, default: impl Display, expected: impl Display) {
        if let Some(described) = &self.described {
            described.add(name, default, expected);
        }
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
