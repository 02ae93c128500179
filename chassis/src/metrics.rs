//! What is counted, as Prometheus reads it.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::breaker::CircuitState;
use crate::client::{CallError, Upstream};
use crate::error::ApiError;
use crate::output::DROPPED;
use crate::reply::Reply;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets, in seconds: from a call on this machine to the
/// time-outs of the shop.
const BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The counters of one service.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Requests being answered now.
    pub(crate) in_flight: Gauge,
    /// Resident memory, where there is a `/proc` to read it from.
    memory: Option<Gauge>,
    /// Records in the store.
    pub(crate) records: Gauge,
    requests: Family<RequestLabels, Counter<u64, AtomicU64>>,
    durations: Family<RequestLabels, Histogram>,
}

/// No label has values that a client can invent, or the series would grow
/// without bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: &'static str,
    status: u16,
}

impl Metrics {
    /// The counters of the service called `name`, which is a label of them all,
    /// and those of its calls to `upstreams`; its store may have `most_records`.
    pub(crate) fn new(name: &str, most_records: u32, upstreams: Vec<Upstream>) -> Self {
        let service = (Cow::Borrowed("service"), Cow::Owned(name.to_owned()));
        let metrics = Self {
            registry: Registry::with_labels([service].into_iter()),
            in_flight: Gauge::default(),
            memory: resident_memory().map(|_| Gauge::default()),
            records: Gauge::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        };
        metrics.registered(most_records, Calls(upstreams))
    }

    fn registered(mut self, most_records: u32, calls: Calls) -> Self {
        // The encoder adds "_total" to counters.
        self.registry
            .register("http_requests", "Requests answered", self.requests.clone());
        self.registry.register(
            "http_request_duration_seconds",
            "Time to answer a request",
            self.durations.clone(),
        );
        self.registry.register(
            "http_requests_in_flight",
            "Requests being answered",
            self.in_flight.clone(),
        );
        self.registry.register(
            "store_records",
            "Records in the store",
            self.records.clone(),
        );
        self.registry.register(
            "log_lines_dropped",
            "Log lines dropped because standard output was not read in time",
            DROPPED.clone(),
        );
        let limit = ConstGauge::new(i64::from(most_records));
        self.registry.register(
            "store_records_limit",
            "The most records that the store may have",
            limit,
        );
        if let Some(memory) = &self.memory {
            self.registry.register(
                "process_resident_memory_bytes",
                "Memory of this process that is in RAM",
                memory.clone(),
            );
        }
        self.registry.register_collector(Box::new(calls));
        self
    }

    pub(crate) fn answered(
        &self,
        method: &'static str,
        route: &'static str,
        status: u16,
        taken: Duration,
    ) {
        let labels = RequestLabels {
            method,
            route,
            status,
        };
        self.requests.get_or_create(&labels).inc();
        self.durations
            .get_or_create(&labels)
            .observe(taken.as_secs_f64());
    }

    pub(crate) fn reply(&self) -> Reply {
        if let (Some(memory), Some(bytes)) = (&self.memory, resident_memory()) {
            memory.set(bytes);
        }
        let mut text = String::with_capacity(16 * 1024);
        match encode(&mut text, &self.registry) {
            Ok(()) => Reply::ok(OPENMETRICS, text.into_bytes()),
            Err(cause) => ApiError::internal(cause).reply(),
        }
    }
}

/// What is counted of the calls to one other service.
#[derive(Debug)]
pub(crate) struct CallMetrics {
    outcomes: [Counter; OUTCOMES.len()],
    durations: Histogram,
    in_flight: Gauge,
    /// Repeated attempts.
    pub(crate) retries: Counter,
}

/// The outcome of an attempt that brought what it was made for.
const OK: &str = "ok";

/// How an attempt ends, as a label: all that [`CallError::outcome`] knows.
const OUTCOMES: [&str; 9] = [
    OK,
    "refused",
    "unreachable",
    "timed_out",
    "broken",
    "failed",
    "unusable",
    "circuit_open",
    "bulkhead_full",
];

impl Default for CallMetrics {
    fn default() -> Self {
        Self {
            outcomes: Default::default(),
            durations: Histogram::new(BUCKETS),
            in_flight: Gauge::default(),
            retries: Counter::default(),
        }
    }
}

impl CallMetrics {
    /// An attempt is under way until what this returns is dropped.
    pub(crate) fn under_way(&self) -> impl Drop + Send {
        struct UnderWay(Gauge);
        impl Drop for UnderWay {
            fn drop(&mut self) {
                self.0.dec();
            }
        }
        self.in_flight.inc();
        UnderWay(self.in_flight.clone())
    }

    /// How many attempts are under way.
    #[cfg(test)]
    pub(crate) fn under_way_now(&self) -> i64 {
        self.in_flight.get()
    }

    /// An attempt that was sent has ended.
    pub(crate) fn attempted(&self, error: Option<&CallError>, taken: Duration) {
        self.durations.observe(taken.as_secs_f64());
        self.ended(error);
    }

    /// An attempt has ended, sent or not.
    pub(crate) fn ended(&self, error: Option<&CallError>) {
        let outcome = error.map_or(OK, CallError::outcome);
        let counters = OUTCOMES.iter().zip(&self.outcomes);
        for (_, count) in counters.filter(|(name, _)| **name == outcome) {
            count.inc();
        }
    }
}

/// The calls to all other services, read as they are scraped.
#[derive(Debug)]
struct Calls(Vec<Upstream>);

impl Calls {
    /// A metric that each of the services has one of.
    fn each<'a>(
        &'a self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        of: impl Fn(&'a CallMetrics) -> &'a dyn EncodeMetric,
    ) -> fmt::Result {
        let [first, ..] = self.0.as_slice() else {
            return Ok(());
        };
        let kind = of(first.metrics()).metric_type();
        let mut series = encoder.encode_descriptor(name, help, None, kind)?;
        for upstream in &self.0 {
            let labels = [("dependency", upstream.name())];
            of(upstream.metrics()).encode(series.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn outcomes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Attempts to call another service, by how they ended";
        let mut series =
            encoder.encode_descriptor("upstream_calls", help, None, MetricType::Counter)?;
        for upstream in &self.0 {
            for (outcome, count) in OUTCOMES.into_iter().zip(&upstream.metrics().outcomes) {
                let labels = [("dependency", upstream.name()), ("outcome", outcome)];
                count.encode(series.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn circuits(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "1 for the state that the circuit to another service is in";
        let mut series =
            encoder.encode_descriptor("upstream_circuit_state", help, None, MetricType::Gauge)?;
        for upstream in &self.0 {
            let now = upstream.circuit();
            for state in CircuitState::ALL {
                let labels = [("dependency", upstream.name()), ("state", state.name())];
                ConstGauge::new(i64::from(state == now)).encode(series.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Collector for Calls {
    // The format wants all series of a metric together: a metric at a time, each
    // for all services.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        self.outcomes(&mut encoder)?;
        self.circuits(&mut encoder)?;
        self.each(
            &mut encoder,
            (
                "upstream_call_duration_seconds",
                "Time of an attempt that was sent",
            ),
            |calls| &calls.durations,
        )?;
        self.each(
            &mut encoder,
            ("upstream_calls_in_flight", "Attempts under way"),
            |calls| &calls.in_flight,
        )?;
        self.each(
            &mut encoder,
            ("upstream_retries", "Attempts that repeat one that failed"),
            |calls| &calls.retries,
        )
    }
}

/// The resident memory of this process, in bytes.
fn resident_memory() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib * 1024)
}
