//! The settings of calls to other services; [`call`](crate::upstream::call) applies them.
//!
//! | pattern | rule |
//! |---|---|
//! | time-out | every call has one |
//! | deadline | all calls for one request share one, so that retries add up to no more |
//! | retry | with exponential backoff and full jitter, where repeating is safe |
//! | retry budget | retries are a share of the calls, so that they cannot multiply the load of a failing service |
//! | circuit breaker | a service that keeps failing gets no calls for a while |
//! | bulkhead | a limit on concurrent calls to each service, so that one that hangs cannot take all |

use std::time::Duration;

use crate::env::{Env, Switch};
use crate::upstream::instances::choice::Balance;

/// How calls to other services are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resilience {
    /// How long one call may take from start to end.
    pub timeout: Duration,
    /// How long all calls for one request may take together.
    pub deadline: Duration,
    /// How often a call is repeated at most.
    pub retries: u32,
    /// The most retries per hundred calls to one service; a burst of a few is always allowed.
    pub retry_budget: u32,
    /// The longest pause before the first retry; it doubles with each.
    pub backoff: Duration,
    /// When the circuit to a failing service opens; `None` never opens it.
    pub circuit: Option<Circuit>,
    /// The most concurrent calls to one service; `None` sets no limit.
    pub bulkhead: Option<u32>,
    /// How calls are spread over the instances of one service.
    pub balance: Balance,
}

/// When the circuit to a failing service opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// The failures in a row that open it.
    pub failures: u32,
    /// The percentage of failures among the latest 64 calls that opens it.
    pub failure_rate: u32,
    /// How long it stays open; then one call at a time finds out whether the service is back.
    pub open: Duration,
}

impl Default for Resilience {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(800),
            deadline: Duration::from_secs(2),
            retries: 2,
            retry_budget: 20,
            backoff: Duration::from_millis(50),
            circuit: Some(Circuit::default()),
            bulkhead: Some(64),
            balance: Balance::default(),
        }
    }
}

impl Default for Circuit {
    fn default() -> Self {
        Self {
            failures: 5,
            failure_rate: 50,
            open: Duration::from_secs(5),
        }
    }
}

impl Resilience {
    /// Reads the variables of every service that calls others.
    pub fn read(env: &mut Env<'_>) -> Self {
        let default = Self::default();
        let circuit = Circuit::default();
        let on = env.get("RESILIENCE", Switch::On).is_on();
        let deadline = env.milliseconds("DEADLINE_MS", default.deadline);
        let timeout = Self::timeout(env, "CALL_TIMEOUT_MS", default.timeout, deadline);
        // Read even if they are switched off: a bad value is a bad value.
        let retries = env.number("RETRIES", default.retries, 0..=10);
        let retry_budget = env.number("RETRY_BUDGET", default.retry_budget, 1..=100);
        let circuit = Circuit {
            failures: env.number("CIRCUIT_FAILURES", circuit.failures, 1..=64),
            failure_rate: env.number("CIRCUIT_FAILURE_RATE", circuit.failure_rate, 1..=100),
            open: env.milliseconds("CIRCUIT_OPEN_MS", circuit.open),
        };
        let bulkhead = env.number("BULKHEAD", 64, 1..=100_000);
        Self {
            timeout,
            deadline,
            retries: if on { retries } else { 0 },
            retry_budget,
            backoff: env.milliseconds("RETRY_BACKOFF_MS", default.backoff),
            circuit: on.then_some(circuit),
            bulkhead: on.then_some(bulkhead),
            balance: env.get("BALANCE", Balance::default()),
        }
    }

    /// Reads the time-out in `name`. A time-out longer than the deadline could never
    /// expire, so it is refused.
    pub fn timeout(
        env: &mut Env<'_>,
        name: &str,
        default: Duration,
        deadline: Duration,
    ) -> Duration {
        let timeout = env.milliseconds(name, default);
        if timeout > deadline {
            let most = deadline.as_millis();
            env.reject(
                name,
                timeout.as_millis(),
                format_args!("at most the {most} of DEADLINE_MS"),
            );
        }
        timeout
    }

    /// How long to wait before a retry, after `tried` retries: a random time up to the
    /// backoff, so that callers that failed together do not come back together
    /// ([full jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)).
    pub(crate) fn pause(&self, tried: u32) -> Duration {
        let longest = self.backoff.saturating_mul(2_u32.saturating_pow(tried));
        longest.mul_f64(fastrand::f64())
    }
}

/// A random time between half of `pause` and all of it, for a task that repeats a call in the
/// background: many such tasks must not come back together.
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &'static [(&'static str, &'static str)]) -> Result<Resilience, String> {
        let mut env = Env::new(|name| {
            let set = variables.iter().find(|(known, _)| *known == name);
            set.map(|(_, value)| (*value).to_owned())
        });
        let resilience = Resilience::read(&mut env);
        env.finish(resilience).map_err(|error| error.to_string())
    }

    #[test]
    fn off_leaves_time_outs_and_nothing_else() {
        assert_eq!(read(&[]), Ok(Resilience::default()));
        let off = Resilience {
            retries: 0,
            circuit: None,
            bulkhead: None,
            ..Resilience::default()
        };
        assert_eq!(read(&[("RESILIENCE", "off"), ("RETRIES", "3")]), Ok(off));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (name, value, reason) in [
            ("RESILIENCE", "maybe", "neither on nor off"),
            ("CALL_TIMEOUT_MS", "0", "no time at all"),
            ("CALL_TIMEOUT_MS", "3000", "longer than the deadline"),
            ("DEADLINE_MS", "500", "shorter than a time-out"),
            ("RETRIES", "-1", "fewer than none"),
            ("RETRIES", "1000", "an attack"),
            ("RETRY_BUDGET", "0", "RETRIES=0 says so"),
            ("RETRY_BUDGET", "20%", "a unit"),
            ("CIRCUIT_FAILURES", "0", "open before anything failed"),
            ("CIRCUIT_FAILURES", "65", "more than are remembered"),
            ("CIRCUIT_FAILURE_RATE", "0", "open before anything failed"),
            ("CIRCUIT_FAILURE_RATE", "101", "more than all"),
            ("CIRCUIT_OPEN_MS", "5s", "a unit"),
            ("BULKHEAD", "0", "no call at all"),
            ("BALANCE", "least_connections", "not one of the three"),
        ] {
            let variables: &'static [_] = Box::leak(Box::new([(name, value)]));
            let error = read(variables).expect_err(reason);
            assert_eq!(error.lines().count(), 1, "{reason}: {error}");
        }
    }

    #[test]
    fn a_pause_is_anything_up_to_a_backoff_that_doubles() {
        let resilience = Resilience::default();
        for (tried, most) in [(0, 50), (1, 100), (2, 200)] {
            let pauses: Vec<_> = (0..200).map(|_| resilience.pause(tried)).collect();
            let most = Duration::from_millis(most);
            assert!(pauses.iter().all(|pause| *pause <= most), "{tried}");
            assert!(pauses.iter().any(|pause| *pause > most / 2), "{tried}");
            assert!(pauses.iter().any(|pause| *pause < most / 2), "{tried}");
        }
    }
}
