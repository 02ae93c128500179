//! The state that all services have, and their replies to `/health`, `/health/ready` and
//! `/metrics`.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{Stream, StreamExt, TryStreamExt, poll_fn};
use prometheus_client::collector::Collector;

use crate::contract::accept::Accept;
use crate::contract::api::{Api, Route, unrouted};
use crate::contract::error::ApiError;
use crate::contract::health::{DependencyState, Health, Readied, Readiness, UpDown};
use crate::contract::idempotency::Keys;
use crate::contract::reply::{Body, Reply};
use crate::lab::data::Data;
use crate::lab::{Asked, Lab};
use crate::serve::admission::Admission;
use crate::serve::config::{Limits, ServiceConfig};
use crate::serve::shutdown::Shutdown;
use crate::store::Capacity;
use crate::telemetry::context::Context;
use crate::telemetry::metrics::{Metrics, prometheus_text};
use crate::upstream::client::Upstream;
use crate::upstream::metrics::Calls;
use crate::upstream::shared_poll::SharedPoll;
use crate::values::time::{Timestamp, milliseconds};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A running service. All of its requests share it.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use std::sync::LazyLock;
///
/// use chassis::contract::api::{About, Api};
/// use chassis::env::Env;
/// use chassis::serve::config::ServiceConfig;
/// use chassis::serve::service::Service;
/// use chassis::serve::shutdown::Shutdown;
/// use utoipa::openapi::OpenApi;
///
/// static API: LazyLock<Api> = LazyLock::new(|| {
///     let about = About {
///         name: "things-service",
///         framework: "axum",
///         version: "0.1.0",
///         description: "Things of the shop.",
///     };
///     Api::new(about, OpenApi::default())
/// });
///
/// let config = ServiceConfig::read(&mut Env::process(), "things-service", 8006);
/// let service = Service::new(&config, &API, Vec::new(), Shutdown::default());
/// assert_eq!(service.health().status, 200);
/// # });
/// ```
#[derive(Debug)]
pub struct Service {
    name: String,
    api: &'static Api,
    metrics: Metrics,
    /// One check of all dependencies for all who ask at the same time: `/health/ready` is
    /// open to everyone, and exempt from the limit on requests.
    dependencies: SharedPoll<Vec<DependencyState>>,
    shutdown: Shutdown,
    limits: Limits,
    admission: Admission,
    headers: &'static [(&'static str, &'static str)],
    lab: Option<Lab>,
    started: Instant,
}

/// What a program has besides what all services have.
#[derive(Debug, Default)]
pub struct Additions {
    /// Its own metrics. No label may have values that a client can invent.
    pub metrics: Vec<Box<dyn Collector>>,
    /// The headers of each of its responses, in lower case. The program sets them itself, except
    /// where a head is refused before the program sees it.
    pub headers: &'static [(&'static str, &'static str)],
}

/// A service that this one calls.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// The upstream to call.
    pub upstream: Upstream,
    /// Whether this service cannot work without it.
    pub required: bool,
}

impl Service {
    /// A service that has just started.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: the checks of its dependencies run on it.
    pub fn new(
        config: &ServiceConfig,
        api: &'static Api,
        dependencies: Vec<Dependency>,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        Self::with(config, api, dependencies, shutdown, Additions::default())
    }

