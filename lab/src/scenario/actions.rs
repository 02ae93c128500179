//! What a phase can do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::file::At;
use super::formula::Formula;
use super::numbers::Number;
use crate::shop::Member;

/// The most requests that one action sends.
const MOST_TIMES: u32 = 200;

/// The longest that one waits for something, in seconds.
const LONGEST_WAIT: f64 = 30.0;

/// What a phase does.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Breaks a service, as `PUT /lab/faults` does. Faults add up.
    Fault(Fault),
    /// Removes all faults of a service.
    Mend(At),
    /// Stops a service and starts it again, with other settings if there are some. Only in the
    /// terminal.
    Restart(Restart),
    /// Has so many instances of a service. Only in the terminal.
    Instances(Instances),
    /// Sends a request, or so many at once.
    Send(Send),
    /// Waits, if it says so until a comparison of numbers holds.
    Wait(Wait),
}

/// A fault, with the fields that `docs/faults.md` explains.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Whose it is.
    #[serde(skip_serializing)]
    pub at: At,
    #[serde(default = "all_routes")]
    route: String,
    kind: FaultKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    /// Should this program die, the shop is well again soon.
    #[serde(default = "two_minutes")]
    seconds: u32,
}

fn all_routes() -> String {
    "*".to_owned()
}

fn two_minutes() -> u32 {
    120
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum FaultKind {
    Latency,
    Status,
    Hang,
    Close,
    Garbage,
    Truncate,
}

/// A restart.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// What is restarted.
    pub service: At,
    /// Variables of `docs/configuration.md`.
    #[serde(default)]
    pub with: BTreeMap<String, String>,
}

/// A number of instances.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instances {
    /// Of which service.
    pub service: At,
    /// How many.
    pub count: u16,
}

/// A request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// The method and the path, such as `GET /api/products/1`.
    pub request: Line,
    /// The JSON of its body.
    pub body: Option<Table>,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How many are sent at once.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// The method and the path of a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Line {
    /// Its method.
    pub method: hyper::Method,
    /// Its path.
    pub path: String,
}

impl TryFrom<String> for Line {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.split_once(" /").and_then(|(method, path)| {
            let known = ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method);
            let method = method.parse().ok().filter(|_| known)?;
            Some(Self {
                method,
                path: format!("/{path}"),
            })
        });
        parsed.ok_or_else(|| {
            format!("{text:?} is no method and path, such as \"GET /api/products/1\"")
        })
    }
}

/// A wait.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// What must hold; it names only `[numbers]`.
    pub until: Option<Formula>,
    /// How long it waits. If there is something to wait for, the most that it may take; the
    /// scenario fails if it takes longer.
    pub seconds: f64,
}

impl Action {
    /// Whether only the terminal can do it.
    pub(crate) fn needs_terminal(&self) -> bool {
        matches!(self, Self::Restart(_) | Self::Instances(_))
    }

    /// Checks what its types do not. The error is a sentence.
    pub(crate) fn check(&self, numbers: &BTreeMap<String, Number>) -> Result<(), String> {
        let only = |what: bool, sentence: &str| what.then_some(()).ok_or(sentence.to_owned());
        match self {
            Self::Fault(_) | Self::Mend(_) => Ok(()),
            Self::Restart(restart) => only(
                restart.service.member != Member::Gateway,
                "the gateway cannot be restarted: the load goes through it",
            ),
            Self::Instances(Instances { service, count }) => only(
                service.member == Member::Analytics && (1..=5).contains(count),
                "instances are 1 to 5 of analytics-service; the others keep records in memory",
            ),
            Self::Send(Send { times, .. }) => only(
                (1..=MOST_TIMES).contains(times),
                &format!("times is {times}, expected 1 to {MOST_TIMES}"),
            ),
            Self::Wait(Wait { until, seconds }) => {
                only(
                    (0.0..=LONGEST_WAIT).contains(seconds),
                    &format!("a wait is at most {LONGEST_WAIT} s, not {seconds}"),
                )?;
                let mut names = until.iter().flat_map(Formula::names);
                match names.find(|name| !numbers.contains_key(*name)) {
                    None => Ok(()),
                    Some(name) => Err(format!("{name} is none of the [numbers]")),
                }
            }
        }
    }

    /// What it does, for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Fault(fault) => fault.describe(),
            Self::Mend(at) => format!("{} is mended", at.name()),
            Self::Restart(Restart { service, with }) => {
                let with: Vec<_> = with.iter().map(|(k, v)| format!("{k}={v}")).collect();
                let blank = if with.is_empty() { "" } else { " with " };
                let name = service.name();
                format!("{name} is restarted{blank}{}", with.join(" "))
            }
            Self::Instances(Instances { service, count }) => {
                format!("{} has {count} instances", service.name())
            }
            Self::Send(Send { request, times, .. }) => {
                let Line { method, path } = request;
                match times {
                    1 => format!("{method} {path}"),
                    _ => format!("{times} times {method} {path}, at once"),
                }
            }
            Self::Wait(Wait { until, seconds }) => match until {
                Some(until) => format!("It waits until {until}, at most {seconds} s"),
                None => format!("It waits {seconds} s"),
            },
        }
    }
}

impl Fault {
    fn describe(&self) -> String {
        let what = match self.kind {
            FaultKind::Latency => match (self.ms, self.from, self.to) {
                (Some(ms), ..) => format!("answers {ms} ms later"),
                (_, Some(from), Some(to)) => format!("answers {from} to {to} ms later"),
                _ => "answers later".to_owned(),
            },
            FaultKind::Status => {
                format!("answers {}", self.status.unwrap_or_default())
            }
            FaultKind::Hang => "does not answer".to_owned(),
            FaultKind::Close if self.when.is_some() => {
                "does its work, and its response is lost".to_owned()
            }
            FaultKind::Close => "closes the connection instead of answering".to_owned(),
            FaultKind::Garbage => "answers 200 with garbage".to_owned(),
            FaultKind::Truncate => "cuts its responses in half".to_owned(),
        };
        let share = self.share.filter(|share| *share < 1.0);
        let share = share.map_or(String::new(), |share| {
            format!(", for {:.0} % of the requests", share * 100.0)
        });
        let route = match &*self.route {
            "*" => String::new(),
            route => format!(" to {route}"),
        };
        format!("{} {what}{route}{share}", self.at.name())
    }
}
