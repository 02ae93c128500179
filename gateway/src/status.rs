//! What the gateway knows about the services.

use std::fmt::Write as _;

use chassis::contract::error::ApiError;
use chassis::contract::health::UpDown;
use chassis::values::time::milliseconds;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::routes::DESTINATIONS;

/// The services and their instances.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The services, in the order of the route table.
    pub services: Vec<ServiceStatus>,
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
    /// Its instances.
    pub instances: Vec<InstanceStatus>,
}

/// An instance of a service.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Its base URL.
    #[schema(examples("http://127.0.0.1:8001"))]
    pub url: String,
    /// How the gateway knows it: `configured`.
    pub source: &'static str,
    /// Whether it answers now.
    pub state: UpDown,
    /// The forwarded requests that are not answered to the end.
    pub in_flight: u64,
    /// The time to the head of a forwarded response in milliseconds, the recent ones weighted
    /// more; null if there was none.
    pub latency_ms: Option<f64>,
    /// The forwarded requests, each attempt counted.
    pub requests: u64,
    /// Those without a response, or with a 5xx.
    pub failures: u64,
}

impl Status {
    /// The services as they are now.
    pub async fn now(app: &App) -> Result<Self, ApiError> {
        let states = app.service.dependencies().await?;
        let state = |name| {
            let found = states.iter().find(|state| state.name == name);
            found.map_or(UpDown::Down, |state| state.status)
        };
        let services = DESTINATIONS.iter().zip(app.services.iter());
        let services = services.map(|(to, instances)| ServiceStatus {
            name: to.service,
            routes: to.prefixes,
            instances: instances
                .all()
                .map(|instance| {
                    let tally = instance.tally();
                    InstanceStatus {
                        url: instance.url.as_str().to_owned(),
                        source: "configured",
                        state: state(to.service),
                        in_flight: tally.in_flight,
                        latency_ms: tally.latency.map(milliseconds),
                        requests: tally.requests,
                        failures: tally.failures,
                    }
                })
                .collect(),
        });
        Ok(Self {
            services: services.collect(),
            limited_clients: app.limiter.limited(),
        })
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
    /// Whether one of its instances answers now.
    state: UpDown,
}

impl Overview {
    /// The overview of services that are in this state.
    pub fn new(status: &Status) -> Self {
        let services = status.services.iter().map(|service| {
            let is_up = |one: &InstanceStatus| one.state == UpDown::Up;
            let up = service.instances.iter().find(|one| is_up(one));
            let any = up.or(service.instances.first());
            ServiceOverview {
                name: service.name,
                routes: service.routes,
                docs: any.map_or_else(String::new, |one| format!("{}/docs", one.url)),
                state: up.map_or(UpDown::Down, |one| one.state),
            }
        });
        Self {
            name: "gateway",
            version: env!("CARGO_PKG_VERSION"),
            services: services.collect(),
        }
    }

    /// As a page for a browser.
    pub fn page(&self) -> String {
        let mut rows = String::new();
        for service in &self.services {
            let links = service.routes.iter().map(|route| {
                // Relative, so that they work behind a path prefix.
                let relative = route.trim_start_matches('/');
                format!("<a href=\"{relative}\"><code>{route}</code></a>")
            });
            let links: Vec<_> = links.collect();
            let state = match service.state {
                UpDown::Up => "up",
                UpDown::Down => "down",
            };
            // Writing to a string never fails.
            let _ = writeln!(
                rows,
                "<tr><th scope=\"row\">{}</th><td>{state}</td><td>{}</td><td><a href=\"{}\">docs</a></td></tr>",
                service.name,
                links.join(" "),
                service.docs
            );
        }
        include_str!("index.html").replace("{services}", &rows)
    }
}
