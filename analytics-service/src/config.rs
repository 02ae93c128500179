//! The environment variables of analytics-service.

use std::time::Duration;

use chassis::env::{ConfigError, Env};
use chassis::serve::config::ServiceConfig;
use chassis::upstream::resilience::Resilience;
use chassis::upstream::url::UpstreamUrl;

/// The configuration of analytics-service.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings that all services have.
    pub service: ServiceConfig,
    /// The base URL of user-service.
    pub user_service: UpstreamUrl,
    /// The base URL of product-service.
    pub product_service: UpstreamUrl,
    /// The base URL of order-service.
    pub order_service: UpstreamUrl,
    /// The base URL of notification-service.
    pub notification_service: UpstreamUrl,
    /// The settings for calls to them.
    pub resilience: Resilience,
    /// The interval between samples of the history.
    pub poll_interval: Duration,
}

impl Config {
    /// Reads the environment.
    pub fn read(mut env: Env<'_>) -> Result<Self, ConfigError> {
        let config = Self {
            service: ServiceConfig::read(&mut env, "analytics-service", 8005),
            user_service: env.get("USER_SERVICE_URL", UpstreamUrl::local(8001)),
            product_service: env.get("PRODUCT_SERVICE_URL", UpstreamUrl::local(8002)),
            order_service: env.get("ORDER_SERVICE_URL", UpstreamUrl::local(8003)),
            notification_service: env.get("NOTIFICATION_SERVICE_URL", UpstreamUrl::local(8004)),
            resilience: Resilience::read(&mut env),
            poll_interval: Duration::from_millis(
                env.number("POLL_INTERVAL_MS", 5000, 500..=60_000).into(),
            ),
        };
        env.finish(config)
    }
}

impl AsRef<ServiceConfig> for Config {
    fn as_ref(&self) -> &ServiceConfig {
        &self.service
    }
}
