//! `user-service healthcheck`: whether the service on this machine is alive, told by
//! an exit status. Its image holds nothing else that could ask: no shell, no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

use crate::serve::config::ServiceConfig;
use crate::upstream::client::connections;

/// How long the service may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// As much of `GET /health` as is looked at.
#[derive(Deserialize)]
struct Health {
    service: String,
}

/// Asks the service that has this configuration for `/health`; says in a sentence
/// what came of it.
///
/// Not for `/health/ready`: that is about its neighbours, too, and nobody gets well
/// by being taken for ill when a neighbour is.
pub(crate) async fn check(config: &ServiceConfig) -> Result<String, String> {
    let name = &config.name;
    if config.listen.port() == 0 {
        return Err(
            "PORT is 0, any free port, and nobody can know which; set PORT to the one to ask"
                .to_owned(),
        );
    }
    let url = format!("http://{}/health", from_here(config.listen));
    let unhealthy = |cause: String| format!("{name} is not healthy: {url} {cause}");
    let request = async {
        let http = connections().map_err(|error| format!("cannot be asked: {error}"))?;
        let answer = http.get(&url).send().await;
        let answer = answer.map_err(|_| "does not answer".to_owned())?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(format!("answers {status}"));
        }
        let health = answer.json::<Health>().await;
        let health = health.map_err(|_| "does not answer as a service does".to_owned())?;
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

/// Where a service that listens on `address` is found from its own machine.
fn from_here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
