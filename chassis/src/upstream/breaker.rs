//! A circuit breaker: a service that keeps failing gets no calls for a while.
//!
//! ```text
//!          N failures in a row, or a
//!          share of the latest 64 calls
//!   closed ───────────────────────────▶ open ◀───────────┐
//!     ▲                                   │ after a while │ it failed
//!     │            it did not             ▼               │
//!     └─────────────────────────────── half open: one call at a time
//! ```
//!
//! It spares a failing service calls that it cannot answer, and its caller the wait for
//! them. Failures in a row show a service that is down, after very few calls. The share
//! shows one that fails often, but never long enough in a row. The breaker itself makes no
//! calls: it counts the outcomes that it is told.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::contract::health::CircuitState;
use crate::upstream::resilience::Circuit;

/// The breaker of one upstream.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use chassis::upstream::breaker::Breaker;
/// use chassis::upstream::resilience::Circuit;
///
/// let open = Duration::from_secs(3);
/// let breaker = Breaker::new(Circuit { failures: 1, open, ..Circuit::default() });
/// let now = Instant::now();
/// breaker.admit(now).unwrap().failed(now);
/// assert!(breaker.admit(now).is_err());
/// assert!(breaker.admit(now + open).is_ok());
/// ```
#[derive(Debug)]
pub struct Breaker {
    circuit: Circuit,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Calls pass.
    Closed(Outcomes),
    /// No call passes until then.
    Open { until: Instant },
    /// One call is in flight to find out whether the service is back.
    Probing,
}

/// What became of the latest calls: a bit for each of 64, the newest is the lowest, and a 1
/// is a failure. Calls that were never made count as good.
#[derive(Clone, Copy, Debug, Default)]
struct Outcomes(u64);

impl Outcomes {
    fn add(&mut self, failed: bool) {
        self.0 = self.0 << 1 | u64::from(failed);
    }

    /// The number of failures since the last success.
    fn failed_in_a_row(self) -> u32 {
        self.0.trailing_ones()
    }

    /// The number of failures among all of them.
    fn failed(self) -> u32 {
        self.0.count_ones()
    }
}

/// A call that the breaker admitted. Report its outcome; dropped without one, it does
/// not count.
#[derive(Debug)]
#[must_use = "report the outcome with `succeeded` or `failed`"]
pub struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

/// How an outcome changed the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Not at all.
    None,
    /// It is now open.
    Opened,
    /// It is closed again.
    Closed,
}

impl Breaker {
    /// A closed circuit.
    pub fn new(circuit: Circuit) -> Self {
        Self {
            circuit,
            state: Mutex::new(State::Closed(Outcomes::default())),
        }
    }

    /// Admits a call, or returns how long the circuit stays open.
    pub fn admit(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        let mut state = self.state.lock();
        let probe = match *state {
            State::Closed(_) => false,
            State::Open { until } if now < until => return Err(until - now),
            State::Open { .. } => {
                *state = State::Probing;
                true
            }
            State::Probing => return Err(Duration::ZERO),
        };
        drop(state);
        Ok(Pass {
            breaker: self,
            probe,
        })
    }

    /// How much longer the circuit is open at `now`, if it is.
    pub fn open_for(&self, now: Instant) -> Option<Duration> {
        match *self.state.lock() {
            State::Open { until } if now < until => Some(until - now),
            _ => None,
        }
    }

    /// The state at `now`.
    pub fn state(&self, now: Instant) -> CircuitState {
        match *self.state.lock() {
            State::Closed(_) => CircuitState::Closed,
            State::Open { until } if now < until => CircuitState::Open,
            State::Open { .. } | State::Probing => CircuitState::HalfOpen,
        }
    }

    /// Whether these outcomes open the circuit.
    fn is_too_much(&self, outcomes: Outcomes) -> bool {
        outcomes.failed_in_a_row() >= self.circuit.failures
            || outcomes.failed() * 100 >= self.circuit.failure_rate * u64::BITS
    }
}

