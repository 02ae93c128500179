#![doc = include_str!("../README.md")]

pub mod api;
pub mod clients;
pub mod config;
pub mod error;
#[cfg(feature = "rocket")]
pub mod http;
pub mod lab;
pub mod model;
pub mod store;

use std::sync::Arc;

use chassis::contract::api::Api;
use chassis::contract::idempotency::Keys;
use chassis::serve::run::RunError;
use chassis::serve::service::{Dependency, Service};
use chassis::serve::shutdown::Shutdown;
use chassis::upstream::client::{Connections, Upstream};

use clients::Sellers;
pub use config::Config;
use store::ProductStore;

/// The state that all requests share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// The state that all services have.
    pub service: Arc<Service>,
    /// The products.
    pub products: Arc<ProductStore>,
    keys: Arc<Keys>,
    sellers: Sellers,
}

impl App {
    /// A service that has no products yet. `shutdown` stops it.
    pub fn new(config: &Config, api: &'static Api, shutdown: Shutdown) -> Result<Self, RunError> {
        let http = Connections::new();
        let users = Upstream::new(
            "user-service",
            &config.user_service,
            http,
            config.resilience,
        );
        // Only products that name a seller need user-service.
        let dependencies = vec![Dependency::optional(users.clone())];
        let service = Service::new(&config.service, api, dependencies, shutdown);
        let products = Arc::new(ProductStore::new(service.capacity()));
        let keys = Arc::new(service.keys(config.resilience.deadline));
        service.give_to_lab([products.clone(), keys.clone()]);
        Ok(Self {
            service,
            products,
            keys,
            sellers: Sellers::new(users),
        })
    }
}
