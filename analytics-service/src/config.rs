//! The environment variables of analytics-service.

use std::time::Duration;

use chassis::env::{ConfigError, Env};
use chassis::serve::config::ServiceConfig;
use chassis::upstream::resilience::Resilience;
use chassis::upstream::url::UpstreamUrl;

/// All that analytics-service is configured with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every service has.
    pub service: ServiceConfig,
    /// Where user-service is.
    pub user_service: UpstreamUrl,
    /// Where product-service is.
    pub product_service: UpstreamUrl,
    /// Where order-service is.
    pub order_service: UpstreamUrl,
    /// Where notification-service is.
    pub notification_service: UpstreamUrl,
    /// How they are called.
    pub resilience: Resilience,
    /// How often the four are polled for the history.
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
