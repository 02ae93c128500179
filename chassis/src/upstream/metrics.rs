//! Metrics of the calls to other services.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;

use crate::contract::health::CircuitState;
use crate::telemetry::metrics::BUCKETS;
use crate::upstream::client::Upstream;
use crate::upstream::error::CallError;

/// Metrics of the calls to one other service.
#[derive(Debug)]
pub(crate) struct CallMetrics {
    outcomes: [Counter; OUTCOMES.len()],
    durations: Histogram,
    in_flight: Gauge,
    /// Repeated attempts.
    pub(crate) retries: Counter,
    /// Retries that the retry budget did not allow.
    pub(crate) retries_denied: Counter,
}

/// The outcome of an attempt that succeeded.
const OK: &str = "ok";

/// The outcomes as labels: [`OK`] and all values of [`CallError::outcome`].
const OUTCOMES: [&str; 10] = [
    OK,
    "refused",
    "turned_away",
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
            retries_denied: Counter::default(),
        }
    }
}

impl CallMetrics {
    /// Counts an attempt as in flight until the returned guard is dropped.
    pub(crate) fn begin(&self) -> impl Drop + Send {
        struct InFlight(Gauge);
        impl Drop for InFlight {
            fn drop(&mut self) {
                self.0.dec();
            }
        }
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// How many attempts are in flight.
    #[cfg(test)]
    pub(crate) fn in_flight_now(&self) -> i64 {
        self.in_flight.get()
    }

    /// Records the end of an attempt that was sent.
    pub(crate) fn attempted(&self, error: Option<&CallError>, taken: Duration) {
        self.durations.observe(taken.as_secs_f64());
        self.ended(error);
    }

    /// Records the end of an attempt, sent or not.
    pub(crate) fn ended(&self, error: Option<&CallError>) {
        let outcome = error.map_or(OK, CallError::outcome);
        let counters = OUTCOMES.iter().zip(&self.outcomes);
        for (_, count) in counters.filter(|(name, _)| **name == outcome) {
            count.inc();
        }
    }
}

/// Metrics of the calls to all other services, read at each scrape.
#[derive(Debug)]
pub(crate) struct Calls(Vec<Upstream>);

impl Calls {
    /// Those to `upstreams`.
    pub(crate) fn to(upstreams: Vec<Upstream>) -> Self {
        Self(upstreams)
    }

    /// One metric of each of the services.
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
    // The format wants all series of a metric together, so this goes metric by metric.
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
            ("upstream_calls_in_flight", "Attempts in flight"),
            |calls| &calls.in_flight,
        )?;
        self.each(
            &mut encoder,
            ("upstream_retries", "Attempts that repeat one that failed"),
            |calls| &calls.retries,
        )?;
        self.each(
            &mut encoder,
            (
                "upstream_retries_denied",
                "Retries that were not made because the retry budget was spent",
            ),
            |calls| &calls.retries_denied,
        )
    }
}
