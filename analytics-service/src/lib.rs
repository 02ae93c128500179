#![doc = include_str!("../README.md")]

pub mod api;
pub mod clients;
pub mod config;
pub mod counters;
pub mod http;
pub mod model;
pub mod spans;
pub mod store;
pub mod trace;
pub mod traces;
pub mod watch;

use std::sync::Arc;

use chassis::contract::api::Api;
use chassis::serve::run::RunError;
use chassis::serve::service::{Dependency, Service};
use chassis::serve::shutdown::Shutdown;

use clients::Upstreams;
pub use config::Config;
use store::Totals;
use traces::Traces;
use watch::Watch;

/// The state that all requests share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// The state that all services have.
    pub service: Arc<Service>,
    totals: Arc<Totals>,
    watch: Arc<Watch>,
    /// Only with a lab.
    traces: Option<Arc<Traces>>,
}

impl App {
    /// A service that has not polled the others yet. `shutdown` stops it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: the polls run on it.
    pub fn new(config: &Config, api: &'static Api, shutdown: Shutdown) -> Result<Self, RunError> {
        let polled = Upstreams::connect(config)?;
        let dependencies = polled.clone().upstreams().map(Dependency::optional).into();
        let watch = Watch::new(
            polled.operations.clone(),
            config.poll_interval,
            shutdown.clone(),
        );
        let service = Service::new(&config.service, api, dependencies, shutdown);
        let lab = service.lab();
        Ok(Self {
            traces: lab.map(|_| Arc::new(Traces::new(config, &service))),
            service,
            totals: Arc::new(Totals::new(polled)),
            watch: Arc::new(watch),
        })
    }
}
