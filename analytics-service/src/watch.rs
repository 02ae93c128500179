//! The state of the four services: a poll every few seconds, the samples of the last hour,
//! and a poll for each request.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chassis::contract::health::UpDown;
use chassis::lab::data::Data;
use chassis::serve::shutdown::Shutdown;
use chassis::telemetry::context::Context;
use chassis::upstream::shared_poll::{PollDied, SharedPoll};
use chassis::values::time::Timestamp;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::clients::{Operations, Probe};
use crate::model::{Sample, ServiceSample, ServiceState, Window};
use crate::stream::past::Past;

/// How long samples are kept.
const KEPT: Duration = Duration::from_hours(1);

/// The most samples that `polls` and `polls_answered` count.
const POLLS: usize = 100;

/// How long a poll waits for one service, all calls together. A little more than the
/// time-out of one call, so that a hanging call ends by that time-out.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The shortest span for a rate: over less, it is mostly chance.
const LEAST_SPAN: Duration = Duration::from_secs(1);

/// The number of latest polls that are kept whole, for rates. At the shortest interval the
/// earliest of them is still [`LEAST_SPAN`] old.
const LATEST: usize = 4;

/// The samples of the four services, and the tasks that poll them.
#[derive(Debug)]
pub struct Watch {
    interval: Duration,
    records: Arc<Mutex<Records>>,
    polls: SharedPoll<Vec<ServiceState>>,
}

impl Watch {
    /// Polls `services` every `interval`, first after one interval, until the shutdown. `past`
    /// gets the answers as well, and those of its `others`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: the polls run on it.
    pub fn new(
        services: [Operations; 4],
        others: Others,
        past: Arc<Past>,
        interval: Duration,
        shutdown: Shutdown,
    ) -> Self {
        let records = Arc::new(Mutex::new(Records::new(interval)));
        let poller = Arc::new(Poller {
            services,
            others,
            past,
            records: Arc::clone(&records),
        });
        let sampling = Arc::clone(&poller).sample_every(interval);
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.requested() => {}
                () = sampling => {}
            }
        });
        let polls = SharedPoll::new(Vec::new(), move |_| Arc::clone(&poller).poll());
        Self {
            interval,
            records,
            polls,
        }
    }

    /// The current state of the four. Concurrent requests share a poll.
    pub async fn services(&self) -> Result<Vec<ServiceState>, PollDied> {
        self.polls.fresh().await
    }

    /// The samples of `window`, oldest first.
    pub fn history(&self, window: Window) -> Vec<Sample> {
        self.records.lock().since(window.length())
    }
}

/// Forgets the samples.
impl Data for Watch {
    fn clear(&self) {
        *self.records.lock() = Records::new(self.interval);
    }
}

/// The services besides the four that those who watch the shop see.
#[derive(Debug)]
pub struct Others {
    /// The gateway, if it is known.
    pub gateway: Option<Operations>,
    /// This service.
    pub here: Operations,
}

/// Polls the four and records the results.
#[derive(Debug)]
struct Poller {
    services: [Operations; 4],
    others: Others,
    past: Arc<Past>,
    records: Arc<Mutex<Records>>,
}

/// The answers of the four; `None` for a service that is down.
type Probes = [Option<Arc<Probe>>; 4];

impl Poller {
    async fn sample_every(self: Arc<Self>, interval: Duration) {
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A service that hangs must not delay the next sample of the others.
        let limit = interval.min(PROBE_TIMEOUT);
        loop {
            ticks.tick().await;
            let timestamp = Timestamp::now();
            let poll = async {
                let (probes, others) = tokio::join!(self.probe(limit), self.others.probe(limit));
                let (gateway, here) = others;
                let all = gateway.into_iter().chain(probes.clone()).chain([here]);
                self.past.add(timestamp, all.collect());
                self.records.lock().add(timestamp, &self.services, probes);
            };
            // All calls of a poll have one request id, also in the logs of the four.
            Context::new(None, None).scope(poll).await;
        }
    }

    #[tracing::instrument(skip_all)]
    async fn poll(self: Arc<Self>) -> Vec<ServiceState> {
        let probes = self.probe(PROBE_TIMEOUT).await;
        self.records.lock().states(&self.services, &probes)
    }

    /// Probes all four concurrently.
    async fn probe(&self, limit: Duration) -> Probes {
        let probes = self.services.iter().map(|one| one.probe(limit, limit));
        let mut answers = join_all(probes).await.into_iter();
        [(); 4].map(|()| answers.next().flatten().map(Arc::new))
    }
}

impl Others {
    /// Probes the gateway, if it is known, and this service.
    async fn probe(&self, limit: Duration) -> (Option<Option<Arc<Probe>>>, Option<Arc<Probe>>) {
        let gateway = async {
            match &self.gateway {
                Some(gateway) => Some(gateway.probe(limit, limit).await.map(Arc::new)),
                None => None,
            }
        };
        let (gateway, here) = tokio::join!(gateway, self.here.probe(limit, limit));
        (gateway, here.map(Arc::new))
    }
}

/// The results of the polls.
///
/// Its bound: a sample is 384 bytes, and an hour of samples is kept. That is 276 KB at the
/// default interval of 5 s, and 2.8 MB at the shortest, 500 ms. The latest polls, kept
/// whole, are about 15 KB more.
#[derive(Debug)]
struct Records {
    capacity: usize,
    samples: VecDeque<Sample>,
    latest: VecDeque<Probes>,
    known: [Known; 4],
}

