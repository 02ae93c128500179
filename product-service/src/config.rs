//! The environment variables of product-service.

use chassis::env::{ConfigError, Env};
use chassis::serve::config::ServiceConfig;
use chassis::upstream::instances::source::Source;
use chassis::upstream::resilience::Resilience;

/// The configuration of product-service.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings that all services have.
    pub service: ServiceConfig,
    /// Where user-service is found.
    pub user_service: Source,
    /// The settings for calls to it.
    pub resilience: Resilience,
}

impl Config {
    /// Reads the environment.
    pub fn read(mut env: Env<'_>) -> Result<Self, ConfigError> {
        let service = ServiceConfig::read(&mut env, "product-service", 8002);
        let config = Self {
            user_service: service.source(&mut env, "USER_SERVICE_URL", 8001),
            resilience: Resilience::read(&mut env),
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
