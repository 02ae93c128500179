//! The environment variables of order-service.

use std::time::Duration;

use chassis::env::{ConfigError, Env};
use chassis::serve::config::ServiceConfig;
use chassis::upstream::instances::source::Source;
use chassis::upstream::resilience::Resilience;

/// The configuration of order-service.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings that all services have.
    pub service: ServiceConfig,
    /// Where user-service is found.
    pub user_service: Source,
    /// Where product-service is found.
    pub product_service: Source,
    /// Where notification-service is found.
    pub notification_service: Source,
    /// The settings for calls to them.
    pub resilience: Resilience,
    /// How long an order waits for its notification, which is optional.
    pub notify_timeout: Duration,
}

impl Config {
    /// Reads the environment.
    pub fn read(mut env: Env<'_>) -> Result<Self, ConfigError> {
        let service = ServiceConfig::read(&mut env, "order-service", 8003);
        let resilience = Resilience::read(&mut env);
        let (notify, deadline) = (Duration::from_millis(300), resilience.deadline);
        let config = Self {
            user_service: service.source(&mut env, "USER_SERVICE_URL", 8001),
            product_service: service.source(&mut env, "PRODUCT_SERVICE_URL", 8002),
            notification_service: service.source(&mut env, "NOTIFICATION_SERVICE_URL", 8004),
            resilience,
            notify_timeout: Resilience::timeout(&mut env, "NOTIFY_TIMEOUT_MS", notify, deadline),
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
