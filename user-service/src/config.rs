//! The environment variables of user-service.

use chassis::env::{ConfigError, Env};
use chassis::serve::config::ServiceConfig;

/// All that user-service is configured with.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every service has.
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
