//! The state that all services have, and their replies to `/health`, `/health/ready` and
//! `/metrics`.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{Stream, StreamExt, TryStreamExt, poll_fn};
use tokio::sync::Semaphore;

use crate::contract::api::Api;
use crate::contract::error::ApiError;
use crate::contract::health::{DependencyState, Health, Readied, Readiness, UpDown};
use crate::contract::reply::{Body, Reply};
use crate::serve::config::{Limits, ServiceConfig};
use crate::serve::shutdown::Shutdown;
use crate::store::Capacity;
use crate::telemetry::context::Context;
use crate::telemetry::metrics::Metrics;
use crate::upstream::client::Upstream;
use crate::upstream::metrics::Calls;
use crate::values::time::{Timestamp, milliseconds};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
    dependencies: Vec<Dependency>,
    shutdown: Shutdown,
    limits: Limits,
    permits: Arc<Semaphore>,
    started: Instant,
}

/// A service that this one calls.
#[derive(Debug)]
pub struct Dependency {
    /// The upstream to call.
    pub upstream: Upstream,
    /// Whether this service cannot work without it.
    pub required: bool,
}

impl Service {
    /// A service that has just started.
    pub fn new(
        config: &ServiceConfig,
        api: &'static Api,
        dependencies: Vec<Dependency>,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        let upstreams = dependencies.iter().map(|one| one.upstream.clone());
        let calls = Calls::to(upstreams.collect());
        Arc::new(Self {
            name: config.name.clone(),
            api,
            metrics: Metrics::new(&config.name, config.limits.records, Box::new(calls)),
            dependencies,
            shutdown,
            permits: Arc::new(Semaphore::new(config.limits.in_flight as usize)),
            limits: config.limits,
            started: Instant::now(),
        })
    }

    /// The routes.
    pub fn api(&self) -> &'static Api {
        self.api
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

    /// The permits for requests in flight.
    pub(crate) fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
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
    /// concurrently.
    pub async fn ready(&self) -> Reply {
        let dependencies = join_all(self.dependencies.iter().map(Dependency::state)).await;
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
    pub fn metrics_text(&self) -> Reply {
        match self.metrics.text() {
            Ok(text) => Reply::ok(OPENMETRICS, text.into_bytes()),
            Err(cause) => ApiError::internal(cause).reply(),
        }
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

    async fn state(&self) -> DependencyState {
        let latency = self.upstream.ping().await.ok();
        DependencyState {
            name: self.upstream.name(),
            required: self.required,
            status: if latency.is_some() {
                UpDown::Up
            } else {
                UpDown::Down
            },
            circuit: self.upstream.circuit(),
            latency_ms: latency.map(milliseconds),
        }
    }
}
