//! The last 15 minutes, for viewers who come now.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use chassis::lab::data::Data;
use chassis::values::time::Timestamp;
use parking_lot::Mutex;

use crate::clients::Operations;
use crate::stream::numbers::{About, Reading, edges, orders};
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
    latest: Reading,
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
                latest: Reading::new(),
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
        inner.latest = reading;
    }

    /// The samples, oldest first, each as JSON.
    pub fn samples(&self) -> Vec<Bytes> {
        self.inner.lock().samples.iter().cloned().collect()
    }

    /// The answers of the latest poll.
    pub fn latest(&self) -> Reading {
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
        (inner.polls, inner.sampled, inner.latest) = (0, Reading::new(), Reading::new());
    }
}
