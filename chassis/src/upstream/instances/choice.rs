//! Which instance gets the next request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use crate::env::Parameter;
use crate::upstream::instances::instance::{Grade, Instance};
use crate::upstream::instances::source::MAX_INSTANCES;

/// How requests are spread over the instances of a service: the value of `BALANCE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Of two random instances the one with the lower load: the requests in flight times the
    /// latency ([power of two choices](https://www.eecs.harvard.edu/~michaelm/postscripts/mythesis.pdf)).
    /// Always the best of all would be worse: every caller would choose the same one.
    #[default]
    P2c,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
}

impl Parameter for Balance {
    const EXPECTED: &'static str = "p2c, round_robin or random";
    fn parse(value: &str) -> Option<Self> {
        [Self::P2c, Self::RoundRobin, Self::Random]
            .into_iter()
            .find(|balance| balance.name() == value)
    }
    fn shown(&self) -> String {
        self.name().to_owned()
    }
}

impl Balance {
    fn name(self) -> &'static str {
        match self {
            Self::P2c => "p2c",
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
        }
    }

    /// One of the instances of the best grade there is, never `except` and never one that is
    /// draining. `turn` is for round robin.
    pub(super) fn choose<'a>(
        self,
        all: &'a [Arc<Instance>],
        except: Option<&Instance>,
        turn: &AtomicUsize,
        now: Instant,
    ) -> Option<&'a Arc<Instance>> {
        let (mut best, mut count) = ([0; MAX_INSTANCES], 0);
        let mut grade = Grade::Silent;
        for (n, instance) in all.iter().enumerate().take(MAX_INSTANCES) {
            let is_excepted =
                except.is_some_and(|except| std::ptr::eq(except, Arc::as_ptr(instance)));
            let Some(this) = instance.grade().filter(|_| !is_excepted) else {
                continue;
            };
            if this < grade {
                (grade, count) = (this, 0);
            }
            if this == grade {
                best[count] = n;
                count += 1;
            }
        }
        let best = &best[..count];
        let chosen = match (best, self) {
            ([], _) => return None,
            ([only], _) => *only,
            (_, Self::Random) => best[fastrand::usize(..count)],
            (_, Self::RoundRobin) => best[turn.fetch_add(1, Relaxed) % count],
            (_, Self::P2c) => {
                let first = fastrand::usize(..count);
                let second = (first + fastrand::usize(1..count)) % count;
                let [first, second] = [best[first], best[second]];
                let [here, there] = [first, second].map(|n| all[n].load(now));
                if there.is_less_than(here) {
                    second
                } else {
                    first
                }
            }
        };
        Some(&all[chosen])
    }
}
