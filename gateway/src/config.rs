//! The environment variables of the gateway.

use std::time::Duration;

use chassis::env::{ConfigError, Env};
use chassis::serve::config::ServiceConfig;
use chassis::upstream::resilience::Resilience;
use chassis::upstream::url::UpstreamUrl;

use crate::proxies::TrustedProxies;
use crate::rate_limit::RateLimit;
use crate::routes::DESTINATIONS;

/// The configuration of the gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings that all services have.
    pub service: ServiceConfig,
    /// The base URLs of the services, in the order of [`DESTINATIONS`].
    pub services: [UpstreamUrl; DESTINATIONS.len()],
    /// How long a service may take until its response begins.
    pub timeout: Duration,
    /// The proxies in front of the gateway.
    pub trusted_proxies: TrustedProxies,
    /// How many requests a second a client may send.
    pub rate_limit: RateLimit,
    /// The settings for the gateway's own calls, for the dashboard.
    pub resilience: Resilience,
}

impl Config {
    /// Reads the environment.
    pub fn read(mut env: Env<'_>) -> Result<Self, ConfigError> {
        let config = Self {
            service: ServiceConfig::read(&mut env, "gateway", 8000),
            services: DESTINATIONS
                .each_ref()
                .map(|to| env.get(to.variable, UpstreamUrl::local(to.port))),
            timeout: env.milliseconds("GATEWAY_TIMEOUT_MS", Duration::from_secs(5)),
            trusted_proxies: env.get("TRUSTED_PROXIES", TrustedProxies::default()),
            rate_limit: env.get("RATE_LIMIT", RateLimit::default()),
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
