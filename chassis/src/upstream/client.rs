//! Calls to other services. Each service wraps this in a client that speaks its
//! own words (`clients.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use reqwest::{Method, Url};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::contract::health::CircuitState;
use crate::upstream::breaker::Breaker;
use crate::upstream::call::Call;
use crate::upstream::error::CallError;
use crate::upstream::metrics::CallMetrics;
use crate::upstream::resilience::Resilience;
use crate::upstream::url::UpstreamUrl;

/// How long a look at another service's health may take.
const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// How long an unused connection is kept: less than the servers keep theirs, or
/// a call could meet one that is just being closed.
const IDLE: Duration = Duration::from_secs(15);

/// Another service of the shop. Cheap to clone; clones share the circuit, the
/// bulkhead and the counters.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub(super) guarded: Arc<Guarded>,
    pub(super) http: reqwest::Client,
    pub(super) timeout: Duration,
    pub(super) deadline: Option<Instant>,
}

/// What there is once for a service that is called.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) name: &'static str,
    pub(super) base: Url,
    pub(super) resilience: Resilience,
    pub(super) breaker: Option<Breaker>,
    pub(super) bulkhead: Option<Semaphore>,
    pub(super) metrics: CallMetrics,
}

/// The connections of one service to all that it calls.
pub fn connections() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        // The services are found by their variables, never by HTTP_PROXY, and
        // none of them redirects.
        .no_proxy()
        .redirect(Policy::none())
        .tcp_nodelay(true)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(256)
        .build()
}

impl Upstream {
    /// The service called `name`, found at `url`.
    pub fn new(
        name: &'static str,
        url: &UpstreamUrl,
        http: reqwest::Client,
        resilience: Resilience,
    ) -> Self {
        Self {
            guarded: Arc::new(Guarded {
                name,
                base: url.origin().clone(),
                resilience,
                breaker: resilience.circuit.map(Breaker::new),
                bulkhead: resilience
                    .bulkhead
                    .map(|most| Semaphore::new(most as usize)),
                metrics: CallMetrics::default(),
            }),
            http,
            timeout: resilience.timeout,
            deadline: None,
        }
    }

    /// The same with another time-out.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same, for calls that are all to be over at `deadline`. Without one,
    /// each call has the whole time of [`Resilience::deadline`].
    #[must_use]
    pub fn before(&self, deadline: Instant) -> Self {
        Self {
            deadline: Some(deadline),
            ..self.clone()
        }
    }

    /// The same over other connections.
    #[must_use]
    pub fn over(&self, http: reqwest::Client) -> Self {
        Self {
            http,
            ..self.clone()
        }
    }

    /// The name of the service.
    pub fn name(&self) -> &'static str {
        self.guarded.name
    }

    /// What its circuit breaker does with calls; closed if there is none.
    pub fn circuit(&self) -> CircuitState {
        let breaker = self.guarded.breaker.as_ref();
        breaker.map_or(CircuitState::Closed, |breaker| {
            breaker.state(Instant::now())
        })
    }

    pub(crate) fn metrics(&self) -> &CallMetrics {
        &self.guarded.metrics
    }

    /// To get `path`, which begins with a slash and holds nothing unescaped.
    pub fn get<'a>(&'a self, path: &'a str) -> Call<'a> {
        Call::new(self, Method::GET, path)
    }

    /// To get the headers of `path` alone.
    pub fn head<'a>(&'a self, path: &'a str) -> Call<'a> {
        Call::new(self, Method::HEAD, path)
    }

    /// To post `body` as JSON.
    pub fn post<'a>(&'a self, path: &'a str, body: &impl Serialize) -> Call<'a> {
        Call::new(self, Method::POST, path).with_body(body)
    }

    /// To patch with `body` as JSON.
    pub fn patch<'a>(&'a self, path: &'a str, body: &impl Serialize) -> Call<'a> {
        Call::new(self, Method::PATCH, path).with_body(body)
    }

    /// Whether the service is alive, and after how long it said so. Asks whatever
    /// the circuit says, and leaves the circuit as it is.
    pub async fn ping(&self) -> Result<Duration, CallError> {
        let started = Instant::now();
        self.get("/health").exchange(PING_TIMEOUT).await?;
        Ok(started.elapsed())
    }
}
