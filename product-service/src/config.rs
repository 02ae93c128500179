//! The environment variables of product-service.

use chassis::env::{ConfigError, Env};
use chassis::serve::config::ServiceConfig;
use chassis::upstream::resilience::Resilience;
use chassis::upstream::url::UpstreamUrl;

/// The configuration of product-service.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings that all services have.
    pub service: ServiceConfig,
    /// The base URL of user-service.
    pub user_service: UpstreamUrl,
    /// The settings for calls to it.
    pub resilience: Resilience,
}

impl Config {
    /// Reads the environment.
    pub fn read(mut env: Env<'_>) -> Result<Self, ConfigError> {
        let config = Self {
            service: ServiceConfig::read(&mut env, "product-service", 8002),
            user_service: env.get("USER_SERVICE_URL", UpstreamUrl::local(8001)),
            resilience: Resilience::read(&mut env),
        };
        env.finish(config)
    }
}

impl AsRef<ServiceConfig> for Config {
    fn as_ref(&self) -> &ServiceConfig {
        &self.service
    }
}
