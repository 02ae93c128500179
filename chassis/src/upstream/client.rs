//! Another service, as its callers see it. Each caller wraps it in a client with
//! methods of its own domain (`clients.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Method;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::{Deserialize, Serialize};

use crate::contract::health::CircuitState;
use crate::upstream::breaker::Breaker;
use crate::upstream::budget::RetryBudget;
use crate::upstream::bulkhead::Bulkhead;
use crate::upstream::call::Call;
use crate::upstream::error::CallError;
use crate::upstream::instances::source::Source;
use crate::upstream::instances::{Instances, Settings};
use crate::upstream::metrics::CallMetrics;
use crate::upstream::resilience::Resilience;

/// How long another service's `/health` may take.
const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// How long it may take to connect: less than a call may take, so that one to an address where
/// nobody answers still has time for another instance. Nothing was sent until then.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// The names by which the services of the shop can be mistaken for each other.
const SERVICES: [&str; 5] = [
    "user-service",
    "product-service",
    "order-service",
    "notification-service",
    "analytics-service",
];

/// How long an idle connection is kept: less than the servers keep theirs, or a call
/// could use a connection that the server is closing.
const IDLE: Duration = Duration::from_secs(15);

/// Another service of the shop, with all of its instances. Cheap to clone; clones share the
/// instances, the circuit breaker, the bulkhead and the metrics.
///
/// ```no_run
/// use chassis::upstream::client::{Connections, Upstream};
/// use chassis::upstream::instances::source::Source;
/// use chassis::upstream::resilience::Resilience;
/// # #[derive(serde::Deserialize)] struct User { name: String }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let source = Source::local(8001);
/// let http = Connections::new();
/// let users = Upstream::new("user-service", &source, http, Resilience::default());
/// match users.get("/api/users/7").find::<User>().await? {
///     Some(user) => println!("user 7 is {}", user.name),
///     None => println!("there is no user 7"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Upstream {
    pub(super) guarded: Arc<Guarded>,
    pub(super) http: Connections,
    pub(super) timeout: Duration,
    pub(super) deadline: Option<Instant>,
}

/// The field of `/health` that says who answers.
#[derive(Deserialize)]
struct Health {
    service: String,
}

/// What all clones of an [`Upstream`] share.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) name: &'static str,
    pub(super) instances: Arc<Instances>,
    pub(super) resilience: Resilience,
    pub(super) breaker: Option<Breaker>,
    pub(super) bulkhead: Option<Bulkhead>,
    pub(super) budget: RetryBudget,
    pub(super) metrics: CallMetrics,
}

/// A connection pool, which one service uses for all services that it calls. Cheap to
/// clone; clones share the pool.
///
/// hyper's own pool, without the conveniences of `reqwest`: a request here has a fixed
/// address, no proxy, no redirect and no cookie, and `reqwest` costs a third more for it.
#[derive(Clone, Debug)]
pub struct Connections(pub(super) Client<HttpConnector, Full<Bytes>>);

impl Connections {
    /// A pool without connections.
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(256)
            .build(connector);
        Self(pool)
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self::new()
    }
}

impl Upstream {
    /// The service called `name`, with the instances that `source` names.
    ///
    /// # Panics
    ///
    /// As [`Instances::new`].
    pub fn new(
        name: &'static str,
        source: &Source,
        http: Connections,
        resilience: Resilience,
    ) -> Self {
        let settings = Settings {
            balance: resilience.balance,
            ..Settings::default()
        };
        let instances = Instances::new(name, source, settings);
        Self::over(Arc::new(instances), http, resilience)
    }

    /// The service with these instances, which others may use as well.
    pub fn over(instances: Arc<Instances>, http: Connections, resilience: Resilience) -> Self {
        Self {
            guarded: Arc::new(Guarded {
                name: instances.service(),
                instances,
                resilience,
                breaker: resilience.circuit.map(Breaker::new),
                bulkhead: resilience.bulkhead.map(Bulkhead::new),
                budget: RetryBudget::new(resilience.retry_budget),
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

    /// The same with a deadline that all its calls share, retries included. Without one,
    /// each call has [`Resilience::deadline`] for itself.
    #[must_use]
    pub fn before(&self, deadline: Instant) -> Self {
        Self {
            deadline: Some(deadline),
            ..self.clone()
        }
    }

    /// The name of the service.
    pub fn name(&self) -> &'static str {
        self.guarded.name
    }

    /// Its instances.
    pub fn instances(&self) -> &Instances {
        &self.guarded.instances
    }

    /// The state of its circuit breaker; closed if there is none.
    pub fn circuit(&self) -> CircuitState {
        let breaker = self.guarded.breaker.as_ref();
        breaker.map_or(CircuitState::Closed, |breaker| {
            breaker.state(Instant::now())
        })
    }

    pub(crate) fn metrics(&self) -> &CallMetrics {
        &self.guarded.metrics
    }

    /// A GET of `path`, which begins with a slash and is percent-encoded.
    pub fn get<'a>(&'a self, path: &'a str) -> Call<'a> {
        Call::new(self, Method::GET, path)
    }

    /// A HEAD of `path`.
    pub fn head<'a>(&'a self, path: &'a str) -> Call<'a> {
        Call::new(self, Method::HEAD, path)
    }

    /// A POST of `body` as JSON.
    pub fn post<'a>(&'a self, path: &'a str, body: &impl Serialize) -> Call<'a> {
        Call::new(self, Method::POST, path).with_body(body)
    }

    /// A PATCH with `body` as JSON.
    pub fn patch<'a>(&'a self, path: &'a str, body: &impl Serialize) -> Call<'a> {
        Call::new(self, Method::PATCH, path).with_body(body)
    }

    /// Calls `/health`, checks that no other service of the shop answers, and returns how long
    /// the response took. Ignores the circuit breaker and does not change it.
    pub async fn ping(&self) -> Result<Duration, CallError> {
        let started = Instant::now();
        let answer = self.get("/health").exchange(PING_TIMEOUT, None, 0).await;
        let answer = answer.map_err(|(error, _)| error)?;
        let taken = started.elapsed();
        self.check_name(&answer.json::<Health>()?.service)?;
        Ok(taken)
    }

    /// Fails if `name`, which answers in `/health`, is another service of the shop: then the
    /// address is wrong. Any other name is one that an operator has chosen (`SERVICE_NAME`).
    pub fn check_name(&self, name: &str) -> Result<(), CallError> {
        let Guarded {
            name: expected,
            instances,
            ..
        } = &*self.guarded;
        if !is_mistaken_for(name, expected) {
            return Ok(());
        }
        let at = instances.shown();
        Err(CallError::Unusable(format!(
            "{name} answers at {at}, which should be the address of {expected}"
        )))
    }
}

/// Whether the one that answers by this name is another service of the shop than `expected`.
pub(super) fn is_mistaken_for(name: &str, expected: &str) -> bool {
    name != expected && SERVICES.contains(&name)
}
