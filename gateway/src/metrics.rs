//! What the gateway counts besides what all services count, read at each scrape. A label names
//! only what the configuration names: a service, or one of its instances, of which there are at
//! most 64 at a time.

use std::fmt;
use std::sync::Arc;

use chassis::upstream::instances::{InstanceState, Instances, State};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::cache::store::Store;
use crate::rate_limit::Limiter;
use crate::routes::DESTINATIONS;

/// The states of an instance as labels.
const STATES: [(State, &str); 4] = [
    (State::Up, "up"),
    (State::Down, "down"),
    (State::Ejected, "ejected"),
    (State::Draining, "draining"),
];

/// The metrics of the gateway.
#[derive(Debug)]
pub struct GatewayMetrics {
    /// The instances of each service.
    pub instances: [Arc<Instances>; DESTINATIONS.len()],
    /// How long attempts took that were forwarded to each service.
    pub durations: [Histogram; DESTINATIONS.len()],
    /// The cache, unless it is off.
    pub cache: Option<Arc<Store>>,
    /// The limiter.
    pub limiter: Limiter,
}

impl Collector for GatewayMetrics {
    // The format wants all series of a metric together, so this goes metric by metric.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.cache(&mut encoder)?;
        one(
            &mut encoder,
            "gateway_rate_limited_requests",
            "Requests refused because their client had sent too many",
            &ConstCounter::new(self.limiter.refused()),
        )?;
        let states = self
            .instances
            .each_ref()
            .map(|of| (of.service(), of.states()));
        each(
            &mut encoder,
            &states,
            "gateway_instance_requests",
            "Attempts to send a request to an instance",
            |one| ConstCounter::new(one.requests),
        )?;
        each(
            &mut encoder,
            &states,
            "gateway_instance_failures",
            "Attempts without a response, or with 500, 502 or 503",
            |one| ConstCounter::new(one.failures),
        )?;
        each(
            &mut encoder,
            &states,
            "gateway_instance_requests_in_flight",
            "Requests that an instance has not answered in full",
            |one| ConstGauge::new(one.in_flight),
        )?;
        self.durations(&mut encoder)?;
        instance_states(&mut encoder, &states)
    }
}

impl GatewayMetrics {
    fn durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = self.durations[0].metric_type();
        let name = "gateway_forwarded_duration_seconds";
        let help = "Time from a request to the head of its response, of an attempt that was sent";
        let mut series = encoder.encode_descriptor(name, help, None, kind)?;
        for (instances, durations) in self.instances.iter().zip(&self.durations) {
            let labels = [("dependency", instances.service())];
            durations.encode(series.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn cache(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(cache) = self.cache.as_ref().map(|cache| cache.status()) else {
            return Ok(());
        };
        let name = "gateway_cache_requests";
        let help = "Requests that the cache handled, by how";
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut series = encoder.encode_descriptor(name, help, None, kind)?;
        for (outcome, count) in [
            ("hit", cache.hits),
            ("miss", cache.misses),
            ("shared", cache.collapsed),
            ("stale", cache.stale),
        ] {
            let labels = [("outcome", outcome)];
            ConstCounter::new(count).encode(series.encode_family(&labels)?)?;
        }
        for (name, help, number) in [
            (
                "gateway_cache_entries",
                "Responses in the cache",
                cache.entries,
            ),
            ("gateway_cache_bytes", "Memory of the cache", cache.bytes),
            (
                "gateway_cache_bytes_limit",
                "The most memory that the cache may take",
                cache.max_bytes,
            ),
        ] {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            one(encoder, name, help, &ConstGauge::new(number))?;
        }
        Ok(())
    }
}

/// The services, and what is known about the instances of each.
type States = [(&'static str, Vec<InstanceState>)];

/// A metric without labels.
fn one(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    let series = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(series)
}

/// One metric of each instance.
fn each<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    states: &States,
    name: &str,
    help: &str,
    of: impl Fn(&InstanceState) -> M,
) -> fmt::Result {
    let all = states.iter();
    let mut all = all.flat_map(|(service, of)| of.iter().map(move |one| (*service, one)));
    let Some(first) = all.clone().next() else {
        return Ok(());
    };
    let kind = of(first.1).metric_type();
    let mut series = encoder.encode_descriptor(name, help, None, kind)?;
    all.try_for_each(|(service, instance)| {
        let labels = [("dependency", service), ("url", instance.url.as_str())];
        of(instance).encode(series.encode_family(&labels)?)
    })
}

fn instance_states(encoder: &mut DescriptorEncoder<'_>, states: &States) -> fmt::Result {
    let kind = ConstGauge::new(0_i64).metric_type();
    let help = "1 for the state that an instance is in";
    let mut series = encoder.encode_descriptor("gateway_instance_state", help, None, kind)?;
    for (service, instances) in states {
        for instance in instances {
            for (state, name) in STATES {
                let labels = [
                    ("dependency", *service),
                    ("url", instance.url.as_str()),
                    ("state", name),
                ];
                let is_so = i64::from(state == instance.state);
                ConstGauge::new(is_so).encode(series.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}
