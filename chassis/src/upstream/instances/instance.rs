//! One instance of a service: what is known about it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::upstream::url::UpstreamUrl;

/// The failed connections in a row that eject an instance.
const FAILED_CONNECTIONS: u32 = 3;

/// The responses 500, 502 or 503 in a row that eject an instance.
const FAILED_RESPONSES: u32 = 5;

/// The latency that counts for a failure that came sooner: an instance that fails fast must
/// not look like a fast one.
const FAILURE_LATENCY: Duration = Duration::from_secs(1);

/// How long a latency says something about an instance. After this time without a response it
/// is unknown, so that an instance that was slow once is tried again.
const LATENCY_VALID: Duration = Duration::from_secs(10);

/// The weight of the latest response in the latency.
const LATEST: f64 = 0.3;

/// One instance of a service.
///
/// The fields are independent of each other, and a reader needs no consistent picture of
/// several of them. So they are atomics without a lock: a call costs no more than a few
/// additions. Two responses at the same moment may count as one in the latency.
#[derive(Debug)]
pub struct Instance {
    url: UpstreamUrl,
    source: &'static str,
    /// The times below are nanoseconds since this moment.
    known_since: Instant,
    in_flight: AtomicU32,
    requests: AtomicU64,
    failures: AtomicU64,
    /// In nanoseconds; 0 while it is unknown.
    latency: AtomicU64,
    latency_at: AtomicU64,
    failed_connections: AtomicU32,
    failed_responses: AtomicU32,
    /// 0 if the instance is not ejected.
    ejected_until: AtomicU64,
    is_probed: AtomicBool,
    health: AtomicU8,
    is_leaving: AtomicBool,
    /// Something has shown that its health may be another one.
    doubt: Notify,
}

/// What an instance says about itself, or that it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Health {
    /// It is ready, or nobody asks.
    Ready,
    /// It was not asked yet.
    Unasked,
    /// It says that it is unavailable: it lacks something it needs.
    Unavailable,
    /// It does not answer.
    Silent,
    /// Its port is closed: it shuts down, or has died.
    Gone,
    /// It says that it shuts down.
    Draining,
    /// It says that it is another service, so its address is wrong.
    Mistaken,
}

/// How much use an instance is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// It gets requests.
    Good,
    /// It is new, and may not be ready yet.
    Unasked,
    /// It answers, but lacks something. It may still do a part of its work.
    Unavailable,
    /// It has failed many times in a row.
    Ejected,
    /// It does not answer.
    Silent,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a response of this status.
    Answered(u16),
    /// Without a connection, or with one that broke.
    Failed,
    /// Without a response in time.
    TimedOut,
    /// Its caller lost interest.
    Abandoned,
}

/// What a request changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that a person should know.
    None,
    /// The instance was ejected.
    Ejected,
    /// The instance is no longer ejected.
    Returned,
}

/// The latency and the requests in flight, which together are the load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    in_flight: u32,
    latency: Option<Duration>,
}

impl Load {
    /// Whether one more request is better placed here than there. While one of the latencies is
    /// unknown, only the requests in flight count: a new instance would attract all requests
    /// until its first response.
    pub(super) fn is_less_than(self, other: Self) -> bool {
        let [here, there] = [self, other].map(|load| f64::from(load.in_flight) + 1.0);
        match (self.latency, other.latency) {
            (Some(ours), Some(theirs)) => here * ours.as_secs_f64() < there * theirs.as_secs_f64(),
            // To get to know it.
            (None, Some(_)) => here <= there,
            (_, None) => here < there,
        }
    }
}

impl Instance {
    /// An instance that is ready, or one whose health somebody is about to ask for.
    pub(super) fn new(
        url: UpstreamUrl,
        source: &'static str,
        is_watched: bool,
        now: Instant,
    ) -> Self {
        let health = if is_watched {
            Health::Unasked
        } else {
            Health::Ready
        };
        Self {
            url,
            source,
            known_since: now,
            in_flight: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            latency_at: AtomicU64::new(0),
            failed_connections: AtomicU32::new(0),
            failed_responses: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            is_probed: AtomicBool::new(false),
            health: AtomicU8::new(health as u8),
            is_leaving: AtomicBool::new(false),
            doubt: Notify::new(),
        }
    }

    /// Where it is.
    pub fn url(&self) -> &UpstreamUrl {
        &self.url
    }

    pub(super) fn source(&self) -> &'static str {
        self.source
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    pub(super) fn health(&self) -> Health {
        match self.health.load(Relaxed) {
            0 => Health::Ready,
            1 => Health::Unasked,
            2 => Health::Unavailable,
            3 => Health::Silent,
            4 => Health::Gone,
            5 => Health::Draining,
            _ => Health::Mistaken,
        }
    }

    /// Waits until a request has failed, so that the instance should be asked now.
    pub(super) async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// Sets what it says about itself. Returns what it said before.
    pub(super) fn set_health(&self, health: Health) -> Health {
        let before = self.health();
        self.health.store(health as u8, Relaxed);
        before
    }

