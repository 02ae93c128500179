//! The eye kept on the four: a look every few seconds, what the looks of the last
//! hour brought, and a look right now for whoever asks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chassis::contract::health::UpDown;
use chassis::serve::shutdown::Shutdown;
use chassis::telemetry::context::Context;
use chassis::values::time::Timestamp;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::clients::{Neighbour, Probe};
use crate::model::{Sample, ServiceSample, ServiceState, Window};
use chassis::upstream::shared_poll::{PollDied, SharedPoll};

/// How far back the samples go.
const KEPT: Duration = Duration::from_hours(1);

/// How many polls the share of those answered is over.
const POLLS: usize = 100;

/// How long a look waits for a neighbour, all of its calls together: the time-out
/// of one call and some, so that the call ends by its own.
const PATIENCE: Duration = Duration::from_secs(1);

/// Rates over less than this are mostly chance.
const LEAST_SPAN: Duration = Duration::from_secs(1);

/// How many of the latest looks are kept as they were, for rates: at the shortest
/// interval, the earliest of them is [`LEAST_SPAN`] old in any case.
const LATEST: usize = 4;

/// What is known of the four, and the tasks that keep it fresh.
#[derive(Debug)]
pub struct Watch {
    records: Arc<Mutex<Records>>,
    looks: SharedPoll<Vec<ServiceState>>,
}

impl Watch {
    /// Looks at `neighbours` every `interval`, the first time after one, until
    /// the shutdown.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, which the looks run on.
    pub fn new(neighbours: [Neighbour; 4], interval: Duration, shutdown: Shutdown) -> Self {
        let records = Arc::new(Mutex::new(Records::new(interval)));
        let lookout = Arc::new(Lookout {
            neighbours,
            records: Arc::clone(&records),
        });
        let sampling = Arc::clone(&lookout).sample_every(interval);
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.requested() => {}
                () = sampling => {}
            }
        });
        let looks = SharedPoll::new(Vec::new(), move |_| Arc::clone(&lookout).look());
        Self { records, looks }
    }

    /// The four as they are now. Who asks together shares a look.
    pub async fn services(&self) -> Result<Vec<ServiceState>, PollDied> {
        self.looks.fresh().await
    }

    /// The samples of `window`, in the order of time.
    pub fn history(&self, window: Window) -> Vec<Sample> {
        self.records.lock().since(window.length())
    }
}

/// Who looks, and where it is written down.
#[derive(Debug)]
struct Lookout {
    neighbours: [Neighbour; 4],
    records: Arc<Mutex<Records>>,
}

/// What the four answered; `None` from one that is down.
type Probes = [Option<Probe>; 4];

impl Lookout {
    async fn sample_every(self: Arc<Self>, interval: Duration) {
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A neighbour that hangs must not delay the next sample of the others.
        let patience = interval.min(PATIENCE);
        loop {
            ticks.tick().await;
            let timestamp = Timestamp::now();
            let look = async {
                let probes = self.probe(patience).await;
                self.records.lock().add(timestamp, &self.neighbours, probes);
            };
            // All calls of a look have one id, in the logs of the four too.
            Context::new(None, None).scope(look).await;
        }
    }

    #[tracing::instrument(skip_all)]
    async fn look(self: Arc<Self>) -> Vec<ServiceState> {
        let probes = self.probe(PATIENCE).await;
        self.records.lock().tell(&self.neighbours, &probes)
    }

    /// Asks all four at once.
    async fn probe(&self, patience: Duration) -> Probes {
        let probes = self.neighbours.iter().map(|one| one.probe(patience));
        let mut answers = join_all(probes).await.into_iter();
        [(); 4].map(|()| answers.next().flatten())
    }
}

/// What is remembered of the looks.
///
/// Its bound: a sample is 384 bytes, and there are at most as many as looks in an
/// hour. That is 276 KB at one every 5 s, and 2.8 MB at two a second, the most
/// there can be. The latest looks are some 15 KB more.
#[derive(Debug)]
struct Records {
    capacity: usize,
    samples: VecDeque<Sample>,
    latest: VecDeque<Probes>,
    known: [Known; 4],
}

/// What stays known of a neighbour while it is down.
#[derive(Debug, Default)]
struct Known {
    framework: Option<String>,
    version: Option<String>,
    /// Whether the log already says that its metrics are not as expected.
    faulty: bool,
}

