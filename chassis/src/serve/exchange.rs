//! One request and its response: the limit on requests in flight, the headers of every
//! response, the metrics, the span and the log line, the same on all five frameworks.
//!
//! The middleware of each framework calls [`Exchange::begin`], [`Exchange::run`] and
//! [`Exchange::answered`], in this order. Then it gives the exchange to the response body:
//! dropped with the body, the exchange ends. Its in-flight permit stays with the connection
//! until the client has read the response.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures_util::FutureExt;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::contract::api::Route;
use crate::contract::error::ApiError;
use crate::contract::reply::Reply;
use crate::contract::response_memory::{RESPONDING, Responding};
use crate::serve::connections::Holder;
use crate::serve::service::Service;
use crate::telemetry::context::Context;
use crate::telemetry::recorder::{Begun, Created, What};
use crate::telemetry::spans;
use crate::values::text::shortened;
use crate::values::time::milliseconds;

/// The status in the log when the client disconnected before the response was ready. No
/// standard has it; nginx made it known.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The headers on every response, in lower case. The id of the request is added to them.
pub const STANDARD_HEADERS: [(&str, &str); 2] = [
    ("access-control-allow-origin", "*"),
    (
        "access-control-expose-headers",
        "X-Request-Id, X-Total-Count, Link, Location, Allow, Retry-After, Idempotency-Replayed, \
         Accept-Encoding",
    ),
];

/// One request in progress. Dropped, it is counted and logged: when its response body has
/// been sent or has failed, or when the client disconnects earlier.
#[derive(Debug)]
pub struct Exchange {
    service: Arc<Service>,
    context: Context,
    method: &'static str,
    /// The path in the log, cut to its bound.
    path: String,
    route: Option<&'static Route>,
    started: Instant,
    /// The same, if its span is kept.
    begun: Option<Begun>,
    /// The status of the response; 0 while there is none.
    status: AtomicU16,
    /// The record that the request created, if its span is kept.
    created: OnceLock<Created>,
    /// The connection, which keeps the in-flight permit.
    holder: Arc<Holder>,
    /// What a reset of the lab waits for.
    _in_flight: Option<TaskTrackerToken>,
}

impl Exchange {
    /// Begins with a request that has arrived. `header` finds the values of a header by its
    /// name in lower case, one for each line.
    pub fn begin<'a, V>(
        service: &Arc<Service>,
        method: &str,
        path: &str,
        header: impl Fn(&'static str) -> V,
    ) -> Self
    where
        V: Iterator<Item = &'a [u8]>,
    {
        service.metrics().in_flight.inc();
        let method = known_method(method);
        let route = service.route(path);
        let path = shortened(path).into_owned();
        let template = route.map(|route| route.template.as_str());
        // A stream ends when its client wants, so a reset must not wait for that.
        let counts = !route.is_some_and(|route| route.is_always_open() || route.is_stream());
        let lab = service.lab().filter(|_| counts);
        let recorder = service.lab().map(|lab| Arc::clone(lab.recorder()));
        Self {
            _in_flight: lab.map(|lab| lab.in_flight().begin()),
            context: Context::received(header, spans::server(method, template, &path), recorder),
            method,
            path,
            route,
            started: Instant::now(),
            begun: service.lab().map(|_| Begun::now()),
            status: AtomicU16::new(0),
            created: OnceLock::new(),
            holder: Holder::current(),
            service: Arc::clone(service),
        }
    }

    /// The ids of this request.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Whether the contract has a route for this path. Some frameworks ignore slashes and
    /// would serve another route.
    pub fn has_route(&self) -> bool {
        self.route.is_some()
    }

