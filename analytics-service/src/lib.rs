#![doc = include_str!("../README.md")]

pub mod api;
pub mod clients;
pub mod config;
pub mod counters;
pub mod http;
pub mod model;
pub mod store;
pub mod watch;

use std::sync::Arc;

use chassis::contract::api::Api;
use chassis::serve::run::RunError;
use chassis::serve::service::{Dependency, Service};
use chassis::serve::shutdown::Shutdown;
use chassis::upstream::client::connections;

use clients::Neighbours;
pub use config::Config;
use store::Totals;
use watch::Watch;

/// What all requests share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// What every service carries.
    pub service: Arc<Service>,
    totals: Arc<Totals>,
    watch: Arc<Watch>,
}

impl App {
    /// A service that knows nothing of the others yet, answers by `api`, and stops
    /// when `shutdown` says so.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, which the polls run on.
    pub fn new(config: &Config, api: &'static Api, shutdown: Shutdown) -> Result<Self, RunError> {
        // Readiness asks from actix's workers. Each is a runtime of its own that
        // takes its connections along when it stops, and no poll may go over one
        // of those: the two share none.
        let (polled, http) = (Neighbours::connect(config)?, connections()?);
        let asked = polled.clone().upstreams().map(|one| one.over(http.clone()));
        let dependencies = asked.map(Dependency::optional).into();
        let watch = Watch::new(polled.each.clone(), config.poll_interval, shutdown.clone());
        Ok(Self {
            service: Service::new(&config.service, api, dependencies, shutdown),
            totals: Arc::new(Totals::new(polled)),
            watch: Arc::new(watch),
        })
    }
}
