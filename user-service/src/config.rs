//! The environment variables of user-service.

use chassis::env::{ConfigError, Env};
use chassis::serve::config::ServiceConfig;

/// The configuration of user-service.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings that all services have.
    pub service: ServiceConfig,
}

impl Config {
    /// Reads the environment.
    pub fn read(mut env: Env<'_>) -> Result<Self, ConfigError> {
        let config = Self {
            service: ServiceConfig::read(&mut env, "user-service", 8001),
        };
        env.finish(config)
    }
}

impl AsRef<ServiceConfig> for Config {
    fn as_ref(&self) -> &ServiceConfig {
        &self.service
    }
}
