//! Clients for the services that analytics-service polls. No call gets more expensive as
//! the shop fills up.

use std::time::Duration;

use chassis::env::Parameter;
use chassis::serve::run::RunError;
use chassis::upstream::client::{Connections, Upstream};
use chassis::upstream::error::CallError;
use chassis::upstream::instances::source::Source;
use serde::Deserialize;
use tokio::time::Instant;

use crate::config::Config;
use crate::counters::{Counters, Increase};
use crate::model::OrderStats;

/// The longest framework or version that is kept, in bytes.
const MAX_TEXT: usize = 100;
/// The format of `/metrics` that this service reads.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

/// The clients for the four services. They share a connection pool.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// user-service.
    pub users: List,
    /// product-service.
    pub products: List,
    /// order-service.
    pub orders: Orders,
    /// notification-service.
    pub notifications: List,
    /// The health and metrics of operations: user, product, order, notification.
    pub operations: [Operations; 4],
}

impl Upstreams {
    /// Clients for the services that `config` names.
    pub fn connect(config: &Config) -> Result<Self, RunError> {
        let http = Connections::new();
        let upstream = |name, url| Upstream::new(name, url, http.clone(), config.resilience);
        let users = upstream("user-service", &config.user_service);
        let products = upstream("product-service", &config.product_service);
        let orders = upstream("order-service", &config.order_service);
        let notifications = upstream("notification-service", &config.notification_service);
        let operations = |upstream: &Upstream, source: &Source| Operations {
            upstream: upstream.clone(),
            url: source.shown(),
        };
        Ok(Self {
            operations: [
                operations(&users, &config.user_service),
                operations(&products, &config.product_service),
                operations(&orders, &config.order_service),
                operations(&notifications, &config.notification_service),
            ],
            users: List(users, "/api/users?limit=1"),
            products: List(products, "/api/products?limit=1"),
            orders: Orders(orders),
            notifications: List(notifications, "/api/notifications?limit=1"),
        })
    }

    /// The upstream of each.
    pub fn upstreams(self) -> [Upstream; 4] {
        [
            self.users.0,
            self.products.0,
            self.orders.0,
            self.notifications.0,
        ]
    }
}

/// The client for a service that lists records, and the path of its shortest page.
#[derive(Clone, Debug)]
pub struct List(Upstream, &'static str);

impl List {
    /// The name of the service.
    pub fn service(&self) -> &'static str {
        self.0.name()
    }

    /// The number of records, from a header: no record is read.
    pub async fn total(self) -> Result<u64, CallError> {
        self.0.head(self.1).total_count().await
    }
}

/// The client for order-service: the number of orders and their value.
#[derive(Clone, Debug)]
pub struct Orders(Upstream);

impl Orders {
    /// The name of the service.
    pub fn service(&self) -> &'static str {
        self.0.name()
    }

    /// The totals of all orders.
    pub async fn stats(self) -> Result<OrderStats, CallError> {
        self.0.get("/api/orders/stats").json().await
    }
}

/// The client for the operations of a service: `/health` and `/metrics`.
#[derive(Clone, Debug)]
pub struct Operations {
    upstream: Upstream,
    url: String,
}

/// The health and metrics of a service at one moment.
#[derive(Debug)]
pub struct Probe {
    /// The moment after the last answer.
    pub at: Instant,
    /// How long the answer to `/health` took.
    pub latency: Duration,
    /// The web framework it is built on.
    pub framework: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Whole seconds since it started.
    pub uptime_seconds: Option<u64>,
    /// Its counters, or why they are unknown.
    pub counters: Result<Counters, String>,
}

impl Probe {
    /// The increase of the counters since `before`; `None` if the service has restarted.
    pub fn since(&self, before: &Self) -> Option<Increase> {
        // An unknown uptime before is `None`, which is less than any uptime.
        let restarted =
            self.uptime_seconds.is_some() && self.uptime_seconds < before.uptime_seconds;
        if restarted {
            return None;
        }
        let (now, before) = (self.counters.as_ref().ok()?, before.counters.as_ref().ok()?);
        now.since(before)
    }
}

/// The fields of `/health` that are needed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    service: String,
    framework: Option<String>,
    version: Option<String>,
    uptime_seconds: Option<u64>,
}

impl Operations {
    /// The name of the service.
    pub fn name(&self) -> &'static str {
        self.upstream.name()
    }

    /// Where it is found, as in the configuration.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Requests `/health`, then `/metrics`, both within `limit`. `None` if `/health` fails, or
    /// if another service answers.
    pub async fn probe(&self, limit: Duration) -> Option<Probe> {
        let started = Instant::now();
        let deadline = started + limit;
        let upstream = self.upstream.before(deadline.into_std());
        let health: Health = upstream.get("/health").json().await.ok()?;
        let latency = started.elapsed();
        upstream.check_name(&health.service).ok()?;
        let short = |text: &String| text.len() <= MAX_TEXT;
        Some(Probe {
            latency,
            framework: health.framework.filter(short),
            version: health.version.filter(short),
            uptime_seconds: health.uptime_seconds,
            counters: counters(&upstream).await,
            at: Instant::now(),
        })
    }
}

/// The counters of a service, or why they are unknown.
async fn counters(upstream: &Upstream) -> Result<Counters, String> {
    // Its last line marks its end, so a part of it is not mistaken for the whole.
    let metrics = upstream.get("/metrics").accepting(OPENMETRICS);
    let text = metrics.text().await;
    let text = text.map_err(|error| format!("/metrics: {error}"))?;
    Counters::parse(&text).map_err(|error| error.to_string())
}