/// The facts about a service that are reported while it is down.
#[derive(Debug, Default)]
struct Known {
    framework: Option<String>,
    version: Option<String>,
    /// Whether the log already says that its metrics are invalid.
    faulty: bool,
}

impl Records {
    fn new(interval: Duration) -> Self {
        let in_an_hour = KEPT.as_millis() / interval.as_millis().max(1);
        // At long intervals an hour has fewer than `POLLS` samples.
        let capacity = usize::try_from(in_an_hour).unwrap_or(POLLS).max(POLLS);
        Self {
            capacity,
            samples: VecDeque::with_capacity(capacity),
            latest: VecDeque::with_capacity(LATEST),
            known: Default::default(),
        }
    }

    /// Adds the sample of a poll that began at `timestamp`.
    fn add(&mut self, timestamp: Timestamp, services: &[Operations; 4], probes: Probes) {
        self.learn(services, &probes);
        let services = std::array::from_fn(|n| {
            let now = probes[n].as_deref();
            let before = now.and_then(|now| self.before(n, now, Duration::ZERO));
            ServiceSample::new(services[n].name(), now, before)
        });
        let sample = Sample {
            at: Instant::now(),
            timestamp,
            services,
        };
        keep(&mut self.samples, self.capacity, sample);
        keep(&mut self.latest, LATEST, probes);
    }

    /// The states to report after a poll.
    fn states(&mut self, services: &[Operations; 4], probes: &Probes) -> Vec<ServiceState> {
        self.learn(services, probes);
        let polls = self.samples.len().min(POLLS);
        let last = || self.samples.iter().rev().take(polls);
        let states = services.iter().zip(probes).enumerate();
        let states = states.map(|(n, (service, probe))| {
            let probe = probe.as_deref();
            let before = probe.and_then(|now| self.before(n, now, LEAST_SPAN));
            let now = ServiceSample::new(service.name(), probe, before);
            let answered = last()
                .filter(|sample| sample.services[n].status == UpDown::Up)
                .count();
            ServiceState {
                name: now.name,
                framework: self.known[n].framework.clone(),
                version: self.known[n].version.clone(),
                url: service.url().to_owned(),
                status: now.status,
                uptime_seconds: probe.and_then(|probe| probe.uptime_seconds),
                latency_ms: now.latency_ms,
                request_rate: now.request_rate,
                error_rate: now.error_rate,
                p50_ms: now.p50_ms,
                p95_ms: now.p95_ms,
                p99_ms: now.p99_ms,
                resident_memory_bytes: now.resident_memory_bytes,
                polls,
                polls_answered: answered,
            }
        });
        states.collect()
    }

    /// The newest answer of service `n` that is at least `span` older than `now`.
    fn before(&self, n: usize, now: &Probe, span: Duration) -> Option<&Probe> {
        let mut answers = self
            .latest
            .iter()
            .rev()
            .filter_map(|poll| poll[n].as_deref());
        answers.find(|before| now.at.duration_since(before.at) >= span)
    }

    /// Updates the known facts, and logs invalid metrics: once, until they are valid again.
    fn learn(&mut self, services: &[Operations; 4], probes: &Probes) {
        for ((known, service), probe) in self.known.iter_mut().zip(services).zip(probes) {
            let Some(probe) = probe else { continue };
            if probe.framework.is_some() {
                known.framework.clone_from(&probe.framework);
            }
            if probe.version.is_some() {
                known.version.clone_from(&probe.version);
            }
            if let Err(fault) = &probe.counters
                && !known.faulty
            {
                tracing::warn!(
                    upstream = service.name(),
                    fault,
                    "its metrics cannot be read"
                );
            }
            known.faulty = probe.counters.is_err();
        }
    }

    fn since(&self, length: Duration) -> Vec<Sample> {
        let recent = |sample: &&Sample| sample.at.elapsed() <= length;
        let count = self.samples.iter().rev().take_while(recent).count();
        let first = self.samples.len() - count;
        self.samples.range(first..).copied().collect()
    }
}

/// Adds `item`; removes the oldest if the queue is at its capacity.
fn keep<T>(kept: &mut VecDeque<T>, capacity: usize, item: T) {
    if kept.len() >= capacity {
        kept.pop_front();
    }
    kept.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of a sample, in bytes.
    const SAMPLE_BYTES: usize = 384;

    fn sample() -> Sample {
        Sample {
            at: Instant::now(),
            timestamp: Timestamp::now(),
            services: ["a", "b", "c", "d"].map(|name| ServiceSample::new(name, None, None)),
        }
    }

    #[test]
    fn samples_of_an_hour_are_kept() {
        assert_eq!(size_of::<Sample>(), SAMPLE_BYTES);
        for (interval, kept, reason) in [
            (500, 7200, "the shortest interval"),
            (5000, 720, "the default"),
            (60_000, 100, "as many as `polls` counts"),
        ] {
            let mut records = Records::new(Duration::from_millis(interval));
            let capacity = records.samples.capacity();
            for _ in 0..10_000 {
                keep(&mut records.samples, records.capacity, sample());
            }
            assert_eq!(records.samples.len(), kept, "{reason}");
            assert_eq!(records.samples.capacity(), capacity, "{reason}");
        }
    }
}
