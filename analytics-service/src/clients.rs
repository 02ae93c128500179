//! Clients for the services that analytics-service polls. No call gets more expensive as
//! the shop fills up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis::contract::accept::Accept;
use chassis::contract::reply::{Body, Reply};
use chassis::env::Parameter;
use chassis::lab::Asked;
use chassis::serve::run::RunError;
use chassis::serve::service::Service;
use chassis::upstream::client::{Connections, Upstream};
use chassis::upstream::error::CallError;
use chassis::upstream::instances::choice::Balance;
use chassis::upstream::instances::source::Source;
use chassis::upstream::resilience::Resilience;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::config::Config;
use crate::counters::{Counters, Increase};
use crate::model::OrderStats;

/// The longest framework or version that is kept, in bytes.
const MAX_TEXT: usize = 100;
/// The format of `/metrics` that this service reads.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

/// The name of the gateway.
pub const GATEWAY: &str = "gateway";

/// The name of this service.
pub const THIS: &str = "analytics-service";

/// How those who watch the shop call its services. One connection that has died in the meantime
/// says nothing about the service, so there is a second attempt at once.
const WATCHING: Resilience = Resilience {
    timeout: Duration::from_millis(500),
    deadline: Duration::from_millis(800),
    retries: 1,
    retry_budget: 100,
    backoff: Duration::from_millis(10),
    circuit: None,
    bulkhead: None,
    balance: Balance::RoundRobin,
};

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
    /// The same for those who watch the shop: the gateway first, if it is known, then the four.
    /// These calls have no circuit breaker, which would hide for a while that a service is back,
    /// and no metrics, in which they would look like traffic of the shop.
    pub watched: Vec<Operations>,
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
            place: Place::There(Box::new(upstream.clone())),
            url: source.shown(),
        };
        let gateway = config.gateway.as_ref();
        let watched = gateway.map(|gateway| (GATEWAY, gateway)).into_iter();
        let watched = watched.chain([
            (users.name(), &config.user_service),
            (products.name(), &config.product_service),
            (orders.name(), &config.order_service),
            (notifications.name(), &config.notification_service),
        ]);
        let watched = watched.map(|(name, source)| {
            let upstream = Upstream::new(name, source, http.clone(), WATCHING);
            operations(&upstream, source)
        });
        Ok(Self {
            watched: watched.collect(),
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

    /// The gateway, for those who watch the shop, if it is known.
    pub fn gateway(&self) -> Option<&Operations> {
        self.watched.first().filter(|first| first.name() == GATEWAY)
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

/// The client for the operations of a service, such as `/health` and `/metrics`.
#[derive(Clone, Debug)]
pub struct Operations {
    place: Place,
    url: String,
}

/// Where a service is.
#[derive(Clone, Debug)]
enum Place {
    There(Box<Upstream>),
    /// This service itself, which needs no connection to know about itself.
    Here(Arc<Service>),
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
    /// Those of this service itself, which listens at `url`.
    pub fn here(service: Arc<Service>, url: String) -> Self {
        let place = Place::Here(service);
        Self { place, url }
    }

    /// The name of the service.
    pub fn name(&self) -> &'static str {
        match &self.place {
            Place::There(upstream) => upstream.name(),
            Place::Here(_) => THIS,
        }
    }

    /// Where it is found, as in the configuration.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same, with all calls until `deadline`.
    #[must_use]
    pub fn before(&self, deadline: Instant) -> Self {
        let place = match &self.place {
            Place::There(upstream) => Place::There(Box::new(upstream.before(deadline.into_std()))),
            here @ Place::Here(_) => here.clone(),
        };
        let url = self.url.clone();
        Self { place, url }
    }

    /// Requests `/health` within `alive`, then `/metrics` within `limit`, both from now on. `None`
    /// if `/health` fails, or if another service answers.
    pub async fn probe(&self, alive: Duration, limit: Duration) -> Option<Probe> {
        let started = Instant::now();
        let health: Health = self.before(started + alive).json("/health").await.ok()?;
        let latency = started.elapsed();
        let this = self.before(started + limit);
        if let Place::There(upstream) = &self.place {
            upstream.check_name(&health.service).ok()?;
        }
        let short = |text: &String| text.len() <= MAX_TEXT;
        Some(Probe {
            latency,
            framework: health.framework.filter(short),
            version: health.version.filter(short),
            uptime_seconds: health.uptime_seconds,
            counters: this.counters().await,
            at: Instant::now(),
        })
    }

    /// Requests `path` and reads the response as JSON.
    pub async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        match &self.place {
            Place::There(upstream) => upstream.get(path).json().await,
            Place::Here(service) => {
                let reply = match path {
                    "/health" => service.health(),
                    path => lab_here(service, path).await,
                };
                let text = text_of(reply)?;
                serde_json::from_str(&text)
                    .map_err(|cause| CallError::Unusable(format!("not the JSON expected: {cause}")))
            }
        }
    }

    /// The counters of a service, or why they are unknown.
    async fn counters(&self) -> Result<Counters, String> {
        // Its last line marks its end, so a part of it is not mistaken for the whole.
        let text = match &self.place {
            Place::There(upstream) => upstream.get("/metrics").accepting(OPENMETRICS).text().await,
            Place::Here(service) => {
                let accept = Accept::parse([OPENMETRICS.as_bytes()]);
                text_of(service.metrics_text(&accept))
            }
        };
        let text = text.map_err(|error| format!("/metrics: {error}"))?;
        Counters::parse(&text).map_err(|error| error.to_string())
    }
}

/// The reply of the lab of this service to a GET.
async fn lab_here(service: &Service, path_and_query: &str) -> Reply {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    let asked = Asked::new("GET", path, query);
    service
        .lab_reply(asked, |_| None, async { Ok(Bytes::new()) })
        .await
}

/// The text of a reply of this service itself.
fn text_of(reply: Reply) -> Result<String, CallError> {
    let Body::Bytes(bytes) = reply.body else {
        return Err(CallError::Unusable("a stream".to_owned()));
    };
    if reply.status != 200 {
        let status = reply.status;
        return Err(CallError::Unusable(format!("the status is {status}")));
    }
    String::from_utf8(bytes.into())
        .map_err(|cause| CallError::Unusable(format!("not UTF-8: {cause}")))
}
