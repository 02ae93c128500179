//! `user-service healthcheck`: its exit status says whether the service on this machine is
//! alive. The image contains no other program that could ask: no shell, no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

use crate::serve::config::ServiceConfig;
use crate::upstream::client::connections;

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
    let url = format!("http://{}/health", local_address(config.listen));
    let unhealthy = |cause: String| format!("{name} is not healthy: {url} {cause}");
    let request = async {
        let http = connections().map_err(|error| format!("cannot be requested: {error}"))?;
        let answer = http.get(&url).send().await;
        let answer = answer.map_err(|_| "does not answer".to_owned())?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(format!("answers {status}"));
        }
        let health = answer.json::<Health>().await;
        let health = health.map_err(|_| "does not answer like a service of the shop".to_owned())?;
        if health.service != *name {
            return Err(format!("is answered by {}", health.service));
        }
        Ok(())
    };
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(())) => Ok(format!("{name} is healthy")),
        Ok(Err(cause)) => Err(unhealthy(cause)),
        Err(_) => Err(unhealthy(format!(
            "does not answer within {} s",
            TIMEOUT.as_secs()
        ))),
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
