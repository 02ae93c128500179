//! The calls of a service to the others, as its metrics count them.

use chassis::contract::health::CircuitState;

use super::histogram::Histogram;
use super::increase;
use super::line::Line;

/// The services that can be called, in the order in which they are shown. A name from the
/// metrics of a service is none of these, or one of these: it takes no memory.
pub const CALLED: [&str; 5] = [
    "user-service",
    "product-service",
    "order-service",
    "notification-service",
    "analytics-service",
];

// The series that are read: those of each caller,
const CALLS: &str = "upstream_calls_total";
const RETRIES: &str = "upstream_retries_total";
const CIRCUIT: &str = "upstream_circuit_state";
const DURATIONS: &str = "upstream_call_duration_seconds_bucket";
// and those of what the gateway forwards.
const FORWARDED: &str = "gateway_instance_requests_total";
const FORWARDED_FAILURES: &str = "gateway_instance_failures_total";
const FORWARDED_DURATIONS: &str = "gateway_forwarded_duration_seconds_bucket";

/// The outcomes of an attempt that was not made.
const NOT_MADE: [&str; 2] = ["circuit_open", "bulkhead_full"];
/// The outcomes of an attempt with an answer. A refusal is one.
const ANSWERED: [&str; 2] = ["ok", "refused"];

/// The calls to all other services.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AllCalls(Vec<Calls>);

/// The calls to one other service.
#[derive(Clone, Debug, PartialEq)]
pub struct Calls {
    /// The name of the service.
    pub to: &'static str,
    made: f64,
    failed: f64,
    not_made: f64,
    retries: f64,
    durations: Histogram,
    circuit: Option<CircuitState>,
    /// What the gateway has forwarded, if it is the caller.
    forwarded: Option<Forwarded>,
}

/// What the gateway forwards to a service. It includes the gateway's own calls.
#[derive(Clone, Debug, Default, PartialEq)]
struct Forwarded {
    made: f64,
    failed: f64,
    durations: Histogram,
}

/// The increase of the calls to a service.
#[derive(Debug, PartialEq)]
pub struct CallsIncrease {
    /// Attempts that were sent.
    pub made: f64,
    /// Those of them that had no usable answer.
    pub failed: f64,
    /// Attempts that repeated one that failed; `None` if nobody counts them.
    pub retries: Option<f64>,
    /// Attempts that were not sent, because the circuit was open or the bulkhead full.
    pub not_made: f64,
    /// How long the attempts took that were sent.
    pub durations: Histogram,
}

impl Calls {
    fn to(to: &'static str) -> Self {
        Self {
            to,
            made: 0.0,
            failed: 0.0,
            not_made: 0.0,
            retries: 0.0,
            durations: Histogram::default(),
            circuit: None,
            forwarded: None,
        }
    }

    /// The circuit to the service. What is forwarded has none.
    pub fn circuit(&self) -> Option<CircuitState> {
        self.circuit.filter(|_| self.forwarded.is_none())
    }

    fn since(&self, before: &Self) -> Option<CallsIncrease> {
        let not_made = increase(before.not_made, self.not_made)?;
        if let Some(now) = &self.forwarded {
            let nothing = Forwarded::default();
            let before = before.forwarded.as_ref().unwrap_or(&nothing);
            return Some(CallsIncrease {
                made: increase(before.made, now.made)?,
                failed: increase(before.failed, now.failed)?,
                retries: None,
                not_made,
                durations: now.durations.since(&before.durations)?,
            });
        }
        Some(CallsIncrease {
            made: increase(before.made, self.made)?,
            failed: increase(before.failed, self.failed)?,
            retries: Some(increase(before.retries, self.retries)?),
            not_made,
            durations: self.durations.since(&before.durations)?,
        })
    }
}

impl AllCalls {
    /// Whether a series of this name is read.
    pub(super) fn has(name: &str) -> bool {
        [
            CALLS,
            RETRIES,
            CIRCUIT,
            DURATIONS,
            FORWARDED,
            FORWARDED_FAILURES,
            FORWARDED_DURATIONS,
        ]
        .contains(&name)
    }

    /// Adds a line of the series `name`. `None` if it is malformed.
    pub(super) fn add(&mut self, name: &str, line: &Line<'_>) -> Option<()> {
        let Some(calls) = self.entry(line.dependency) else {
            return Some(());
        };
        let value = line.value;
        match name {
            CALLS if NOT_MADE.contains(&line.outcome) => calls.not_made += value,
            CALLS => {
                calls.made += value;
                if !ANSWERED.contains(&line.outcome) {
                    calls.failed += value;
                }
            }
            RETRIES => calls.retries += value,
            CIRCUIT if value > 0.0 => {
                let mut states = CircuitState::ALL.into_iter();
                calls.circuit = states.find(|state| state.name() == line.state);
            }
            DURATIONS => calls.durations.add(line.le, value)?,
            FORWARDED => calls.forwarded().made += value,
            FORWARDED_FAILURES => calls.forwarded().failed += value,
            FORWARDED_DURATIONS => calls.forwarded().durations.add(line.le, value)?,
            _ => {}
        }
        Some(())
    }

    /// The calls to the service of this name, if it is one of the shop.
    fn entry(&mut self, name: &str) -> Option<&mut Calls> {
        let to = CALLED.into_iter().find(|called| *called == name)?;
        let place = self.0.iter().position(|calls| calls.to == to);
        let place = place.unwrap_or_else(|| {
            self.0.push(Calls::to(to));
            self.0.len() - 1
        });
        self.0.get_mut(place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Calls> {
        let calls = |to| self.0.iter().find(move |calls| calls.to == to);
        CALLED.into_iter().filter_map(calls)
    }

    pub(super) fn since(&self, before: &Self, to: &str) -> Option<CallsIncrease> {
        let now = self.0.iter().find(|calls| calls.to == to)?;
        match before.0.iter().find(|calls| calls.to == to) {
            Some(before) => now.since(before),
            None => now.since(&Calls::to(now.to)),
        }
    }
}

impl Calls {
    fn forwarded(&mut self) -> &mut Forwarded {
        self.forwarded.get_or_insert_default()
    }
}
