//! How far a run is, and its result: what the page shows.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};

use parking_lot::Mutex;
use serde::Serialize;

use crate::load::tally::{Counts, Tally};

/// A run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The name of the scenario.
    pub name: String,
    /// How far it is.
    pub state: State,
    /// What happens now, or what happened last.
    pub step: String,
    /// What happened, a line each.
    pub log: Vec<String>,
    /// The choice that was predicted, 1 for the first.
    pub choice: Option<usize>,
    /// All phases that were measured, in their order.
    pub phases: Vec<Measured>,
    /// The choice that is right, once it is known.
    pub answer: Option<usize>,
    /// Why it is right.
    pub why: Option<String>,
    /// What had to hold.
    pub assertions: Vec<Checked>,
    /// Why it could not go on.
    pub error: Option<String>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It runs.
    Running,
    /// It has ended, and all assertions hold.
    Done,
    /// It has ended. An assertion does not hold, or it could not go on.
    Failed,
}

/// A phase that was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// The name of the phase.
    pub phase: String,
    /// How many requests arrived.
    pub requests: u64,
    /// How many a second.
    pub request_rate: f64,
    /// The share that failed, 0 to 1.
    pub error_share: f64,
    /// The time within which half of them ended.
    pub p50_ms: Option<f64>,
    /// The time within which 99 of a hundred ended.
    pub p99_ms: Option<f64>,
    /// The outcomes of those that did not succeed.
    pub outcomes: BTreeMap<String, u64>,
    /// What was read at the end; null if it could not be.
    pub counts: BTreeMap<String, Option<f64>>,
}

/// An assertion.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// What it says.
    pub text: String,
    /// Whether it holds.
    pub holds: bool,
    /// The values in it.
    pub saw: String,
}

/// A phase as it was, for assertions.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) tally: std::sync::Arc<Tally>,
    pub(crate) seconds: f64,
    pub(crate) numbers: BTreeMap<String, Result<f64, String>>,
}

impl Phase {
    pub(crate) fn measured(&self) -> Measured {
        let sum = self.tally.sum();
        let outcomes = sum.others().map(|(label, n)| (label.to_owned(), n));
        let counts = self.numbers.iter();
        let counts = counts.map(|(name, read)| (name.clone(), read.as_ref().ok().copied()));
        Measured {
            phase: self.name.clone(),
            requests: sum.requests(),
            request_rate: value(&sum, "rate", self.seconds).unwrap_or_default(),
            error_share: sum.error_share(),
            p50_ms: sum.quantile(0.5),
            p99_ms: sum.quantile(0.99),
            outcomes: outcomes.collect(),
            counts: counts.collect(),
        }
    }
}

/// The names of what is measured in every phase.
pub(crate) const FIELDS: [&str; 11] = [
    "requests",
    "rate",
    "ok",
    "refused",
    "limited",
    "failed",
    "unknown",
    "surprised",
    "errors",
    "p50",
    "p99",
];

/// One of the [`FIELDS`]. `None` if there is no such value: nothing was sent.
pub(crate) fn value(counts: &Counts, field: &str, seconds: f64) -> Option<f64> {
    let count = crate::load::tally::as_f64;
    Some(match field {
        "requests" => count(counts.requests()),
        "rate" => count(counts.requests()) / seconds.max(0.001),
        "ok" => count(counts.ok()),
        "refused" => count(counts.refused()),
        "limited" => count(counts.limited()),
        "failed" => count(counts.failed()),
        "unknown" => count(counts.unknown()),
        "surprised" => count(counts.surprised()),
        "errors" => counts.error_share(),
        "p50" => counts.quantile(0.5)?,
        "p99" => counts.quantile(0.99)?,
        _ => return None,
    })
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests", self.requests)?;
        if self.requests > 0 {
            write!(f, ", {:.1}/s", self.request_rate)?;
            write!(f, ", errors {:.1} %", self.error_share * 100.0)?;
        }
        if let (Some(p50), Some(p99)) = (self.p50_ms, self.p99_ms) {
            write!(f, ", p50 {p50:.1} ms, p99 {p99:.1} ms")?;
        }
        let mut separator = ";";
        for (label, count) in &self.outcomes {
            write!(f, "{separator} {count} got \"{label}\"")?;
            separator = ",";
        }
        separator = ";";
        for (name, value) in &self.counts {
            match value {
                Some(value) => write!(f, "{separator} {name} {}", plain(*value))?,
                None => write!(f, "{separator} {name} unknown")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

/// A number without digits that say nothing.
pub(crate) fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Where a run says what it does. What it has said can be read at any time.
pub struct Progress {
    report: Mutex<Report>,
    listen: Box<dyn Fn(&str) + Send + Sync>,
}

impl Progress {
    /// A run that has just begun. `listen` gets each line of its log.
    pub fn new(
        name: &str,
        choice: Option<usize>,
        listen: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self {
            report: Mutex::new(Report {
                name: name.to_owned(),
                state: State::Running,
                step: String::new(),
                log: Vec::new(),
                choice,
                phases: Vec::new(),
                answer: None,
                why: None,
                assertions: Vec::new(),
                error: None,
            }),
            listen: Box::new(listen),
        }
    }

    /// What there is so far.
    pub fn report(&self) -> Report {
        self.report.lock().clone()
    }

    /// Says what happens now.
    pub(crate) fn say(&self, line: impl Into<String>) {
        let line = line.into();
        (self.listen)(&line);
        self.change(|report| {
            report.step.clone_from(&line);
            report.log.push(line);
        });
    }

    /// Changes what is known.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock());
    }
}

impl Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Progress").field(&self.report).finish()
    }
}
