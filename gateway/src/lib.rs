#![doc = include_str!("../README.md")]

// What a request passes, in this order.
pub mod security;

pub mod http;
pub mod rate_limit;

pub mod compression;
pub mod routes;
// The routes of the gateway itself.
pub mod api;
pub mod dashboard;
pub mod status;
// The layers around what is forwarded.
pub mod forward;
pub mod headers;
pub mod paths;
// What a layer passes on to the next one.
pub mod call;
// The parts of forwarding.
pub mod connections;
pub mod download;
pub mod instances;
pub mod tunnel;
pub mod upload;
// What is read at the start.
pub mod config;
pub mod proxies;

use std::array;
use std::sync::Arc;

use chassis::contract::api::Api;
use chassis::serve::run::RunError;
use chassis::serve::service::{Dependency, Service};
use chassis::serve::shutdown::Shutdown;
use chassis::upstream::client::{Connections, Upstream};
use tower::Layer;

pub use config::Config;
use dashboard::Dashboards;
use forward::Forward;
use headers::{Headers, Rewritten};
use instances::Instances;
use paths::{Checked, Paths};
use rate_limit::Limiter;
use routes::DESTINATIONS;

/// The state that all requests share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// The state that all services have.
    pub service: Arc<Service>,
    services: Arc<[Instances]>,
    dashboards: Dashboards,
    limiter: Limiter,
    forwarding: Forwarding,
}

/// The layers around what is forwarded, the outermost first.
type Forwarding = Checked<Rewritten<Forward>>;

impl App {
    /// A gateway to the services in `config`. `shutdown` stops it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: its checks of the services run on it.
    pub fn new(config: &Config, api: &'static Api, shutdown: Shutdown) -> Result<Self, RunError> {
        let http = Connections::new();
        let upstreams: [_; DESTINATIONS.len()] = array::from_fn(|place| {
            let (name, url) = (DESTINATIONS[place].service, &config.services[place]);
            Upstream::new(name, url, http.clone(), config.resilience)
        });
        // Without one of them, the others can still be reached.
        let dependencies = upstreams.clone().map(Dependency::optional).into();
        let service = Service::new(&config.service, api, dependencies, shutdown);
        let services: Arc<[_]> = DESTINATIONS
            .iter()
            .zip(&config.services)
            .map(|(to, url)| Instances::new(to.service, url.clone()))
            .collect();
        let forward = Forward::new(Arc::clone(&service), Arc::clone(&services), config.timeout);
        let forwarding = Headers::new(config.trusted_proxies.clone()).layer(forward);
        let forwarding = Paths.layer(forwarding);
        let [users, _, orders, notifications, _] = upstreams;
        Ok(Self {
            service,
            services,
            dashboards: Dashboards::new(users, orders, notifications),
            limiter: Limiter::new(config.rate_limit, config.trusted_proxies.clone()),
            forwarding,
        })
    }
}
