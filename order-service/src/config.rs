//! The environment variables of order-service.

use std::time::Duration;

use chassis::env::{ConfigError, Env};
use chassis::serve::config::ServiceConfig;
use chassis::upstream::resilience::Resilience;
use chassis::upstream::url::UpstreamUrl;

/// All that order-service is configured with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every service has.
    pub service: ServiceConfig,
    /// Where user-service is.
    pub user_service: UpstreamUrl,
    /// Where product-service is.
    pub product_service: UpstreamUrl,
    /// Where notification-service is.
    pub notification_service: UpstreamUrl,
    /// How they are called.
    pub resilience: Resilience,
    /// How long an order waits for its notification, which it can do without.
    pub notify_timeout: Duration,
}

impl Config {
    /// Reads the environment.
    pub fn read(mut env: Env<'_>) -> Result<Self, ConfigError> {
        let resilience = Resilience::read(&mut env);
        let (notify, deadline) = (Duration::from_millis(300), resilience.deadline);
        let config = Self {
            service: ServiceConfig::read(&mut env, "order-service", 8003),
            user_service: env.get("USER_SERVICE_URL", UpstreamUrl::local(8001)),
            product_service: env.get("PRODUCT_SERVICE_URL", UpstreamUrl::local(8002)),
            notification_service: env.get("NOTIFICATION_SERVICE_URL", UpstreamUrl::local(8004)),
            resilience,
            notify_timeout: Resilience::timeout(&mut env, "NOTIFY_TIMEOUT_MS", notify, deadline),
        };
        env.finish(config)
    }
}

impl AsRef<ServiceConfig> for Config {
    fn as_ref(&self) -> &ServiceConfig {
        &self.service
    }
}
