//! The numbers of a tick, from the answers of the services now and a few seconds before.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chassis::contract::health::UpDown;

use crate::clients::{Probe, THIS};
use crate::model::{ServiceSample, thousandths};
use crate::stream::tick::{Edge, Orders, ServiceNow, Status};

/// The span of a rate. Over less, a shop with a few requests would flicker.
const SPAN: Duration = Duration::from_secs(5);

/// The shortest span of a rate.
const LEAST_SPAN: Duration = Duration::from_millis(900);

/// How many readings are kept: at one a second, those of [`SPAN`] and a few more.
const READINGS: usize = 8;

/// The answers of the services at one moment, `None` for one that is down.
pub type Reading = Vec<Option<Arc<Probe>>>;

/// The latest readings.
///
/// Their bound: a reading is six probes of some 2 KB.
#[derive(Clone, Debug, Default)]
pub struct Readings(VecDeque<Reading>);

impl Readings {
    /// Adds a reading, and forgets the oldest one if there are too many.
    pub fn add(&mut self, reading: Reading) {
        if self.0.len() == READINGS {
            self.0.pop_front();
        }
        self.0.push_back(reading);
    }

    /// The answer of service `n` that is nearest to five seconds older than `now`, and that a rate
    /// can be computed from.
    pub fn before(&self, n: usize, now: &Probe) -> Option<&Probe> {
        let answers = self
            .0
            .iter()
            .filter_map(|reading| reading.get(n)?.as_deref());
        let age = |before: &Probe| now.at.saturating_duration_since(before.at);
        let usable =
            answers.filter(|before| age(before) >= LEAST_SPAN && now.since(before).is_some());
        usable.min_by_key(|before| age(before).abs_diff(SPAN))
    }
}

/// What is known about a service besides its latest answer.
#[derive(Clone, Debug)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// Where it is found, as in the configuration.
    pub url: String,
    /// As last known.
    pub framework: Option<String>,
    /// As last known.
    pub version: Option<String>,
}

impl About {
    /// A service that has not answered yet.
    pub fn new(name: &'static str, url: String) -> Self {
        Self {
            name,
            url,
            framework: None,
            version: None,
        }
    }

    /// Takes over what a service says about itself.
    pub fn learn(&mut self, probe: &Probe) {
        if probe.framework.is_some() {
            self.framework.clone_from(&probe.framework);
        }
        if probe.version.is_some() {
            self.version.clone_from(&probe.version);
        }
    }

    /// Its numbers. `now` is its answer, if any; rates are since `before`.
    pub fn numbers(&self, now: Option<&Probe>, before: Option<&Probe>) -> ServiceNow {
        let sample = ServiceSample::new(self.name, now, before);
        let counters = now.and_then(|now| now.counters.as_ref().ok());
        ServiceNow {
            name: self.name,
            status: match sample.status {
                UpDown::Up => Status::Up,
                UpDown::Down => Status::Down,
            },
            framework: self.framework.clone(),
            version: self.version.clone(),
            url: self.url.clone(),
            uptime_seconds: now.and_then(|now| now.uptime_seconds),
            resident_memory_bytes: sample.resident_memory_bytes,
            request_rate: sample.request_rate,
            error_rate: sample.error_rate,
            p50_ms: sample.p50_ms,
            p95_ms: sample.p95_ms,
            p99_ms: sample.p99_ms,
            in_flight: counters.and_then(|counters| in_flight(counters.in_flight?, self.name)),
            faults: None,
            instances: None,
        }
    }
}

/// The requests in flight, without the one that asked. This service asks itself without one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of requests is whole, small and not negative"
)]
fn in_flight(gauge: f64, name: &str) -> Option<u32> {
    let own = u32::from(name != THIS);
    (gauge < f64::from(u32::MAX)).then_some((gauge as u32).saturating_sub(own))
}

/// The calls of `from` to the others. Rates are since `before`.
pub fn edges(from: &'static str, now: &Probe, before: Option<&Probe>) -> Vec<Edge> {
    let Ok(counters) = &now.counters else {
        return Vec::new();
    };
    let edges = counters.calls().map(|calls| {
        let done = before.and_then(|before| {
            let before_counters = before.counters.as_ref().ok()?;
            let increase = counters.calls_since(before_counters, calls.to)?;
            let span = now.at.duration_since(before.at).as_secs_f64();
            Some((increase, span))
        });
        let (increase, span) = match &done {
            Some((increase, span)) => (Some(increase), *span),
            None => (None, 1.0),
        };
        let rate = |count: Option<f64>| Some(thousandths(count? / span));
        let quantile = |q| Some(thousandths(increase?.durations.quantile(q)? * 1e3));
        Edge {
            from,
            to: calls.to,
            call_rate: rate(increase.map(|one| one.made)),
            failure_rate: rate(increase.map(|one| one.failed)),
            retry_rate: rate(increase.and_then(|one| one.retries)),
            not_made_rate: rate(increase.map(|one| one.not_made)),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            circuit: calls.circuit(),
        }
    });
    edges.collect()
}

/// The orders, from the metrics of order-service.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of orders is whole and not negative"
)]
pub fn orders(now: &Probe) -> Option<Orders> {
    let orders = now.counters.as_ref().ok()?.orders;
    let (confirmed, cancelled) = (orders.confirmed? as u64, orders.cancelled? as u64);
    Some(Orders {
        total: confirmed + cancelled,
        confirmed,
        cancelled,
        revenue: (orders.revenue? * 100.0).round() / 100.0,
    })
}
