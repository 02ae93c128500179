#![doc = include_str!("../README.md")]

pub mod api;
pub mod clients;
pub mod config;
pub mod counters;
pub mod http;
pub mod model;
pub mod spans;
pub mod store;
pub mod stream;
pub mod trace;
pub mod traces;
pub mod watch;

use std::sync::Arc;

use chassis::contract::api::Api;
use chassis::serve::run::RunError;
use chassis::serve::service::{Dependency, Service};
use chassis::serve::shutdown::Shutdown;

use clients::{Operations, Upstreams};
pub use config::Config;
use store::Totals;
use stream::Stream;
use stream::past::Past;
use traces::Traces;
use watch::{Others, Watch};

/// The state that all requests share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// The state that all services have.
    pub service: Arc<Service>,
    totals: Arc<Totals>,
    watch: Arc<Watch>,
    /// Only with a lab.
    traces: Option<Arc<Traces>>,
    stream: Arc<Stream>,
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
        let service = Service::new(&config.service, api, dependencies, shutdown.clone());
        let url = format!("http://{}", config.service.listen);
        let here = Operations::here(Arc::clone(&service), url);
        let others = Others {
            gateway: polled.gateway().cloned(),
            here: here.clone(),
        };
        let watched: Vec<_> = polled.watched.iter().cloned().chain([here]).collect();
        let past = Arc::new(Past::new(&watched, config.poll_interval));
        let watch = Watch::new(
            polled.operations.clone(),
            others,
            Arc::clone(&past),
            config.poll_interval,
            shutdown.clone(),
        );
        let gateway = polled.gateway().cloned();
        let (totals, watch) = (Arc::new(Totals::new(polled)), Arc::new(watch));
        let stream = Stream::start(watched, Arc::clone(&past), config.service.lab, shutdown);
        service.give_to_lab([totals.clone(), watch.clone(), past]);
        let lab = service.lab();
        Ok(Self {
            traces: lab.map(|_| Arc::new(Traces::new(config, gateway, &service))),
            service,
            totals,
            watch,
            stream,
        })
    }
}
