//! The environment variables of the gateway.

use std::time::Duration;

use chassis::env::{ConfigError, Env};
use chassis::serve::config::ServiceConfig;
use chassis::upstream::instances::source::Source;
use chassis::upstream::resilience::Resilience;

use crate::proxies::TrustedProxies;
use crate::rate_limit::RateLimit;
use crate::routes::DESTINATIONS;
use crate::tls;

/// The configuration of the gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings that all services have.
    pub service: ServiceConfig,
    /// Where the services are found, in the order of [`DESTINATIONS`].
    pub services: [Source; DESTINATIONS.len()],
    /// How long a service may take until its response begins.
    pub timeout: Duration,
    /// The proxies in front of the gateway.
    pub trusted_proxies: TrustedProxies,
    /// How long a response of product-service is kept; zero keeps none.
    pub cache_ttl: Duration,
    /// The most memory for responses that are kept, in bytes.
    pub cache_max_bytes: usize,
    /// How many requests a second a client may send.
    pub rate_limit: RateLimit,
    /// Where the gateway listens for TLS, if it does.
    pub tls: Option<tls::Settings>,
    /// The settings for the gateway's own calls, and how requests are spread over instances.
    pub resilience: Resilience,
}

impl Config {
    /// Reads the environment.
    pub fn read(mut env: Env<'_>) -> Result<Self, ConfigError> {
        let service = ServiceConfig::read(&mut env, "gateway", 8000);
        let config = Self {
            services: DESTINATIONS
                .each_ref()
                .map(|to| service.source(&mut env, to.variable, to.port)),
            timeout: env.milliseconds("GATEWAY_TIMEOUT_MS", Duration::from_secs(5)),
            trusted_proxies: env.get("TRUSTED_PROXIES", TrustedProxies::default()),
            cache_ttl: Duration::from_millis(
                env.number("CACHE_TTL_MS", 1000, 0..=3_600_000).into(),
            ),
            cache_max_bytes: env.number("CACHE_MAX_BYTES", 16 << 20, 64 << 10..=1 << 30) as usize,
            rate_limit: env.get("RATE_LIMIT", RateLimit::default()),
            tls: tls::Settings::read(&mut env, service.listen.ip()),
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
