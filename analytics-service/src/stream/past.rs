//! The last 15 minutes, for viewers who come now.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use chassis::lab::data::Data;
use chassis::values::time::Timestamp;
use parking_lot::Mutex;

use crate::clients::Operations;
use crate::stream::numbers::{About, Reading, Readings, edges, orders};
use crate::stream::tick::PastSample;

/// How far back the samples go.
const KEPT: Duration = Duration::from_mins(15);

/// The least time between two samples: a chart cannot show more.
const EVERY: Duration = Duration::from_secs(5);

/// The samples of the last 15 minutes.
///
/// Each is kept as the text that viewers get, which is made once. It has at most 9 KB, so all are
/// at most 1.6 MB, at any interval; with the calls that the shop has, half of that.
#[derive(Debug)]
pub struct Past {
    capacity: usize,
    /// How many polls make a sample.
    polls_a_sample: u128,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    services: Vec<About>,
    polls: u128,
    samples: VecDeque<Bytes>,
    /// The answers that the latest sample was made from.
    sampled: Reading,
    /// The latest answers.
    latest: Readings,
}

impl Past {
    /// Nothing yet about these services, which are polled every `interval`.
    pub fn new(services: &[Operations], interval: Duration) -> Self {
        let services = services.iter();
        let about = services.map(|one| About::new(one.name(), one.url().to_owned()));
        let interval = interval.as_millis().max(1);
        let polls_a_sample = EVERY.as_millis().div_ceil(interval);
        let capacity = KEPT.as_millis() / (polls_a_sample * interval);
        Self {
            capacity: usize::try_from(capacity).unwrap_or(1),
            polls_a_sample,
            inner: Mutex::new(Inner {
                services: about.collect(),
                polls: 0,
                samples: VecDeque::new(),
                sampled: Reading::new(),
                latest: Readings::default(),
            }),
        }
    }

    /// Adds the answers of a poll that began at `at`.
    pub fn add(&self, at: Timestamp, reading: Reading) {
        let mut inner = self.inner.lock();
        let is_due = inner.polls.is_multiple_of(self.polls_a_sample);
        inner.polls += 1;
        if is_due {
            let sample = inner.sample(at, &reading);
            // It has no keys but strings, and no number that JSON lacks.
            if let Ok(text) = serde_json::to_vec(&sample) {
                if inner.samples.len() >= self.capacity {
                    inner.samples.pop_front();
                }
                inner.samples.push_back(text.into());
            }
            inner.sampled.clone_from(&reading);
        }
        inner.latest.add(reading);
    }

    /// The samples, oldest first, each as JSON.
    pub fn samples(&self) -> Vec<Bytes> {
        self.inner.lock().samples.iter().cloned().collect()
    }

    /// The answers of the latest polls.
    pub fn latest(&self) -> Readings {
        self.inner.lock().latest.clone()
    }
}

impl Inner {
    fn sample(&mut self, at: Timestamp, reading: &Reading) -> PastSample {
        let (mut services, mut calls, mut totals) = (Vec::new(), Vec::new(), None);
        for (n, about) in self.services.iter_mut().enumerate() {
            let now = reading.get(n).and_then(Option::as_deref);
            let before = self.sampled.get(n).and_then(Option::as_deref);
            if let Some(now) = now {
                about.learn(now);
                calls.extend(edges(about.name, now, before));
                totals = totals.or_else(|| orders(now));
            }
            services.push(about.numbers(now, before));
        }
        PastSample {
            at,
            services,
            edges: calls,
            orders: totals,
        }
    }
}

/// Forgets the samples.
impl Data for Past {
    fn clear(&self) {
        let mut inner = self.inner.lock();
        inner.samples = VecDeque::new();
        (inner.polls, inner.sampled) = (0, Reading::new());
        inner.latest = Readings::default();
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;
    use crate::clients::Probe;
    use crate::counters::Counters;
    use crate::counters::calls::CALLED;

    /// The most that a sample takes, in bytes.
    const MOST: usize = 9 * 1024;

    /// A service that calls all others, and whose numbers have many digits.
    fn probe(count: u32) -> Arc<Probe> {
        // Writing to a string cannot fail.
        let mut text = String::new();
        for to in CALLED {
            let count = f64::from(count) * 12_345.678;
            for (series, label) in [
                ("upstream_calls_total", "outcome=\"ok\""),
                ("upstream_calls_total", "outcome=\"failed\""),
                ("upstream_calls_total", "outcome=\"circuit_open\""),
                ("upstream_retries_total", "x=\"\""),
                ("upstream_call_duration_seconds_bucket", "le=\"12345.678\""),
                ("upstream_call_duration_seconds_bucket", "le=\"+Inf\""),
            ] {
                let _ = writeln!(text, "{series}{{dependency=\"{to}\",{label}}} {count}");
            }
            let _ = writeln!(
                text,
                "upstream_circuit_state{{dependency=\"{to}\",state=\"half_open\"}} 1"
            );
        }
        let count = f64::from(count) * 12_345.678;
        let _ = write!(
            text,
            "http_requests_total{{status=\"500\"}} {count}\n\
             http_request_duration_seconds_bucket{{le=\"12345.678\"}} {count}\n\
             http_request_duration_seconds_bucket{{le=\"+Inf\"}} {count}\n\
             process_resident_memory_bytes 123456789012\n\
             http_requests_in_flight 123456\n\
             orders{{status=\"confirmed\"}} 123456789012\n\
             orders{{status=\"cancelled\"}} 123456789012\n\
             orders_revenue 123456789012.34\n# EOF\n"
        );
        Arc::new(Probe {
            at: Instant::now(),
            latency: Duration::from_millis(1),
            framework: Some("f".repeat(20)),
            version: Some("v".repeat(20)),
            uptime_seconds: Some(123_456_789),
            counters: Ok(Counters::parse(&text).expect("metrics")),
        })
    }

    fn past(interval: u64) -> Past {
        let past = Past::new(&[], Duration::from_millis(interval));
        let about = |name| About::new(name, "http://analytics-service.shop.svc:8005".to_owned());
        let names = CALLED.into_iter().chain(["gateway"]);
        past.inner.lock().services = names.map(about).collect();
        past
    }

    #[test]
    fn the_samples_of_fifteen_minutes_take_little_memory_at_any_interval() {
        let (before, now) = (probe(1), probe(2));
        for (interval, kept, reason) in [
            (500, 180, "the shortest interval"),
            (5000, 180, "the default"),
            (60_000, 15, "the longest"),
        ] {
            let past = past(interval);
            past.add(Timestamp::now(), vec![Some(before.clone()); 6]);
            for _ in 0..3000 {
                past.add(Timestamp::now(), vec![Some(now.clone()); 6]);
            }
            let samples = past.samples();
            assert_eq!(samples.len(), kept, "{reason}");
            let largest = samples.iter().map(Bytes::len).max().expect("a sample");
            println!("{reason}: {kept} samples of at most {largest} bytes");
            assert!(largest < MOST, "{reason}: {largest} bytes");
            assert!(largest > MOST / 2, "{reason}: there is something in it");
        }
    }

    #[test]
    fn what_is_reset_is_forgotten() {
        let past = past(5000);
        past.add(Timestamp::now(), vec![Some(probe(1)); 6]);
        let now = probe(2);
        assert_eq!(past.samples().len(), 1);
        past.clear();
        assert_eq!(past.samples().len(), 0);
        assert!(past.latest().before(0, &now).is_none());
    }
}
