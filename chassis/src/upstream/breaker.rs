//! A circuit breaker: after failures in a row, a service gets no calls for a while.
//!
//! ```text
//!              N failures in a row
//!   closed ───────────────────────────▶ open ◀───────────┐
//!     ▲                                   │ after a while │ it failed
//!     │            it did not             ▼               │
//!     └─────────────────────────────── half open: one call at a time
//! ```
//!
//! It spares a failing service calls that it cannot answer, and its caller the wait for
//! them. The breaker itself makes no calls: it counts the outcomes that it is told.

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
/// let breaker = Breaker::new(Circuit { failures: 1, open });
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
    /// Calls pass; this many in a row have failed.
    Closed { failures: u32 },
    /// No call passes until then.
    Open { until: Instant },
    /// One call is in flight to find out whether the service is back.
    Probing,
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
            state: Mutex::new(State::Closed { failures: 0 }),
        }
    }

    /// Admits a call, or returns how long the circuit stays open.
    pub fn admit(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        let mut state = self.state.lock();
        let probe = match *state {
            State::Closed { .. } => false,
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

    /// The state at `now`.
    pub fn state(&self, now: Instant) -> CircuitState {
        match *self.state.lock() {
            State::Closed { .. } => CircuitState::Closed,
            State::Open { until } if now < until => CircuitState::Open,
            State::Open { .. } | State::Probing => CircuitState::HalfOpen,
        }
    }
}

impl Pass<'_> {
    /// The service answered.
    pub fn succeeded(mut self) -> Change {
        let mut state = self.breaker.state.lock();
        if std::mem::take(&mut self.probe) {
            *state = State::Closed { failures: 0 };
            return Change::Closed;
        }
        // A call admitted before the circuit opened says nothing about the current state.
        if let State::Closed { failures } = &mut *state {
            *failures = 0;
        }
        Change::None
    }

    /// The service did not answer, or failed.
    pub fn failed(mut self, now: Instant) -> Change {
        let Circuit {
            failures: most,
            open,
        } = self.breaker.circuit;
        let mut state = self.breaker.state.lock();
        let probe = std::mem::take(&mut self.probe);
        match &mut *state {
            State::Closed { failures } if *failures + 1 < most => {
                *failures += 1;
                Change::None
            }
            State::Open { .. } | State::Probing if !probe => Change::None,
            state => {
                *state = State::Open { until: now + open };
                if probe { Change::None } else { Change::Opened }
            }
        }
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
        let breaker = opened(now);
        assert_eq!(breaker.state(now), CircuitState::Open);
        assert_eq!(breaker.admit(now).err(), Some(OPEN));
        let later = now + Duration::from_secs(2);
        assert_eq!(breaker.admit(later).err(), Some(Duration::from_secs(3)));
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
