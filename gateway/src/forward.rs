//! The innermost layer: sends a request to a service, and passes on its response as it arrives.
//!
//! What a client is told about a failure depends on what may have happened: nothing if no part
//! of the request was sent, anything if it was.

use std::array;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use chassis::contract::error::ApiError;
use chassis::serve::service::Service as Serving;
use chassis::telemetry::context::Context;
use chassis::telemetry::spans::{self, ClientSpan};
use chassis::upstream::instances::instance::Instance;
use chassis::upstream::instances::{Instances, Picked};
use chassis::upstream::url::UpstreamUrl;
use chassis::values::text::shortened;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::sleep;
use tower::Service;

use crate::call::{self, Call};
use crate::connections::{Connection, Connections, Pools};
use crate::download::Download;
use crate::headers::wants_websocket;
use crate::routes::DESTINATIONS;
use crate::tunnel;
use crate::upload::{Ending, Upload};

/// The layer.
#[derive(Clone, Debug)]
pub struct Forward {
    gateway: Arc<Serving>,
    services: Arc<[Destination; DESTINATIONS.len()]>,
    timeout: Duration,
}

/// A service, and the connections to it.
#[derive(Debug)]
struct Destination {
    instances: Arc<Instances>,
    pools: Pools,
    durations: Histogram,
}

impl Destination {
    /// The instance at the URL `only`, or else another one than `except` if there is one.
    fn choose(&self, only: Option<&str>, except: Option<&Instance>) -> Option<Picked> {
        if let Some(url) = only {
            return self.instances.pick(url);
        }
        let other = self.instances.choose(except);
        other.or_else(|| self.instances.choose(None))
    }

    /// An attempt that was sent has ended with the head of a response, or without.
    fn took(&self, began: Instant) {
        self.durations.observe(began.elapsed().as_secs_f64());
    }
}

impl Forward {
    /// Forwards to the instances of the services, which are in the order of [`DESTINATIONS`], and
    /// notes how long that takes. A response must begin within `timeout`.
    pub fn new(
        gateway: Arc<Serving>,
        services: &[Arc<Instances>; DESTINATIONS.len()],
        durations: &[Histogram; DESTINATIONS.len()],
        timeout: Duration,
    ) -> Self {
        let services: [_; DESTINATIONS.len()] = array::from_fn(|place| Destination {
            instances: Arc::clone(&services[place]),
            pools: Pools::default(),
            durations: durations[place].clone(),
        });
        Self {
            gateway,
            services: Arc::new(services),
            timeout,
        }
    }
}

impl Service<Call> for Forward {
    type Response = call::Response;
    type Error = ApiError;
    type Future = BoxFuture<'static, Result<call::Response, ApiError>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), ApiError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let to = &this.services[call.to];
            this.forward(to, call.instance.as_deref(), call.request)
                .await
        })
    }
}

/// The head of a response; the connection and the instance that its body comes from; and the span
/// of the attempt.
type Answer = (Response<Incoming>, Connection, Picked, ClientSpan);

/// Why an attempt has no response.
enum Failure {
    /// No part of the request was sent: there was no connection.
    Unsent(String, Request<Upload>),
    /// No part of the request was sent: the connection from the pool had died before.
    Stale(String, Request<Upload>),
    /// The connection broke, with what the service may have got.
    Reset(String),
    /// The response is not HTTP.
    Invalid(String),
}

impl Failure {
    /// The reason in one word, for the span of the attempt: as for a call of a service's own.
    fn word(&self) -> &'static str {
        match self {
            Self::Unsent(..) | Self::Stale(..) => "unreachable",
            Self::Reset(_) => "broken",
            Self::Invalid(_) => "unusable",
        }
    }
}

