//! The innermost layer: sends a request to a service, and passes on its response as it arrives.
//!
//! What a client is told about a failure depends on what may have happened: nothing if no part
//! of the request was sent, anything if it was.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chassis::contract::error::ApiError;
use chassis::serve::service::Service as Serving;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;
use tower::Service;

use crate::call::{self, Call};
use crate::connections::Connection;
use crate::download::Download;
use crate::headers::wants_websocket;
use crate::instances::{InFlight, Instances};
use crate::tunnel;
use crate::upload::{Ending, Upload};

/// The layer.
#[derive(Clone, Debug)]
pub struct Forward {
    gateway: Arc<Serving>,
    services: Arc<[Instances]>,
    timeout: Duration,
}

impl Forward {
    /// Forwards to `services`, which are in the order of
    /// [`DESTINATIONS`](crate::routes::DESTINATIONS). A response must begin within `timeout`.
    pub fn new(gateway: Arc<Serving>, services: Arc<[Instances]>, timeout: Duration) -> Self {
        Self {
            gateway,
            services,
            timeout,
        }
    }
}

impl Service<Call> for Forward {
    type Response = call::Response;
    type Error = ApiError;
    type Future = BoxFuture<'static, Result<call::Response, ApiError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ApiError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.forward(&this.services[call.to], call.request).await })
    }
}

/// The head of a response, and the connection that its body comes on.
type Answer = (Response<Incoming>, Connection, InFlight);

impl Forward {
    async fn forward(
        &self,
        to: &Instances,
        mut request: Request<Incoming>,
    ) -> Result<call::Response, ApiError> {
        let upgrade = wants_websocket(&request).then(|| hyper::upgrade::on(&mut request));
        let (request, ending) = Upload::of(request)?;
        let (mut response, connection, in_flight) = self.answer(to, request, ending).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client) = upgrade else {
                to.choose().failed();
                return Err(ApiError::outcome_unknown(
                    to.service,
                    "it switched to a protocol that nobody asked for",
                ));
            };
            let service = hyper::upgrade::on(&mut response);
            let shutdown = self.gateway.shutdown();
            let tunnel = tunnel::run(client, service, in_flight, shutdown.clone());
            shutdown.spawn(tunnel);
            return Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()));
        }
        let is_event_stream = is_event_stream(response.headers());
        Ok(response.map(|body| {
            let body = Download::new(to.service, body, connection, in_flight);
            if is_event_stream {
                let shutdown = self.gateway.shutdown().clone();
                let stop = async move { shutdown.requested().await };
                body.until(stop).boxed_unsync()
            } else {
                body.boxed_unsync()
            }
        }))
    }

    /// Sends the request, and awaits the head of the response. The time for it begins when the
    /// body of the request has been sent, or is not wanted.
    async fn answer(
        &self,
        to: &Instances,
        request: Request<Upload>,
        ending: Option<Ending>,
    ) -> Result<Answer, ApiError> {
        let mut answer = pin!(attempts(to, request));
        if let Some(ending) = ending {
            tokio::select! {
                // If the client fails to send its body, that is why there is no response.
                biased;
                ended = self.gateway.pass(ending) => {
                    if let Ok(result) = ended? {
                        result?;
                    }
                }
                answer = &mut answer => return answer,
            }
        }
        let answer = timeout(self.timeout, answer).await;
        answer.unwrap_or_else(|_| {
            to.choose().failed();
            Err(ApiError::gateway_timeout(to.service, self.timeout))
        })
    }
}

/// Sends the request, again where nothing was sent before or where it changes nothing.
async fn attempts(to: &Instances, mut request: Request<Upload>) -> Result<Answer, ApiError> {
    let (mut was_unsent, mut was_reset) = (false, false);
    loop {
        let instance = to.choose();
        let in_flight = instance.begin();
        let is_first = !was_unsent && !was_reset;
        let connected = match instance.connections.idle().filter(|_| is_first) {
            Some(idle) => Ok(idle),
            None => instance.connections.connect().await,
        };
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(cause) => {
                instance.failed();
                if was_unsent {
                    return Err(ApiError::dependency_unavailable(to.service, cause));
                }
                was_unsent = true;
                continue;
            }
        };
        let copy = copy(&request).filter(|_| !was_reset);
        let mut error = match connection.sender.try_send_request(request).await {
            Ok(response) => {
                in_flight.answered(response.status().as_u16());
                return Ok((response, connection, in_flight));
            }
            Err(error) => error,
        };
        instance.failed();
        // A request of which no part was sent comes back: the connection had died before.
        let unsent = error.take_message();
        let cause = error.into_error();
        match (unsent, copy) {
            (Some(_), _) if was_unsent => {
                return Err(ApiError::dependency_unavailable(to.service, cause));
            }
            (Some(unsent), _) => {
                was_unsent = true;
                request = unsent;
            }
            (None, Some(copy)) if !cause.is_parse() => {
                was_reset = true;
                request = copy;
            }
            (None, _) => return Err(ApiError::outcome_unknown(to.service, cause)),
        }
    }
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

fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.starts_with(b"text/event-stream"))
}
