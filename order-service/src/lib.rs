#![doc = include_str!("../README.md")]

pub mod api;
pub mod cancel_order;
pub mod clients;
pub mod config;
pub mod error;
pub mod http;
pub mod lab;
pub mod metrics;
pub mod model;
pub mod place_order;
pub mod stock;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use chassis::contract::api::Api;
use chassis::contract::idempotency::Keys;
use chassis::serve::run::RunError;
use chassis::serve::service::{Additions, Dependency, Service};
use chassis::serve::shutdown::Shutdown;
use chassis::upstream::client::{Connections, Upstream};

use clients::{Notifier, Users};
pub use config::Config;
use metrics::OrderMetrics;
use stock::Products;
use store::OrderStore;

/// The state that all requests share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// The state that all services have.
    pub service: Arc<Service>,
    orders: Arc<OrderStore>,
    keys: Arc<Keys>,
    users: Users,
    products: Products,
    notifier: Notifier,
    /// How long all calls for one order may take together.
    deadline: Duration,
}

impl App {
    /// A service that has no orders yet. `shutdown` stops it.
    pub fn new(config: &Config, api: &'static Api, shutdown: Shutdown) -> Result<Self, RunError> {
        let http = Connections::new();
        let upstream = |name, url| Upstream::new(name, url, http.clone(), config.resilience);
        let users = upstream("user-service", &config.user_service);
        let products = upstream("product-service", &config.product_service);
        let notifications = upstream("notification-service", &config.notification_service);
        let dependencies = vec![
            Dependency::required(users.clone()),
            Dependency::required(products.clone()),
            Dependency::optional(notifications.clone()),
        ];
        let metrics = OrderMetrics::default();
        let additions = Additions {
            metrics: vec![Box::new(metrics.clone())],
            ..Additions::default()
        };
        let service = Service::with(
            &config.service,
            api,
            dependencies,
            shutdown.clone(),
            additions,
        );
        let orders = Arc::new(OrderStore::new(service.capacity()));
        metrics.read(orders.clone());
        let keys = Arc::new(service.keys(config.resilience.deadline));
        service.give_to_lab([orders.clone(), keys.clone()]);
        Ok(Self {
            service,
            orders,
            keys,
            users: Users::new(users),
            products: Products::new(products, shutdown),
            notifier: Notifier::new(notifications, config.notify_timeout),
            deadline: config.resilience.deadline,
        })
    }
}
