//! `user-service healthcheck`: its exit status says whether the service on this machine is
//! alive. The image contains no other program that could ask: no shell, no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

use crate::serve::config::ServiceConfig;
use crate::upstream::client::{Connections, Upstream};
use crate::upstream::error::CallError;
use crate::upstream::resilience::Resilience;
use crate::upstream::url::UpstreamUrl;

/// How long the service may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The fields of `GET /health` that are checked.
#[derive(Deserialize)]
struct Health {
    service: String,
}

/// Requests `/health` from the service with this configuration. Returns a sentence with the
/// result.
///
/// It does not request `/health/ready`, which also depends on upstreams: restarting a service
/// does not help while an upstream is down.
pub(crate) async fn check(config: &ServiceConfig) -> Result<String, String> {
    let name = &config.name;
    if config.listen.port() == 0 {
        return Err(
            "PORT is 0, which means any free port; set PORT to the port of the running service"
                .to_owned(),
        );
    }
    let address = local_address(config.listen);
    let url = format!("http://{address}/health");
    let unhealthy = |cause: String| format!("{name} is not healthy: {url} {cause}");
    let upstream = Upstream::new(
        "healthcheck",
        &UpstreamUrl::of(address).into(),
        Connections::new(),
        Resilience {
            timeout: TIMEOUT,
            deadline: TIMEOUT,
            retries: 0,
            ..Resilience::default()
        },
    );
    match upstream.get("/health").json::<Health>().await {
        Ok(health) if health.service == *name => Ok(format!("{name} is healthy")),
        Ok(health) => Err(unhealthy(format!("is answered by {}", health.service))),
        Err(CallError::TimedOut(_)) => Err(unhealthy(format!(
            "does not answer within {} s",
            TIMEOUT.as_secs()
        ))),
        Err(
            CallError::Failed { status, .. }
            | CallError::Refused { status, .. }
            | CallError::TurnedAway { status, .. },
        ) => Err(unhealthy(format!("answers {status}"))),
        Err(CallError::Unusable(_)) => Err(unhealthy(
            "does not answer like a service of the shop".to_owned(),
        )),
        Err(_) => Err(unhealthy("does not answer".to_owned())),
    }
}
/// The address at which the same machine reaches a service that listens on `address`.
fn local_address(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
