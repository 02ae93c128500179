//! One call to another service: one or more attempts, each of them
//!
//! ```text
//! a bulkhead permit ▸ admission by the circuit breaker ▸ a time-out ▸ HTTP
//! ```
//!
//! A call is repeated before its deadline where that is safe and may help. The
//! settings are [`Resilience`](crate::upstream::resilience::Resilience).

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::telemetry::context::Context;
use crate::telemetry::spans;
use crate::upstream::breaker::{Change, Pass};
use crate::upstream::client::{Guarded, Upstream};
use crate::upstream::error::CallError;
use crate::values::headers::{IDEMPOTENCY_KEY, REQUEST_ID};

/// The largest response body that is read, in bytes; the shop's own are far smaller.
const MAX_ANSWER: usize = 1024 * 1024;

/// A call, not made yet. [`done`](Self::done), [`json`](Self::json) and the other async
/// methods make it.
#[derive(Debug)]
#[must_use = "a call is made by `done`, `json`, `text`, `find` or `total_count`"]
pub struct Call<'a> {
    upstream: &'a Upstream,
    method: Method,
    path: &'a str,
    body: Option<Bytes>,
    key: Option<&'a str>,
    accept: Option<&'static str>,
}

/// A 2xx response, read to its end.
#[derive(Debug)]
pub struct Answer {
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_slice(&self.body)
            .map_err(|cause| CallError::Unusable(format!("not the JSON expected: {cause}")))
    }

    fn total_count(&self) -> Result<u64, CallError> {
        let count = self
            .headers
            .get("x-total-count")
            .and_then(|count| count.to_str().ok());
        count
            .and_then(|count| count.parse().ok())
            .ok_or_else(|| CallError::Unusable("no X-Total-Count".to_owned()))
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(upstream: &'a Upstream, method: Method, path: &'a str) -> Self {
        Self {
            upstream,
            method,
            path,
            body: None,
            key: None,
            accept: None,
        }
    }

    pub(super) fn with_body(self, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("request bodies of the shop serialise");
        Self {
            body: Some(body.into()),
            ..self
        }
    }

    /// The same with an `Idempotency-Key`, so that a repeated call takes effect once.
    pub fn with_key(self, key: &'a str) -> Self {
        Self {
            key: Some(key),
            ..self
        }
    }

    /// The same with this media type in `Accept`.
    pub fn accepting(self, media_type: &'static str) -> Self {
        Self {
            accept: Some(media_type),
            ..self
        }
    }

    /// Makes the call and ignores the body of the response.
    pub async fn done(self) -> Result<(), CallError> {
        self.make(|_| Ok(())).await
    }

    /// Makes the call and reads the response as JSON.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, CallError> {
        self.make(Answer::json).await
    }

    /// Makes the call and reads the response as text.
    pub async fn text(self) -> Result<String, CallError> {
        self.make(|answer| {
            let text = str::from_utf8(&answer.body).map(str::to_owned);
            text.map_err(|cause| CallError::Unusable(format!("not UTF-8: {cause}")))
        })
        .await
    }

    /// Makes the call and reads the record in the response, or `None` if the service
    /// answers 404 in the contract's own format.
    pub async fn find<T: DeserializeOwned>(self) -> Result<Option<T>, CallError> {
        match self.json().await {
            Ok(record) => Ok(Some(record)),
            Err(CallError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the call and reads `X-Total-Count`, the count of all records in a list.
    pub async fn total_count(self) -> Result<u64, CallError> {
        self.make(Answer::total_count).await
    }

    /// Makes attempts until one succeeds, or another one is unsafe, useless or too late.
    async fn make<T>(self, read: impl Fn(&Answer) -> Result<T, CallError>) -> Result<T, CallError> {
        let Guarded {
            name,
            resilience,
            metrics,
            ..
        } = &*self.upstream.guarded;
        let deadline = self.upstream.deadline;
        let deadline = deadline.unwrap_or_else(|| Instant::now() + resilience.deadline);
        let repeatable = self.method.is_safe() || self.key.is_some();
        // If an earlier attempt may have taken effect and the last one was never
        // sent, return the earlier, ambiguous error.
        let mut in_doubt = None;
        let mut tried = 0;
        let error = loop {
            let error = match self.attempt(deadline, &read).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let pause = resilience.pause(tried);
            let again = repeatable
                && error.is_transient()
                && tried < resilience.retries
                && Instant::now() + pause < deadline;
            if !again {
                break error;
            }
            if error.in_doubt() {
                in_doubt = Some(error);
            }
            metrics.retries.inc();
            sleep(pause).await;
            tried += 1;
        };
        let error = match in_doubt {
            Some(before) if !error.in_doubt() && !error.is_answer() => before,
            _ => error,
        };
        tracing::debug!(upstream = name, path = self.path, %error, "call failed");
        Err(error)
    }

    /// One attempt, if bulkhead, circuit breaker and deadline allow it.
    async fn attempt<T>(
        &self,
        deadline: Instant,
        read: impl Fn(&Answer) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let Guarded {
            resilience,
            breaker,
            bulkhead,
            metrics,
            ..
        } = &*self.upstream.guarded;
        let began = Instant::now();
        let _permit = match bulkhead.as_ref().map(Semaphore::try_acquire) {
            Some(Err(_)) => {
                let full = CallError::BulkheadFull(resilience.bulkhead.unwrap_or_default());
                metrics.ended(Some(&full));
                return Err(full);
            }
            permit => permit,
        };
        let pass = match breaker.as_ref().map(|breaker| breaker.admit(began)) {
            Some(Err(rest)) => {
                let open = CallError::CircuitOpen(rest);
                metrics.ended(Some(&open));
                return Err(open);
            }
            Some(Ok(pass)) => Some(pass),
            None => None,
        };
        let left = deadline.saturating_duration_since(began);
        let limit = self.upstream.timeout.min(left);
        let in_flight = metrics.begin();
        let answered = self.exchange(limit).await;
        drop(in_flight);
        let result = answered.and_then(|answer| read(&answer));
        // An attempt that had less than its own time-out says nothing about the service.
        let cut_by_deadline =
            limit < self.upstream.timeout && matches!(result, Err(CallError::TimedOut(_)));
        if let Some(pass) = pass.filter(|_| !cut_by_deadline) {
            self.judge(pass, result.as_ref().err());
        }
        metrics.attempted(result.as_ref().err(), began.elapsed());
        result
    }

    /// Reports the outcome to the breaker. A 4xx is an answer, not a failure.
    fn judge(&self, pass: Pass<'_>, error: Option<&CallError>) {
        let upstream = self.upstream.name();
        let change = match error {
            Some(error) if !error.is_answer() => pass.failed(Instant::now()),
            _ => pass.succeeded(),
        };
        match (change, error) {
            (Change::Opened, Some(error)) => {
                tracing::warn!(upstream, %error, "circuit open after failures in a row");
            }
            (Change::Closed, _) => {
                tracing::info!(upstream, "circuit closed, the service answers again");
            }
            _ => {}
        }
    }

    /// Sends the request and reads the response within `limit`.
    pub(super) async fn exchange(&self, limit: Duration) -> Result<Answer, CallError> {
        let context = Context::current();
        let mut request = Request::new(Full::from(self.body.clone().unwrap_or_default()));
        *request.method_mut() = self.method.clone();
        let uri = self.upstream.guarded.url.join(self.path);
        *request.uri_mut() = uri.map_err(|cause| self.malformed("path", self.path, &cause))?;
        let mut span = spans::client(&context, self.upstream.name(), &self.method, request.uri());
        let headers = request.headers_mut();
        span.inject(headers);
        headers.insert(REQUEST_ID, self.header(context.request_id())?);
        if let Some(key) = self.key {
            headers.insert(IDEMPOTENCY_KEY, self.header(key)?);
        }
        if let Some(media_type) = self.accept {
            headers.insert(ACCEPT, HeaderValue::from_static(media_type));
        }
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let answering = async {
            let response = self.upstream.http.0.request(request).await;
            let response = response.map_err(|error| CallError::from_client(&error))?;
            span.answered(response.status().as_u16());
            read(response).await
        };
        let answered = timeout(limit, answering).await;
        let result = answered.unwrap_or(Err(CallError::TimedOut(limit)));
        if let Err(error) = &result {
            span.failed(error.outcome());
        }
        result
    }

    fn header(&self, value: &str) -> Result<HeaderValue, CallError> {
        HeaderValue::from_str(value).map_err(|cause| self.malformed("header", value, &cause))
    }

    /// The error for a request that cannot be sent: a bug of the caller.
    fn malformed(&self, what: &str, value: &str, cause: &dyn Error) -> CallError {
        let method = &self.method;
        CallError::Unreachable(format!(
            "{method} with the {what} {value:?} cannot be sent: {cause}"
        ))
    }
}

/// The fields of the contract's error that a caller needs.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    code: String,
}

async fn read(response: Response<Incoming>) -> Result<Answer, CallError> {
    let (head, body) = response.into_parts();
    let status = head.status;
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map_err(|error| match error.downcast_ref() {
        Some(LengthLimitError { .. }) => {
            CallError::Unusable(format!("more than {MAX_ANSWER} bytes"))
        }
        None => CallError::broken(&*error),
    })?;
    let body = body.to_bytes();
    if status.is_success() {
        return Ok(Answer {
            headers: head.headers,
            body,
        });
    }
    if status.is_server_error() {
        return Err(CallError::Failed(status.as_u16()));
    }
    // A 4xx counts as an answer only in the contract's format: a 404 from another
    // program at that address must not become "User not found".
    match serde_json::from_slice::<Refusal>(&body) {
        Ok(refusal) if status.is_client_error() => Err(CallError::Refused {
            status: status.as_u16(),
            code: refusal.code,
            message: refusal.error,
        }),
        _ => Err(CallError::Unusable(format!("status {}", status.as_u16()))),
    }
}

#[cfg(test)]
mod tests;