impl Forward {
    async fn forward(
        &self,
        to: &Destination,
        only: Option<&str>,
        mut request: Request<Option<Incoming>>,
    ) -> Result<call::Response, ApiError> {
        let service = to.instances.service();
        let upgrade = wants_websocket(&request).then(|| hyper::upgrade::on(&mut request));
        let (request, ending) = Upload::of(request)?;
        let late = pin!(self.late(ending));
        let answer = self.answer(to, only, request, late).await?;
        let (mut response, connection, mut picked, mut span) = answer;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client) = upgrade else {
                picked.failed();
                span.failed("unusable");
                return Err(ApiError::outcome_unknown(
                    service,
                    "it switched to a protocol that nobody asked for",
                ));
            };
            let server = hyper::upgrade::on(&mut response);
            let shutdown = self.gateway.shutdown();
            shutdown.spawn(tunnel::run(client, server, picked, shutdown.clone()));
            return Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()));
        }
        let is_event_stream = is_event_stream(response.headers());
        Ok(response.map(|body| {
            let body = Download::new(service, body, connection, picked, span);
            if is_event_stream {
                let shutdown = self.gateway.shutdown().clone();
                let stop = async move { shutdown.requested().await };
                body.until(stop).boxed_unsync()
            } else {
                body.boxed_unsync()
            }
        }))
    }

    /// Ends when the response should have begun: the time for it begins when the body of the
    /// request has been sent, or is not wanted. If the client fails to send its body, that is why
    /// there is no response.
    async fn late(&self, ending: Option<Ending>) -> Result<(), ApiError> {
        if let Some(ending) = ending
            && let Ok(sent) = self.gateway.pass(ending).await?
        {
            sent?;
        }
        sleep(self.timeout).await;
        Ok(())
    }

    /// Sends the request, and awaits the head of the response, until `late`. Sends it again where
    /// nothing was sent before or where it changes nothing; to another instance if there is one,
    /// and it is not `only` for one.
    async fn answer(
        &self,
        to: &Destination,
        only: Option<&str>,
        mut request: Request<Upload>,
        mut late: Pin<&mut impl Future<Output = Result<(), ApiError>>>,
    ) -> Result<Answer, ApiError> {
        let service = to.instances.service();
        let context = Context::current();
        let mut number = 0;
        let (mut was_unsent, mut was_reset) = (false, false);
        let mut except: Option<Arc<Instance>> = None;
        loop {
            let Some(mut picked) = to.choose(only, except.as_deref()) else {
                let cause = to.instances.none_left();
                return Err(ApiError::dependency_unavailable(service, cause));
            };
            let pool = to.pools.of(picked.instance());
            let is_first = !was_unsent && !was_reset;
            let copy = copy(&request).filter(|_| !was_reset);
            if let Some(sent) = request.body().sent() {
                picked.waits_for(sent);
            }
            number += 1;
            let mut span = span(&context, service, picked.url(), &request);
            span.keep(number, || None);
            span.inject(request.headers_mut());
            let began = Instant::now();
            let attempt = tokio::select! {
                biased;
                ended = &mut late => {
                    ended?;
                    picked.timed_out();
                    span.failed("timed_out");
                    to.took(began);
                    return Err(ApiError::gateway_timeout(service, self.timeout));
                }
                attempt = attempt(&pool, request, is_first) => attempt,
            };
            if !matches!(attempt, Err(Failure::Unsent(..) | Failure::Stale(..))) {
                to.took(began);
            }
            let failure = match attempt {
                Ok((response, connection)) => {
                    let status = response.status().as_u16();
                    picked.answered(status);
                    span.answered(status);
                    return Ok((response, connection, picked, span));
                }
                Err(failure) => failure,
            };
            span.failed(failure.word());
            drop(span);
            // That an idle connection was closed says nothing about the instance now.
            if !matches!(failure, Failure::Stale(..)) {
                picked.failed();
            }
            except = Some(Arc::clone(picked.instance()));
            match (failure, copy) {
                (Failure::Unsent(cause, unsent) | Failure::Stale(cause, unsent), _) => {
                    if was_unsent {
                        return Err(ApiError::dependency_unavailable(service, cause));
                    }
                    was_unsent = true;
                    request = unsent;
                }
                (Failure::Reset(_), Some(copy)) => {
                    was_reset = true;
                    request = copy;
                }
                (Failure::Reset(cause) | Failure::Invalid(cause), _) => {
                    return Err(ApiError::outcome_unknown(service, cause));
                }
            }
        }
    }
}

/// The span of an attempt to send the request to the instance at `url`.
fn span(
    context: &Context,
    service: &'static str,
    url: &UpstreamUrl,
    request: &Request<Upload>,
) -> ClientSpan {
    // Without the query, which is the client's own business, as in the log.
    let path = shortened(request.uri().path());
    let full = format_args!("{}{path}", url.as_str());
    spans::client(
        context,
        service,
        request.method(),
        url.host_and_port(),
        full,
    )
}

/// Sends the request on an idle connection if it `may_be_idle` and there is one, or on a new one.
async fn attempt(
    pool: &Arc<Connections>,
    request: Request<Upload>,
    may_be_idle: bool,
) -> Result<(Response<Incoming>, Connection), Failure> {
    let idle = if may_be_idle { pool.idle() } else { None };
    let was_idle = idle.is_some();
    let mut connection = match idle {
        Some(idle) => idle,
        None => match pool.connect().await {
            Ok(connection) => connection,
            Err(cause) => return Err(Failure::Unsent(cause.to_string(), request)),
        },
    };
    let mut error = match connection.sender.try_send_request(request).await {
        Ok(response) => return Ok((response, connection)),
        Err(error) => error,
    };
    let unsent = error.take_message();
    let cause = error.into_error();
    Err(match unsent {
        Some(unsent) if was_idle => Failure::Stale(cause.to_string(), unsent),
        Some(unsent) => Failure::Unsent(cause.to_string(), unsent),
        None if cause.is_parse() => Failure::Invalid(cause.to_string()),
        None => Failure::Reset(cause.to_string()),
    })
}

/// A copy of a request that may be sent again: one that changes nothing, and has no body.
fn copy(request: &Request<Upload>) -> Option<Request<Upload>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let has_body = !hyper::body::Body::is_end_stream(request.body());
    (is_read && !has_body).then(|| {
        let mut copy = Request::new(Upload::none());
        request.method().clone_into(copy.method_mut());
        request.uri().clone_into(copy.uri_mut());
        request.headers().clone_into(copy.headers_mut());
        copy
    })
}

/// Whether a response with these headers is sent event by event.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.starts_with(b"text/event-stream"))
}
