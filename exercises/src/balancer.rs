//! Exercise 6: a balancer without a choice of its own.

use std::env;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use tokio::net::TcpListener;

/// An instance behind the balancer.
#[derive(Debug)]
pub struct Instance {
    url: String,
    in_flight: AtomicUsize,
}

impl Instance {
    /// The requests that it has not answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Given the instances, the place of the one that gets the next request.
type Choose = fn(&[Instance]) -> usize;

type Balancer = Arc<(Vec<Instance>, Choose, reqwest::Client)>;

/// Passes each GET on to the instance that `choose` names, of those in `INSTANCES`.
pub async fn serve(choose: Choose) -> io::Result<()> {
    let urls = env::var("INSTANCES").unwrap_or_default();
    let instance = |url: &str| Instance {
        url: url.to_owned(),
        in_flight: AtomicUsize::new(0),
    };
    let instances = urls.split(',').map(instance).collect();
    let listener = TcpListener::bind(crate::address()).await?;
    crate::listening(listener.local_addr()?);
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.map_err(io::Error::other)?;
    let balancer: Balancer = Arc::new((instances, choose, client));
    axum::serve(listener, Router::new().fallback(pass).with_state(balancer)).await
}

async fn pass(State(balancer): State<Balancer>, uri: Uri) -> Result<String, StatusCode> {
    let (instances, choose, client) = &*balancer;
    let chosen = instances.get(choose(instances));
    let chosen = chosen.ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    chosen.in_flight.fetch_add(1, Ordering::Relaxed);
    let answer = client.get(format!("{}{uri}", chosen.url)).send().await;
    chosen.in_flight.fetch_sub(1, Ordering::Relaxed);
    let answer = answer.map_err(|_| StatusCode::BAD_GATEWAY)?;
    answer.text().await.map_err(|_| StatusCode::BAD_GATEWAY)
}
