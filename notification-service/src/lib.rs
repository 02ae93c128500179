#![doc = include_str!("../README.md")]

pub mod config;
pub mod error;
pub mod http;
pub mod model;
pub mod store;

use std::sync::Arc;

use chassis::run::RunError;
use chassis::service::Service;
use chassis::shutdown::Shutdown;

pub use config::Config;
use store::NotificationStore;

/// What all requests share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    service: Arc<Service>,
    notifications: Arc<NotificationStore>,
}

impl App {
    /// A service without notifications that stops when `shutdown` says so.
    pub fn new(config: &Config, shutdown: Shutdown) -> Result<Self, RunError> {
        let service = Service::new(&config.service, &http::API, Vec::new(), shutdown);
        Ok(Self {
            notifications: Arc::new(NotificationStore::new(service.capacity())),
            service,
        })
    }
}