    /// The same with `additions`.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn with(
        config: &ServiceConfig,
        api: &'static Api,
        dependencies: Vec<Dependency>,
        shutdown: Shutdown,
        additions: Additions,
    ) -> Arc<Self> {
        let upstreams = dependencies.iter().map(|one| one.upstream.clone());
        let mut metrics: Vec<Box<dyn Collector>> = vec![Box::new(Calls::to(upstreams.collect()))];
        metrics.extend(additions.metrics);
        if config.lab {
            tracing::warn!("LAB_MODE is on: whoever reaches this port can break and empty it");
        }
        Arc::new(Self {
            name: config.name.clone(),
            api,
            metrics: Metrics::new(&config.name, config.limits.records, metrics),
            dependencies: SharedPoll::new(Vec::new(), move |before| {
                check(dependencies.clone(), before)
            }),
            lab: config
                .lab
                .then(|| Lab::new(&config.name, config.variables.clone(), shutdown.in_flight())),
            shutdown,
            admission: Admission::new(&config.limits),
            limits: config.limits,
            headers: additions.headers,
            started: Instant::now(),
        })
    }

    /// The routes.
    pub fn api(&self) -> &'static Api {
        self.api
    }

    /// The headers of each of its responses, besides those that all services have.
    pub(crate) fn headers(&self) -> &'static [(&'static str, &'static str)] {
        self.headers
    }

    /// The shutdown of this service.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The capacity of its store.
    pub fn capacity(&self) -> Capacity {
        Capacity::new(self.limits.records as usize, self.metrics.records.clone())
    }

    /// The idempotency keys of its changes, each of which takes at most `longest`.
    pub fn keys(&self, longest: Duration) -> Keys {
        let keys = Keys::new(self.limits.keys, longest);
        match &self.lab {
            Some(lab) => keys.by(lab.clock().clone()),
            None => keys,
        }
    }

    /// The route of a path.
    pub fn route(&self, path: &str) -> Option<&'static Route> {
        self.api.route(path).or_else(|| {
            self.lab.as_ref()?;
            Lab::route(path).or_else(|| self.api.route_to_lab(path))
        })
    }

    /// The lab, if this service has one.
    pub fn lab(&self) -> Option<&Lab> {
        self.lab.as_ref()
    }

    /// Lets the lab reset and seed `data`, in this order.
    pub fn give_to_lab<const N: usize>(&self, data: [Arc<dyn Data>; N]) {
        if let Some(lab) = &self.lab {
            lab.set_data(data.into());
        }
    }

    /// The reply to a request to a path below `/lab/`. `header` finds a header by its name in
    /// lower case, and `read` reads the body.
    pub async fn lab_reply<'a>(
        &self,
        asked: Asked<'_>,
        header: impl Fn(&'static str) -> Option<&'a str>,
        read: impl Future<Output = Result<Bytes, ApiError>>,
    ) -> Reply {
        let wished = self.lab.as_ref().zip(asked.wish());
        let Some((lab, wish)) = wished else {
            let route = self.route(asked.path);
            return unrouted(route, asked.method, asked.path, header);
        };
        let answered = async {
            let body = if wish.has_body() {
                read.await?
            } else {
                Bytes::new()
            };
            lab.answer(wish, asked.query, &body, self.api).await
        };
        answered.await.unwrap_or_else(ApiError::reply)
    }

    /// Awaits `reading`, the whole body of the current request, as long as its client sends
    /// fast enough, and within the time-out for bodies.
    pub async fn receive<F: Future>(&self, reading: F) -> Result<F::Output, ApiError> {
        self.admission.receive(self.limits.body, reading).await
    }

    /// Awaits `passing`, which passes on the whole body of the current request as it arrives, as
    /// long as its client sends fast enough, and within the time-out for bodies.
    pub async fn pass<F: Future>(&self, passing: F) -> Result<F::Output, ApiError> {
        self.admission.pass(self.limits.body, passing).await
    }

    /// What it admits.
    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// `GET /health`: the service is alive. Calls no other service.
    pub fn health(&self) -> Reply {
        Reply::json(
            200,
            &Health {
                status: "healthy",
                service: self.name.clone(),
                framework: self.api.about.framework,
                version: self.api.about.version,
                time: Timestamp::now(),
                uptime_seconds: self.started.elapsed().as_secs(),
            },
        )
    }

    /// `GET /health/ready`: whether the service can do its work. Calls all dependencies
    /// concurrently, once for all who ask at the same time.
    pub async fn ready(&self) -> Reply {
        let dependencies = match self.dependencies.fresh().await {
            Ok(dependencies) => dependencies,
            Err(bug) => return ApiError::from(bug).reply(),
        };
        let down = |required| {
            dependencies
                .iter()
                .any(|one| one.required == required && !one.can_be_called())
        };
        let status = if self.shutdown.is_requested() || down(true) {
            Readied::Unavailable
        } else if down(false) {
            Readied::Degraded
        } else {
            Readied::Ready
        };
        let code = if status == Readied::Unavailable {
            Context::current().record_cause(not_ready(&dependencies));
            503
        } else {
            200
        };
        Reply::json(
            code,
            &Readiness {
                status,
                service: self.name.clone(),
                dependencies,
            },
        )
    }

    /// A reply whose body is `stream`, which is polled within the current request. A shutdown
    /// ends the body as if `stream` had ended.
    pub fn stream(
        &self,
        content_type: &'static str,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Reply {
        let (context, shutdown) = (Context::current(), self.shutdown.clone());
        let cause = context.clone();
        let mut stream = stream
            .inspect_err(move |error| cause.record_cause(format!("the stream failed: {error}")))
            .take_until(Box::pin(async move { shutdown.requested().await }))
            .boxed();
        let stream = poll_fn(move |cx| context.clone().enter(|| stream.poll_next_unpin(cx)));
        Reply::ok(content_type, Body::Stream(stream.boxed()))
    }

    /// `GET /metrics`, for Prometheus.
    pub fn metrics_text(&self, accept: &Accept) -> Reply {
        let format = accept.prefers(&[PROMETHEUS, OPENMETRICS]);
        let text = match self.metrics.text() {
            Ok(text) if format == PROMETHEUS => prometheus_text(&text),
            Ok(text) => text,
            Err(cause) => return ApiError::internal(cause).reply(),
        };
        Reply::ok(format, text.into_bytes()).with_header("vary", "Accept")
    }
}

