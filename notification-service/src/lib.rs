#![doc = include_str!("../README.md")]

pub mod api;
pub mod config;
pub mod error;
pub mod http;
pub mod lab;
pub mod model;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use chassis::contract::api::Api;
use chassis::contract::idempotency::Keys;
use chassis::serve::run::RunError;
use chassis::serve::service::Service;
use chassis::serve::shutdown::Shutdown;

pub use config::Config;
use store::NotificationStore;

/// The state that all requests share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// The state that all services have.
    pub service: Arc<Service>,
    notifications: Arc<NotificationStore>,
    keys: Arc<Keys>,
}

impl App {
    /// A service that has no notifications yet. `shutdown` stops it.
    pub fn new(config: &Config, api: &'static Api, shutdown: Shutdown) -> Result<Self, RunError> {
        let service = Service::new(&config.service, api, Vec::new(), shutdown);
        let notifications = Arc::new(NotificationStore::new(service.capacity()));
        let keys = Arc::new(service.keys(Duration::ZERO));
        service.give_to_lab([notifications.clone(), keys.clone()]);
        Ok(Self {
            service,
            notifications,
            keys,
        })
    }
}
