#![doc = include_str!("../README.md")]

pub mod api;
pub mod config;
pub mod error;
pub mod http;
pub mod model;
pub mod store;

use std::sync::Arc;

use chassis::contract::api::Api;
use chassis::serve::run::RunError;
use chassis::serve::service::Service;
use chassis::serve::shutdown::Shutdown;

pub use config::Config;
use store::UserStore;

/// What all requests share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// What every service carries.
    pub service: Arc<Service>,
    users: Arc<UserStore>,
}

impl App {
    /// A service without users that answers by `api`, and stops when `shutdown`
    /// says so.
    pub fn new(config: &Config, api: &'static Api, shutdown: Shutdown) -> Result<Self, RunError> {
        let service = Service::new(&config.service, api, Vec::new(), shutdown);
        Ok(Self {
            users: Arc::new(UserStore::new(service.capacity())),
            service,
        })
    }
}