/// Why a service is not ready, for its log.
fn not_ready(dependencies: &[DependencyState]) -> String {
    let missing = dependencies
        .iter()
        .filter(|one| one.required && !one.can_be_called());
    let missing: Vec<_> = missing.map(|one| one.name).collect();
    if missing.is_empty() {
        "shutting down".to_owned()
    } else {
        format!("unavailable without {}", missing.join(" and "))
    }
}

impl Dependency {
    /// A dependency that this service cannot work without.
    pub fn required(upstream: Upstream) -> Self {
        Self {
            upstream,
            required: true,
        }
    }

    /// A dependency that this service can work without.
    pub fn optional(upstream: Upstream) -> Self {
        Self {
            upstream,
            required: false,
        }
    }

    /// The state now. `before` is the one before, if there is one.
    async fn state(&self, before: Option<UpDown>) -> DependencyState {
        let (upstream, pinged) = (self.upstream.name(), self.upstream.ping().await);
        match (&pinged, before) {
            // One line when it goes down, not one for each check.
            (Err(_), Some(UpDown::Down)) | (Ok(_), None | Some(UpDown::Up)) => {}
            (Err(error), _) => tracing::warn!(upstream, %error, "not ready: it is down"),
            (Ok(_), Some(UpDown::Down)) => tracing::info!(upstream, "it is up again"),
        }
        DependencyState {
            name: upstream,
            required: self.required,
            status: if pinged.is_ok() {
                UpDown::Up
            } else {
                UpDown::Down
            },
            circuit: self.upstream.circuit(),
            latency_ms: pinged.ok().map(milliseconds),
        }
    }
}

/// The states of all dependencies. `before` are the ones before, none at first.
async fn check(
    dependencies: Vec<Dependency>,
    before: Vec<DependencyState>,
) -> Vec<DependencyState> {
    let states = dependencies.iter().enumerate().map(|(n, dependency)| {
        let before = before.get(n).map(|state| state.status);
        dependency.state(before)
    });
    join_all(states).await
}
