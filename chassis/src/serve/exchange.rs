//! One request and its answer: what is logged, counted, added and refused, the
//! same on all five frameworks. Their middleware calls [`Exchange::begin`],
//! [`Exchange::run`] and [`Exchange::finish`], in this order.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::FutureExt;
use tokio::sync::SemaphorePermit;

use crate::contract::api::Route;
use crate::contract::error::ApiError;
use crate::contract::reply::Reply;
use crate::serve::service::Service;
use crate::telemetry::context::Context;
use crate::telemetry::spans;
use crate::values::path::shortened;
use crate::values::time::milliseconds;

/// The status in the log when the client was gone before its answer was ready.
/// Not in any standard; nginx has made it known.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The headers on every response, in lower case; the request's own id is added
/// to them.
pub const STANDARD_HEADERS: [(&str, &str); 2] = [
    ("access-control-allow-origin", "*"),
    (
        "access-control-expose-headers",
        "X-Request-Id, X-Total-Count, Link, Location",
    ),
];

/// One request being answered. Dropped before it is finished, it logs that the
/// client went away.
#[derive(Debug)]
pub struct Exchange {
    service: Arc<Service>,
    context: Context,
    method: &'static str,
    /// As it is logged.
    path: String,
    route: Option<&'static Route>,
    started: Instant,
    finished: AtomicBool,
}

impl Exchange {
    /// A request has come in. `header` finds a header by its name in lower case.
    pub fn begin<'a>(
        service: &Arc<Service>,
        method: &str,
        path: &str,
        header: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Self {
        service.metrics().in_flight.inc();
        Self {
            context: Context::received(header),
            method: known_method(method),
            path: shortened(path).into_owned(),
            route: service.api().route(path),
            started: Instant::now(),
            finished: AtomicBool::new(false),
            service: Arc::clone(service),
        }
    }

    /// The ids of this request.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Whether the contract has a route for this path. Some frameworks are
    /// lenient with slashes and would answer for another one.
    pub fn has_route(&self) -> bool {
        self.route.is_some()
    }

    /// Runs the handler as part of this request, unless as many are at work as
    /// may be: then it is refused, before its body is read. A panic in the
    /// handler is an error of this request alone.
    pub async fn run<F: Future>(&self, handler: F) -> Result<F::Output, Reply> {
        let _place = match self.route {
            Some(route) if !route.is_always_open() => Some(self.place()?),
            _ => None,
        };
        let caught = AssertUnwindSafe(self.context.clone().scope(handler))
            .catch_unwind()
            .await;
        caught.map_err(|panic| {
            let error =
                ApiError::internal(format!("the handler panicked: {}", panic_message(&*panic)));
            self.context.clone().enter(|| error.reply())
        })
    }

    /// One of the places that there are for requests, until it is dropped.
    fn place(&self) -> Result<SemaphorePermit<'_>, Reply> {
        self.service.permits().try_acquire().map_err(|_| {
            let error = ApiError::overloaded(self.service.limits().in_flight);
            self.context.clone().enter(|| error.reply())
        })
    }

    /// The answer is ready: counts it and writes the log line, once.
    pub fn finish(&self, status: u16) {
        if !self.finished.swap(true, Ordering::Relaxed) {
            self.record(status);
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

        spans::server(
            &self.context,
            self.method,
            self.route.map(|route| route.template.as_str()),
            &self.path,
            status,
            taken,
        );
        let duration_ms = milliseconds(taken);
        let (method, path, cause) = (self.method, self.path.as_str(), self.context.cause());
        // The formatter takes the ids from the context of the event.
        self.context.clone().enter(|| {
            if status >= 500 {
                tracing::error!(
                    method,
                    route,
                    path,
                    status,
                    durationMs = duration_ms,
                    cause,
                    "request"
                );
            } else {
                tracing::info!(
                    method,
                    route,
                    path,
                    status,
                    durationMs = duration_ms,
                    "request"
                );
            }
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.finish(CLIENT_CLOSED_REQUEST);
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// The method as a label. A client can invent methods; a label may not grow
/// with them.
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