    /// Runs the handler as part of this request. If the limit on requests in flight is
    /// reached, returns the refusal instead, before the body is read. A panic in the handler
    /// becomes an error of this request alone.
    pub async fn run<F: Future>(&self, handler: F) -> Result<F::Output, Reply> {
        if self.route.is_some_and(|route| !route.is_always_open()) {
            self.acquire_permit().await?;
        }
        let cut = match (self.service.lab(), self.route) {
            (Some(lab), Some(route)) if lab.faults().any() && !route.is_always_open() => {
                let stopping = self.service.shutdown().requested();
                let faults = lab.faults();
                // In a box, so that a service without a lab has no room for it.
                Box::pin(faults.act(&self.context, self.method, route, stopping)).await?
            }
            _ => None,
        };
        let responding = Responding {
            memory: Arc::<Service>::clone(&self.service),
            cut,
        };
        let handler = RESPONDING.scope(responding, handler);
        let caught = AssertUnwindSafe(self.context.clone().scope(handler))
            .catch_unwind()
            .await;
        caught.map_err(|panic| {
            let error =
                ApiError::internal(format!("the handler panicked: {}", panic_message(&*panic)));
            self.context.clone().enter(|| error.reply())
        })
    }

    /// Takes an in-flight permit, which the connection keeps until it has written the response.
    async fn acquire_permit(&self) -> Result<(), Reply> {
        let admitted = self.service.admission().admit(&self.holder).await;
        admitted.map_err(|error| self.refusal(error))
    }

    /// Reserves memory for a response body of `bytes`, if it is large: its client may not read
    /// it for a while. Returns the refusal that takes its place if it does not fit.
    ///
    /// A body of unknown size is a stream, which is made as its client reads it. A file of the
    /// page is never copied, and operators must be able to look at a service that is overloaded.
    pub fn reserve_memory(&self, bytes: Option<u64>) -> Result<(), Reply> {
        let counts = self.route.is_some_and(Route::has_limit);
        let Some(bytes) = bytes.filter(|_| counts) else {
            return Ok(());
        };
        let made = self.service.admission().respond(&self.holder, bytes);
        made.map_err(|error| self.refusal(error))
    }

    fn refusal(&self, error: ApiError) -> Reply {
        self.context.clone().enter(|| error.reply())
    }

    /// The head of the response is ready. `location` is what is in its header `Location`.
    pub fn answered(&self, status: u16, location: Option<&[u8]>) {
        self.status.store(status, Ordering::Relaxed);
        if self.begun.is_some()
            && status == 201
            && let Some(created) = location.and_then(Created::at)
        {
            // A response has one head.
            let _ = self.created.set(created);
        }
    }

    /// Keeps the span for the lab. Those of the lab itself, of health and metrics, and of those
    /// who watch would push out those that somebody wants to see.
    fn keep_span(&self, status: u16) {
        let watches = |route: &Route| route.is_always_open() || route.is_stream();
        let is_watch = self.route.is_some_and(watches);
        if let (Some(recorder), Some(begun), false) =
            (self.context.recorder(), self.begun, is_watch)
        {
            let ids = (self.context.trace().span, self.context.parent());
            let what = What::Server {
                method: self.method,
                route: self.route.map(|route| route.template.as_str()),
                created: self.created.get().copied(),
            };
            recorder.record(&self.context, ids, begun, Some(status), what);
        }
    }

    fn record(&self, status: u16) {
        let route = self
            .route
            .map_or("unmatched", |route| route.template.as_str());
        let taken = self.started.elapsed();
        self.service.metrics().in_flight.dec();
        self.service
            .metrics()
            .answered(self.method, route, status, taken);

        spans::end_server(self.context.span(), status);
        self.keep_span(status);
        let duration_ms = milliseconds(taken);
        let (method, path, cause) = (self.method, self.path.as_str(), self.context.cause());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    method,
                    route,
                    path,
                    status,
                    durationMs = duration_ms,
                    cause,
                    "request"
                )
            };
        }
        // The formatter takes the ids from the context of the event.
        self.context.clone().enter(|| {
            let is_poll = self.route.is_some_and(Route::is_always_open);
            // A stream that fails has sent its status before. 501 is about what the client
            // sends.
            let is_failure = status >= 500 && status != 501 || cause.is_some();
            if is_poll && status == 503 {
                // The service says that it is not ready: something else is wrong.
                line!(warn);
            } else if is_failure {
                line!(error);
            } else if is_poll {
                // Machines ask every few seconds.
                line!(debug);
            } else {
                line!(info);
            }
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let status = match *self.status.get_mut() {
            0 => CLIENT_CLOSED_REQUEST,
            status => status,
        };
        self.record(status);
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// The method as a label. Clients can invent methods, and labels must not grow with them.
fn known_method(method: &str) -> &'static str {
    match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}
