//! The services that analytics-service polls, in its own words. None of its
//! questions gets more expensive as the shop fills up.

use std::time::Duration;

use chassis::serve::run::RunError;
use chassis::upstream::client::{Upstream, connections};
use chassis::upstream::error::CallError;
use chassis::upstream::url::UpstreamUrl;
use serde::Deserialize;
use tokio::time::Instant;

use crate::config::Config;
use crate::counters::{Counters, Increase};
use crate::model::OrderStats;

/// The four, over connections of their own.
#[derive(Clone, Debug)]
pub struct Neighbours {
    /// user-service.
    pub users: List,
    /// product-service.
    pub products: List,
    /// order-service.
    pub orders: Orders,
    /// notification-service.
    pub notifications: List,
    /// Each of them as it shows itself: user, product, order, notification.
    pub each: [Neighbour; 4],
}

impl Neighbours {
    /// The four, where `config` says they are.
    pub fn connect(config: &Config) -> Result<Self, RunError> {
        let http = connections()?;
        let upstream = |name, url| Upstream::new(name, url, http.clone(), config.resilience);
        let users = upstream("user-service", &config.user_service);
        let products = upstream("product-service", &config.product_service);
        let orders = upstream("order-service", &config.order_service);
        let notifications = upstream("notification-service", &config.notification_service);
        let neighbour = |upstream: &Upstream, url: &UpstreamUrl| Neighbour {
            upstream: upstream.clone(),
            url: url.as_str().to_owned(),
        };
        Ok(Self {
            each: [
                neighbour(&users, &config.user_service),
                neighbour(&products, &config.product_service),
                neighbour(&orders, &config.order_service),
                neighbour(&notifications, &config.notification_service),
            ],
            users: List(users, "/api/users?limit=1"),
            products: List(products, "/api/products?limit=1"),
            orders: Orders(orders),
            notifications: List(notifications, "/api/notifications?limit=1"),
        })
    }

    /// How each is reached.
    pub fn upstreams(self) -> [Upstream; 4] {
        [
            self.users.0,
            self.products.0,
            self.orders.0,
            self.notifications.0,
        ]
    }
}

/// A service that keeps a list, and where the shortest page of it is.
#[derive(Clone, Debug)]
pub struct List(Upstream, &'static str);

impl List {
    /// The name of the service.
    pub fn service(&self) -> &'static str {
        self.0.name()
    }

    /// How many records the list has. The headers say so: no record is read.
    pub async fn total(self) -> Result<u64, CallError> {
        self.0.head(self.1).total_count().await
    }
}

/// order-service: how many orders, and what they are worth.
#[derive(Clone, Debug)]
pub struct Orders(Upstream);

impl Orders {
    /// The name of the service.
    pub fn service(&self) -> &'static str {
        self.0.name()
    }

    /// The numbers that it keeps up to date.
    pub async fn stats(self) -> Result<OrderStats, CallError> {
        self.0.get("/api/orders/stats").json().await
    }
}

/// A service as it shows itself to whoever runs it.
#[derive(Clone, Debug)]
pub struct Neighbour {
    upstream: Upstream,
    url: String,
}

/// What a service showed of itself at one moment.
#[derive(Debug)]
pub struct Probe {
    /// When it had said all.
    pub at: Instant,
    /// How long it took to say that it is alive.
    pub latency: Duration,
    /// The web framework it is built on.
    pub framework: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Whole seconds since it started.
    pub uptime_seconds: Option<u64>,
    /// What it has counted, or why that is not known.
    pub counters: Result<Counters, String>,
}

impl Probe {
    /// What its service has counted since `before`, if it did not start again.
    pub fn since(&self, before: &Self) -> Option<Increase> {
        // `None` is less than any uptime, so one that is not told hinders nothing.
        let restarted =
            self.uptime_seconds.is_some() && self.uptime_seconds < before.uptime_seconds;
        if restarted {
            return None;
        }
        let (now, before) = (self.counters.as_ref().ok()?, before.counters.as_ref().ok()?);
        now.since(before)
    }
}

/// The answer of `/health`, as much of it as is needed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    framework: Option<String>,
    version: Option<String>,
    uptime_seconds: Option<u64>,
}

impl Neighbour {
    /// The name of the service.
    pub fn name(&self) -> &'static str {
        self.upstream.name()
    }

    /// Where it is found.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks what there is to know, all of it within `patience`; `None` if the
    /// service does not say that it is alive.
    pub async fn probe(&self, patience: Duration) -> Option<Probe> {
        let started = Instant::now();
        let deadline = started + patience;
        let upstream = self.upstream.before(deadline.into_std());
        let health: Health = upstream.get("/health").json().await.ok()?;
        let latency = started.elapsed();
        Some(Probe {
            latency,
            framework: health.framework,
            version: health.version,
            uptime_seconds: health.uptime_seconds,
            counters: counters(&upstream).await,
            at: Instant::now(),
        })
    }
}

/// What a service has counted, or why that is not known.
async fn counters(upstream: &Upstream) -> Result<Counters, String> {
    let text = upstream.get("/metrics").text().await;
    let text = text.map_err(|error| format!("/metrics: {error}"))?;
    Counters::parse(&text).map_err(|error| error.to_string())
}
