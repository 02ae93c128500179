//! What is counted, as Prometheus reads it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::telemetry::output::DROPPED;

/// Upper bounds of the buckets, in seconds: from a call on this machine to the
/// time-outs of the shop.
pub const BUCKETS: [f64; 14] = [
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
    /// The counters of the service called `name`, which is a label of all of them, and
    /// what `others` collect; its store may have `most_records`.
    pub(crate) fn new(name: &str, most_records: u32, others: Vec<Box<dyn Collector>>) -> Self {
        let service = (Cow::Borrowed("service"), Cow::Owned(name.to_owned()));
        let metrics = Self {
            registry: Registry::with_labels([service].into_iter()),
            in_flight: Gauge::default(),
            memory: resident_memory().map(|_| Gauge::default()),
            records: Gauge::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        };
        metrics.registered(most_records, others)
    }

    fn registered(mut self, most_records: u32, others: Vec<Box<dyn Collector>>) -> Self {
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
        for other in others {
            self.registry.register_collector(other);
        }
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

    /// All of it, in the text format of OpenMetrics.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        if let (Some(memory), Some(bytes)) = (&self.memory, resident_memory()) {
            memory.set(bytes);
        }
        let mut text = String::with_capacity(16 * 1024);
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The same in the text format of Prometheus, version 0.0.4
/// ([formats](https://prometheus.io/docs/instrumenting/exposition_formats/)). A counter has
/// its suffix also in the comments, and there is no mark for the end.
pub(crate) fn prometheus_text(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let lines: Vec<_> = openmetrics.lines().collect();
    let counters: HashSet<_> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    for line in lines {
        let comment = ["# HELP ", "# TYPE "]
            .into_iter()
            .find_map(|start| Some((start, line.strip_prefix(start)?.split_once(' ')?)));
        match comment {
            Some((start, (name, rest))) if counters.contains(name) => {
                for part in [start, name, "_total ", rest, "\n"] {
                    text.push_str(part);
                }
            }
            None if line.starts_with('#') => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_text_format_a_counter_has_its_suffix_in_the_comments() {
        let openmetrics = r##"# HELP http_requests Requests answered.
# TYPE http_requests counter
http_requests_total{route="# TYPE x counter"} 5
# HELP process_resident_memory_bytes Memory.
# TYPE process_resident_memory_bytes gauge
# UNIT process_resident_memory_bytes bytes
process_resident_memory_bytes 1
# HELP took_seconds Time.
# TYPE took_seconds histogram
took_seconds_sum 0.5
took_seconds_count 1
took_seconds_bucket{le="+Inf"} 1
# EOF
"##;
        let expected = r##"# HELP http_requests_total Requests answered.
# TYPE http_requests_total counter
http_requests_total{route="# TYPE x counter"} 5
# HELP process_resident_memory_bytes Memory.
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1
# HELP took_seconds Time.
# TYPE took_seconds histogram
took_seconds_sum 0.5
took_seconds_count 1
took_seconds_bucket{le="+Inf"} 1
"##;
        assert_eq!(prometheus_text(openmetrics), expected);
    }
}