impl Records {
    fn new(interval: Duration) -> Self {
        let in_an_hour = KEPT.as_millis() / interval.as_millis().max(1);
        // At long intervals an hour has fewer looks than the share of those
        // answered is over.
        let capacity = usize::try_from(in_an_hour).unwrap_or(POLLS).max(POLLS);
        Self {
            capacity,
            samples: VecDeque::with_capacity(capacity),
            latest: VecDeque::with_capacity(LATEST),
            known: Default::default(),
        }
    }

    /// Keeps what a look has brought, begun at `timestamp`.
    fn add(&mut self, timestamp: Timestamp, neighbours: &[Neighbour; 4], probes: Probes) {
        self.learn(neighbours, &probes);
        let services = std::array::from_fn(|n| {
            let now = probes[n].as_ref();
            let before = now.and_then(|now| self.before(n, now, Duration::ZERO));
            ServiceSample::new(neighbours[n].name(), now, before)
        });
        let sample = Sample {
            at: Instant::now(),
            timestamp,
            services,
        };
        keep(&mut self.samples, self.capacity, sample);
        keep(&mut self.latest, LATEST, probes);
    }

    /// Puts together what is told of the four after a look right now.
    fn tell(&mut self, neighbours: &[Neighbour; 4], probes: &Probes) -> Vec<ServiceState> {
        self.learn(neighbours, probes);
        let polls = self.samples.len().min(POLLS);
        let last = || self.samples.iter().rev().take(polls);
        let states = neighbours.iter().zip(probes).enumerate();
        let states = states.map(|(n, (neighbour, probe))| {
            let probe = probe.as_ref();
            let before = probe.and_then(|now| self.before(n, now, LEAST_SPAN));
            let now = ServiceSample::new(neighbour.name(), probe, before);
            let answered = last()
                .filter(|sample| sample.services[n].status == UpDown::Up)
                .count();
            ServiceState {
                name: now.name,
                framework: self.known[n].framework.clone(),
                version: self.known[n].version.clone(),
                url: neighbour.url().to_owned(),
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

    /// The last answer of a neighbour that is at least `span` older than `now`.
    fn before(&self, n: usize, now: &Probe, span: Duration) -> Option<&Probe> {
        let mut answers = self.latest.iter().rev().filter_map(|look| look[n].as_ref());
        answers.find(|before| now.at.duration_since(before.at) >= span)
    }

    /// Remembers what is worth it when a neighbour is down, and logs metrics that
    /// are not as expected: once, until there are some that are.
    fn learn(&mut self, neighbours: &[Neighbour; 4], probes: &Probes) {
        for ((known, neighbour), probe) in self.known.iter_mut().zip(neighbours).zip(probes) {
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
                    upstream = neighbour.name(),
                    fault,
                    "what it does cannot be measured"
                );
            }
            known.faulty = probe.counters.is_err();
        }
    }

    fn since(&self, length: Duration) -> Vec<Sample> {
        let young = |sample: &&Sample| sample.at.elapsed() <= length;
        let count = self.samples.iter().rev().take_while(young).count();
        let first = self.samples.len() - count;
        self.samples.range(first..).copied().collect()
    }
}

/// Adds `one`; the oldest makes room for it.
fn keep<T>(kept: &mut VecDeque<T>, capacity: usize, one: T) {
    if kept.len() >= capacity {
        kept.pop_front();
    }
    kept.push_back(one);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a sample takes, in bytes.
    const SAMPLE_BYTES: usize = 384;

    fn sample() -> Sample {
        Sample {
            at: Instant::now(),
            timestamp: Timestamp::now(),
            services: ["a", "b", "c", "d"].map(|name| ServiceSample::new(name, None, None)),
        }
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        assert_eq!(size_of::<Sample>(), SAMPLE_BYTES);
        for (interval, kept, reason) in [
            (500, 7200, "the shortest interval"),
            (5000, 720, "the default"),
            (
                60_000,
                100,
                "as many as the share of those answered is over",
            ),
        ] {
            let mut records = Records::new(Duration::from_millis(interval));
            let room = records.samples.capacity();
            for _ in 0..10_000 {
                keep(&mut records.samples, records.capacity, sample());
            }
            assert_eq!(records.samples.len(), kept, "{reason}");
            assert_eq!(records.samples.capacity(), room, "{reason}");
        }
    }
}
