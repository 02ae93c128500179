//! The environment variables of analytics-service.

use std::time::Duration;

use chassis::env::{ConfigError, Env, Parameter as _};
use chassis::serve::config::ServiceConfig;
use chassis::upstream::instances::source::Source;
use chassis::upstream::resilience::Resilience;

/// The configuration of analytics-service.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings that all services have.
    pub service: ServiceConfig,
    /// Where user-service is found.
    pub user_service: Source,
    /// Where product-service is found.
    pub product_service: Source,
    /// Where order-service is found.
    pub order_service: Source,
    /// Where notification-service is found.
    pub notification_service: Source,
    /// Where the gateway is found, if there is one.
    pub gateway: Option<Source>,
    /// The settings for calls to them.
    pub resilience: Resilience,
    /// The interval between samples of the history.
    pub poll_interval: Duration,
}

impl Config {
    /// Reads the environment.
    pub fn read(mut env: Env<'_>) -> Result<Self, ConfigError> {
        let service = ServiceConfig::read(&mut env, "analytics-service", 8005);
        let config = Self {
            user_service: service.source(&mut env, "USER_SERVICE_URL", 8001),
            product_service: service.source(&mut env, "PRODUCT_SERVICE_URL", 8002),
            order_service: service.source(&mut env, "ORDER_SERVICE_URL", 8003),
            notification_service: service.source(&mut env, "NOTIFICATION_SERVICE_URL", 8004),
            gateway: env
                .parsed("GATEWAY_URL", Source::EXPECTED, Source::parse)
                .map(|source| source.registered_at(&service.registry)),
            resilience: Resilience::read(&mut env),
            poll_interval: Duration::from_millis(
                env.number("POLL_INTERVAL_MS", 5000, 500..=60_000).into(),
            ),
            service,
        };
        env.finish(config)
    }
}

impl AsRef<ServiceConfig> for Config {
    fn as_ref(&self) -> &ServiceConfig {
        &self.service
    }
}