impl Pass<'_> {
    /// The service answered.
    pub fn succeeded(mut self) -> Change {
        let mut state = self.breaker.state.lock();
        if std::mem::take(&mut self.probe) {
            *state = State::Closed(Outcomes::default());
            return Change::Closed;
        }
        // A call admitted before the circuit opened says nothing about the current state.
        if let State::Closed(outcomes) = &mut *state {
            outcomes.add(false);
        }
        Change::None
    }

    /// The service did not answer, or failed.
    pub fn failed(mut self, now: Instant) -> Change {
        let mut state = self.breaker.state.lock();
        let open = State::Open {
            until: now + self.breaker.circuit.open,
        };
        if std::mem::take(&mut self.probe) {
            *state = open;
            return Change::None;
        }
        if let State::Closed(outcomes) = &mut *state {
            outcomes.add(true);
            if self.breaker.is_too_much(*outcomes) {
                *state = open;
                return Change::Opened;
            }
        }
        Change::None
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        // An abandoned probe lets the next call probe.
        if self.probe {
            *self.breaker.state.lock() = State::Open {
                until: Instant::now(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(5);

    fn breaker() -> Breaker {
        Breaker::new(Circuit {
            failures: 3,
            failure_rate: 50,
            open: OPEN,
        })
    }

    fn fail(breaker: &Breaker, now: Instant) -> Change {
        breaker.admit(now).expect("admitted").failed(now)
    }

    fn succeed(breaker: &Breaker, now: Instant) -> Change {
        breaker.admit(now).expect("admitted").succeeded()
    }

    /// One that has just opened.
    fn opened(now: Instant) -> Breaker {
        let breaker = breaker();
        let changes = [(); 3].map(|()| fail(&breaker, now));
        assert_eq!(changes, [Change::None, Change::None, Change::Opened]);
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let (breaker, now) = (breaker(), Instant::now());
        for _ in 0..10 {
            fail(&breaker, now);
            fail(&breaker, now);
            assert_eq!(breaker.state(now), CircuitState::Closed);
            succeed(&breaker, now);
        }
        assert_eq!(breaker.open_for(now), None);
        let breaker = opened(now);
        assert_eq!(breaker.state(now), CircuitState::Open);
        assert_eq!(breaker.admit(now).err(), Some(OPEN));
        let later = now + Duration::from_secs(2);
        assert_eq!(breaker.admit(later).err(), Some(Duration::from_secs(3)));
    }

    #[test]
    fn it_opens_when_half_of_the_latest_calls_failed_though_never_many_in_a_row() {
        let (breaker, now) = (breaker(), Instant::now());
        for _ in 0..31 {
            assert_eq!(fail(&breaker, now), Change::None);
            succeed(&breaker, now);
        }
        // A good time in between: the failures from before it no longer count.
        for _ in 0..64 {
            succeed(&breaker, now);
        }
        for _ in 0..31 {
            assert_eq!(fail(&breaker, now), Change::None);
            succeed(&breaker, now);
        }
        assert_eq!(fail(&breaker, now), Change::Opened, "32 of 64");
        assert_eq!(breaker.open_for(now), Some(OPEN));
        assert_eq!(breaker.open_for(now + OPEN), None);
    }

    #[test]
    fn it_stays_closed_while_a_third_of_the_calls_fail() {
        let (breaker, now) = (breaker(), Instant::now());
        for _ in 0..500 {
            assert_eq!(fail(&breaker, now), Change::None);
            succeed(&breaker, now);
            succeed(&breaker, now);
        }
    }

    #[test]
    fn after_a_while_one_call_at_a_time_shows_whether_the_service_is_back() {
        let now = Instant::now();
        let (breaker, later) = (opened(now), now + OPEN);
        assert_eq!(breaker.state(later), CircuitState::HalfOpen);
        let probe = breaker.admit(later).expect("a probe");
        assert!(breaker.admit(later).is_err(), "one at a time");
        assert_eq!(breaker.state(later), CircuitState::HalfOpen);
        assert_eq!(probe.failed(later), Change::None, "open as it was");
        assert_eq!(breaker.admit(later).err(), Some(OPEN), "for as long again");

        let probe = breaker.admit(later + OPEN).expect("a probe");
        assert_eq!(probe.succeeded(), Change::Closed);
        assert_eq!(breaker.state(later), CircuitState::Closed);
        fail(&breaker, later);
        assert_eq!(breaker.state(later), CircuitState::Closed, "counted afresh");
    }

    #[test]
    fn after_a_cancelled_probe_the_next_call_is_the_probe() {
        let now = Instant::now();
        let breaker = opened(now);
        drop(breaker.admit(now + OPEN).expect("a probe"));
        let probe = breaker.admit(now + OPEN).expect("the next");
        assert_eq!(probe.succeeded(), Change::Closed);
    }

    #[test]
    fn a_call_admitted_before_the_circuit_opened_does_not_count() {
        let now = Instant::now();
        let breaker = breaker();
        let (good, bad) = (breaker.admit(now), breaker.admit(now));
        let (good, bad) = (good.expect("closed"), bad.expect("closed"));
        for _ in 0..3 {
            fail(&breaker, now);
        }
        assert_eq!(good.succeeded(), Change::None);
        assert_eq!(breaker.state(now), CircuitState::Open);
        let probe = breaker.admit(now + OPEN).expect("a probe");
        assert_eq!(bad.failed(now + OPEN), Change::None);
        assert_eq!(probe.succeeded(), Change::Closed);
    }
}
