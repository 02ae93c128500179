//! The orders as metrics, read at each scrape.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::store::OrderStore;

/// How many orders there are, and their sum. Cheap to clone; clones share the store.
#[derive(Clone, Debug, Default)]
pub struct OrderMetrics(Arc<OnceLock<Arc<OrderStore>>>);

impl OrderMetrics {
    /// Reads `store` from now on: the service has its metrics before it has a store.
    pub fn read(&self, store: Arc<OrderStore>) {
        // A service has its store once.
        let _ = self.0.set(store);
    }
}

impl Collector for OrderMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(store) = self.0.get() else {
            return Ok(());
        };
        let totals = store.totals();
        let help = "Orders in the store";
        let mut series = encoder.encode_descriptor("orders", help, None, MetricType::Gauge)?;
        for (status, count) in [
            ("confirmed", totals.confirmed),
            ("cancelled", totals.cancelled),
        ] {
            let count = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            count.encode(series.encode_family(&[("status", status)])?)?;
        }
        let help = "The sum of the confirmed orders";
        let series = encoder.encode_descriptor("orders_revenue", help, None, MetricType::Gauge)?;
        // A float is exact enough to watch it.
        let revenue: f64 = totals.revenue.to_string().parse().unwrap_or(f64::NAN);
        ConstGauge::new(revenue).encode(series)
    }
}