    /// Whether its source no longer names it.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Relaxed)
    }

    pub(super) fn set_leaving(&self, is_leaving: bool) {
        self.is_leaving.store(is_leaving, Relaxed);
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.ejected_until.load(Relaxed) != 0
    }

    /// How good it is. `None` if it is draining or another service: then it gets no new request,
    /// however bad the others are.
    pub(super) fn grade(&self) -> Option<Grade> {
        if self.is_leaving() {
            return None;
        }
        match self.health() {
            Health::Draining | Health::Mistaken => None,
            Health::Silent | Health::Gone => Some(Grade::Silent),
            _ if self.is_ejected() => Some(Grade::Ejected),
            Health::Unavailable => Some(Grade::Unavailable),
            Health::Unasked => Some(Grade::Unasked),
            Health::Ready => Some(Grade::Good),
        }
    }

    pub(super) fn load(&self, now: Instant) -> Load {
        Load {
            in_flight: self.in_flight(),
            latency: self.latency(now),
        }
    }

    /// The average time to a response, of late more than before; `None` if there was none of
    /// late.
    pub(super) fn latency(&self, now: Instant) -> Option<Duration> {
        let age = self
            .since(now)
            .saturating_sub(self.latency_at.load(Relaxed));
        let latency = self.latency.load(Relaxed);
        (latency != 0 && u128::from(age) <= LATENCY_VALID.as_nanos())
            .then(|| Duration::from_nanos(latency))
    }

    /// Whether the next request is the probe, which shows whether an ejected instance is back.
    pub(super) fn begins_probe(&self, now: Instant) -> bool {
        let until = self.ejected_until.load(Relaxed);
        until != 0
            && self.since(now) >= until
            && self.grade() == Some(Grade::Ejected)
            && !self.is_probed.swap(true, Relaxed)
    }

    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
    }

    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Records how a request ended that took this long, if that is known, and ejects the instance
    /// for `eject` if that was one failure too many.
    pub(super) fn ended(
        &self,
        end: End,
        taken: Option<Duration>,
        is_probe: bool,
        now: Instant,
        eject: Duration,
    ) -> Change {
        match end {
            End::Answered(500..) | End::Failed | End::TimedOut => {
                let taken = taken.unwrap_or_default();
                self.add_latency(taken.max(FAILURE_LATENCY), now);
            }
            End::Answered(_) => {
                if let Some(taken) = taken {
                    self.add_latency(taken, now);
                }
            }
            // It would have taken longer.
            End::Abandoned => {
                if let Some(taken) = taken
                    && taken > self.latency(now).unwrap_or(FAILURE_LATENCY)
                {
                    self.add_latency(taken, now);
                }
            }
        }
        if matches!(end, End::Failed | End::TimedOut) {
            self.doubt.notify_one();
        }
        let in_a_row = |count: &AtomicU32, most| count.fetch_add(1, Relaxed) + 1 >= most;
        let (is_failure, is_too_much) = match end {
            End::Answered(500 | 502 | 503) => {
                reset(&self.failed_connections);
                (true, in_a_row(&self.failed_responses, FAILED_RESPONSES))
            }
            End::Failed => (true, in_a_row(&self.failed_connections, FAILED_CONNECTIONS)),
            End::TimedOut => (true, false),
            End::Answered(_) => {
                reset(&self.failed_connections);
                reset(&self.failed_responses);
                (false, false)
            }
            End::Abandoned => {
                if is_probe {
                    // The next request is the probe.
                    self.is_probed.store(false, Relaxed);
                }
                return Change::None;
            }
        };
        if is_failure {
            self.failures.fetch_add(1, Relaxed);
        }
        // A request that was sent before the ejection says nothing about the time after it.
        match (self.is_ejected(), is_probe) {
            (true, true) if is_failure => self.eject(now, eject),
            (true, true) => {
                self.ejected_until.store(0, Relaxed);
                self.is_probed.store(false, Relaxed);
                return Change::Returned;
            }
            (false, _) if is_too_much => {
                self.eject(now, eject);
                return Change::Ejected;
            }
            _ => {}
        }
        Change::None
    }

    fn eject(&self, now: Instant, time: Duration) {
        let until = self.since(now).saturating_add(nanoseconds(time));
        self.ejected_until.store(until.max(1), Relaxed);
        self.is_probed.store(false, Relaxed);
    }

    fn add_latency(&self, latency: Duration, now: Instant) {
        let average = match self.latency(now) {
            Some(before) => before.mul_f64(1.0 - LATEST) + latency.mul_f64(LATEST),
            None => latency,
        };
        self.latency.store(nanoseconds(average).max(1), Relaxed);
        self.latency_at.store(self.since(now), Relaxed);
    }

    /// Nanoseconds from the time it became known until `now`.
    fn since(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.known_since))
    }
}

/// Sets a count to 0. Most are: they are only read then.
fn reset(count: &AtomicU32) {
    if count.load(Relaxed) != 0 {
        count.store(0, Relaxed);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
