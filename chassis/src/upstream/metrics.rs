//! What is counted of the calls to other services.

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
pub(crate) struct Calls(Vec<Upstream>);

impl Calls {
    /// Those to `upstreams`.
    pub(crate) fn to(upstreams: Vec<Upstream>) -> Self {
        Self(upstreams)
    }

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
