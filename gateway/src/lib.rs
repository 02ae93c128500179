#![doc = include_str!("../README.md")]

// What every request passes, in this order.
pub mod tls;

pub mod security;

pub mod http;

pub mod rate_limit;

pub mod compression;

pub mod routes;

// What a request for a service passes then, in this order.
pub mod paths;

pub mod headers;

pub mod cache;

pub mod forward;

// The routes of the gateway itself.
pub mod api;
pub mod console;
pub mod dashboard;
pub mod document;
pub mod lab;
pub mod metrics;
pub mod registry;
pub mod status;
// What a layer passes on to the next one.
pub mod call;
// The parts of forwarding.
pub mod connections;
pub mod download;
pub mod tunnel;
pub mod upload;
// What is read at the start.
pub mod config;
pub mod proxies;

use std::array;
use std::sync::Arc;

use chassis::contract::api::Api;
use chassis::serve::run::RunError;
use chassis::serve::service::{Additions, Dependency, Service};
use chassis::serve::shutdown::Shutdown;
use chassis::telemetry::metrics::BUCKETS;
use chassis::upstream::client::{Connections, Upstream};
use chassis::upstream::instances::{Instances, Settings};
use chassis::upstream::registry::Registry as Known;
use prometheus_client::metrics::histogram::Histogram;
use tower::ServiceBuilder;

use cache::store::Store;
use cache::{Cached, Caching};
pub use config::Config;
use dashboard::Dashboards;
use document::MergedDocument;
use forward::Forward;
use headers::{Headers, Rewritten};
use metrics::GatewayMetrics;
use paths::{Checked, Paths};
use rate_limit::Limiter;
use registry::Registry;
use routes::DESTINATIONS;

/// The state that all requests share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// The state that all services have.
    pub service: Arc<Service>,
    upstreams: Arc<[Upstream; DESTINATIONS.len()]>,
    dashboards: Dashboards,
    document: Arc<MergedDocument>,
    cache: Option<Arc<Store>>,
    limiter: Limiter,
    registry: Arc<Registry>,
    forwarding: Forwarding,
}

/// The layers around what is forwarded, the outermost first.
type Forwarding = Checked<Rewritten<Cached<Forward>>>;

impl App {
    /// The instances of the service at this place in [`DESTINATIONS`].
    pub(crate) fn instances(&self, place: usize) -> &Instances {
        self.upstreams[place].instances()
    }

    /// A gateway to the services in `config`. `shutdown` stops it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: its checks of the services run on it.
    pub fn new(config: &Config, api: &'static Api, shutdown: Shutdown) -> Result<Self, RunError> {
        let settings = Settings {
            balance: config.resilience.balance,
            // `/status` shows it.
            ask_only_one: true,
            ..Settings::default()
        };
        let registry = Arc::new(Registry::new(&config.service));
        // The gateway is the registry, unless the environment names another one.
        let registered = match config.service.registry.url() {
            Some(_) => config.service.registry.clone(),
            None => Known::own(registry.follow()),
        };
        // What is forwarded and the gateway's own calls go to the same instances.
        let instances: [_; DESTINATIONS.len()] = array::from_fn(|place| {
            let source = config.services[place].clone().registered_at(&registered);
            let service = DESTINATIONS[place].service;
            Arc::new(Instances::new(service, &source, settings))
        });
        let http = Connections::new();
        let upstreams = instances
            .clone()
            .map(|instances| Upstream::over(instances, http.clone(), config.resilience));
        // Without one of them, the others can still be reached.
        let dependencies = upstreams.clone().map(Dependency::optional).into();
        let cache = (!config.cache_ttl.is_zero())
            .then(|| Store::new(config.cache_ttl, config.cache_max_bytes));
        let limiter = Limiter::new(config.rate_limit, config.trusted_proxies.clone());
        let durations: [_; DESTINATIONS.len()] = array::from_fn(|_| Histogram::new(BUCKETS));
        let metrics = GatewayMetrics {
            instances: instances.clone(),
            durations: durations.clone(),
            cache: cache.clone(),
            limiter: limiter.clone(),
        };
        let additions = Additions {
            metrics: vec![Box::new(metrics)],
            headers: &security::HEADERS,
        };
        let service = Service::with(&config.service, api, dependencies, shutdown, additions);
        if let Some(cache) = &cache {
            service.give_to_lab([Arc::new(lab::Cache(Arc::clone(cache)))]);
        }
        let forwarding = ServiceBuilder::new()
            .layer(Paths)
            .layer(Headers::new(config.trusted_proxies.clone()))
            .layer(Caching::new(cache.clone()))
            .service(Forward::new(
                Arc::clone(&service),
                &instances,
                &durations,
                config.timeout,
            ));
        let document = MergedDocument::new(api, &upstreams);
        let [users, _, orders, notifications, _] = upstreams.clone();
        Ok(Self {
            service,
            upstreams: Arc::new(upstreams),
            dashboards: Dashboards::new(users, orders, notifications),
            document: Arc::new(document),
            cache,
            limiter,
            registry,
            forwarding,
        })
    }
}
