//! What the gateway knows about the services.

use chassis::contract::health::{CircuitState, UpDown};
use chassis::upstream::instances::{InstanceState, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::cache::store::CacheStatus;
use crate::routes::DESTINATIONS;

/// The services and their instances.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The services, in the order of the route table.
    pub services: Vec<ServiceStatus>,
    /// The cache; null if it is off.
    pub cache: Option<CacheStatus>,
    /// The clients that sent too many requests in the last seconds, so that some were refused.
    pub limited_clients: usize,
}

/// A service.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServiceStatus {
    /// Its name.
    #[schema(examples("user-service"))]
    pub name: &'static str,
    /// What its paths begin with.
    #[schema(value_type = Vec<String>)]
    pub routes: &'static [&'static str],
    /// The circuit breaker of the gateway's own calls, as for a dashboard. What is forwarded has
    /// none: the client learns how a service answers.
    pub circuit: CircuitState,
    /// Its instances.
    pub instances: Vec<InstanceState>,
}

impl Status {
    /// The services as they are now.
    pub fn now(app: &App) -> Self {
        let services = DESTINATIONS.iter().zip(app.upstreams.iter());
        let services = services.map(|(to, upstream)| ServiceStatus {
            name: to.service,
            routes: to.prefixes,
            circuit: upstream.circuit(),
            instances: upstream.instances().states(),
        });
        Self {
            services: services.collect(),
            cache: app.cache.as_ref().map(|cache| cache.status()),
            limited_clients: app.limiter.limited(),
        }
    }
}

/// The gateway and the services behind it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    /// Always `gateway`.
    #[schema(examples("gateway"))]
    name: &'static str,
    /// The version of the gateway.
    #[schema(examples("0.1.0"))]
    version: &'static str,
    /// The services.
    services: Vec<ServiceOverview>,
}

/// A service behind the gateway.
#[derive(Debug, Serialize, ToSchema)]
struct ServiceOverview {
    /// Its name.
    #[schema(examples("user-service"))]
    name: &'static str,
    /// What its paths begin with.
    #[schema(value_type = Vec<String>)]
    routes: &'static [&'static str],
    /// The page to read and try its API.
    #[schema(examples("http://127.0.0.1:8001/docs"))]
    docs: String,
    /// Whether one of its instances gets requests.
    state: UpDown,
}

impl Overview {
    /// The overview of services that are in this state.
    pub fn new(status: &Status) -> Self {
        let services = status.services.iter().map(|service| {
            let mut instances = service.instances.iter();
            let up = instances.find(|one| one.state == State::Up);
            let any = up.or(service.instances.first());
            ServiceOverview {
                name: service.name,
                routes: service.routes,
                docs: any.map_or_else(String::new, |one| format!("{}/docs", one.url)),
                state: if up.is_some() {
                    UpDown::Up
                } else {
                    UpDown::Down
                },
            }
        });
        Self {
            name: "gateway",
            version: env!("CARGO_PKG_VERSION"),
            services: services.collect(),
        }
    }
}
