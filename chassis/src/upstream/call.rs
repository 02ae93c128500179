//! One call to another service: one or more attempts, each of them
//!
//! ```text
//! a place in the bulkhead ▸ admission by the circuit breaker ▸ a time-out ▸ HTTP
//! ```
//!
//! Each attempt goes to one instance of the service; the next one to another instance, if
//! there is one. So does an attempt that gets no connection, once: nothing was sent yet.
//!
//! A call is repeated before its deadline where that is safe and may help, and where the
//! retry budget allows it. The settings are
//! [`Resilience`](crate::upstream::resilience::Resilience).

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout_at};

use crate::telemetry::context::{Context, Trace};
use crate::telemetry::recorder::{Attempt, Begun, What};
use crate::telemetry::spans;
use crate::upstream::breaker::{Change, Pass};
use crate::upstream::bulkhead::{self, Bulkhead, Place};
use crate::upstream::client::{Guarded, Upstream};
use crate::upstream::error::CallError;
use crate::upstream::instances::Picked;
use crate::upstream::instances::instance::Instance;
use crate::values::headers::{self, NOT_FOUND};
use crate::values::text::shortened;

// As values, these names are not checked and copied for each call.
const REQUEST_ID: HeaderName = HeaderName::from_static(headers::REQUEST_ID);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(headers::IDEMPOTENCY_KEY);

/// The largest response body that is read, in bytes; the shop's own are far smaller.
const MAX_ANSWER: usize = 1024 * 1024;

/// The longest `Retry-After` that is told apart from longer ones.
const A_LONG_TIME: Duration = Duration::from_hours(1);

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
    once: bool,
    accept: Option<&'static str>,
}

/// A failed attempt, and the instance that it failed at, if it got that far.
type Failure = (CallError, Option<Arc<Instance>>);

/// A 2xx response, read to its end.
#[derive(Debug)]
pub struct Answer {
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, CallError> {
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
            once: false,
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

    /// The same in one attempt, for a caller that repeats it in its own way.
    pub fn once(self) -> Self {
        Self { once: true, ..self }
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

    /// Makes the call and reads the record in the response, or `None` if the service says
    /// that there is no such record. A 404 of anything else is an error: of another program
    /// at that address, or of a service without such a route.
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

    /// Makes the call and reads a list: the records, and `X-Total-Count`, the count of all.
    pub async fn list<T: DeserializeOwned>(self) -> Result<(T, u64), CallError> {
        self.make(|answer| Ok((answer.json()?, answer.total_count()?)))
            .await
    }

    /// Makes attempts until one succeeds, or another one is unsafe, useless or too late.
    async fn make<T>(self, read: impl Fn(&Answer) -> Result<T, CallError>) -> Result<T, CallError> {
        let Guarded {
            name,
            resilience,
            budget,
            metrics,
            ..
        } = &*self.upstream.guarded;
        let deadline = self.upstream.deadline;
        let deadline = deadline.unwrap_or_else(|| Instant::now() + resilience.deadline);
        let repeatable = (self.method.is_safe() || self.key.is_some()) && !self.once;
        // If an earlier attempt may have taken effect and the last one was never
        // sent, return the earlier, ambiguous error.
        let mut in_doubt = None;
        let mut tried = 0;
        let mut failed_at: Option<Arc<Instance>> = None;
        let error = loop {
            let attempt = self.attempt(tried, deadline, failed_at.as_deref(), &read);
            let error = match attempt.await {
                Ok(answer) => return Ok(answer),
                Err((error, instance)) => {
                    failed_at = instance.or(failed_at);
                    error
                }
            };
            let pause = error.retry_after().unwrap_or_default() + resilience.pause(tried);
            let now = Instant::now();
            let again = repeatable
                && error.is_transient()
                && tried < resilience.retries
                && pause < deadline.saturating_duration_since(now);
            if !again {
                break error;
            }
            if !budget.withdraw(now) {
                metrics.retries_denied.inc();
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

    /// One attempt, if bulkhead, circuit breaker and deadline allow it; `tried` retries were
    /// made before, the last one at `failed_at`.
    async fn attempt<T>(
        &self,
        tried: u32,
        deadline: Instant,
        failed_at: Option<&Instance>,
        read: impl Fn(&Answer) -> Result<T, CallError>,
    ) -> Result<T, Failure> {
        let Guarded {
            breaker,
            bulkhead,
            budget,
            metrics,
            ..
        } = &*self.upstream.guarded;
        let asked = Begun::now();
        let not_sent = |error: CallError| {
            self.keep_unmade(tried, asked, &error);
            metrics.ended(Some(&error));
            (error, None)
        };
        let _place = match bulkhead {
            Some(bulkhead) => Some(self.place(bulkhead, deadline).await.map_err(not_sent)?),
            None => None,
        };
        // Only now: waiting for a place is no time of the service.
        let began = Instant::now();
        let pass = match breaker.as_ref().map(|breaker| breaker.admit(began)) {
            Some(Err(rest)) => return Err(not_sent(CallError::CircuitOpen(rest))),
            Some(Ok(pass)) => Some(pass),
            None => None,
        };
        let limit = self
            .upstream
            .timeout
            .min(deadline.saturating_duration_since(began));
        if tried == 0 {
            budget.deposit(began);
        }
        let in_flight = metrics.begin();
        let answered = self.exchange(limit, failed_at, tried).await;
        drop(in_flight);
        let taken = began.elapsed();
        let result = answered.and_then(|answer| read(&answer).map_err(|error| (error, None)));
        let error = result.as_ref().err().map(|(error, _)| error);
        if let Some(pass) = pass {
            self.judge(pass, error, limit, taken);
        }
        metrics.attempted(error, taken);
        result
    }

    /// A place in the bulkhead. Waits for one as long as it leaves a fair chance; but not while
    /// the circuit is open, because then the place is of no use.
    async fn place<'b>(
        &self,
        bulkhead: &'b Bulkhead,
        deadline: Instant,
    ) -> Result<Place<'b>, CallError> {
        if let Ok(place) = bulkhead.try_enter() {
            return Ok(place);
        }
        let breaker = self.upstream.guarded.breaker.as_ref();
        if let Some(rest) = breaker.and_then(|breaker| breaker.open_for(Instant::now())) {
            return Err(CallError::CircuitOpen(rest));
        }
        let latest = deadline.checked_sub(self.fair_chance());
        let place = bulkhead.enter(latest.unwrap_or(deadline)).await;
        place.map_err(|bulkhead::Full(most)| CallError::BulkheadFull(most))
    }

    /// The least time for an attempt: half of its time-out. One that had less, because the
    /// deadline was near, and timed out says nothing about the service.
    fn fair_chance(&self) -> Duration {
        let ordinary = self.upstream.guarded.resilience.timeout;
        self.upstream.timeout.min(ordinary) / 2
    }

    /// Reports the outcome of an attempt to the breaker. The attempt had `limit`, and took
    /// `taken`.
    ///
    /// A refusal is an answer, not a failure. But an answer that comes later than the
    /// time-out of an ordinary call is a failure, even if this caller was patient: it must not
    /// close the circuit for those who are not.
    fn judge(&self, pass: Pass<'_>, error: Option<&CallError>, limit: Duration, taken: Duration) {
        let upstream = self.upstream.name();
        let is_late = taken > self.upstream.guarded.resilience.timeout;
        let change = match error {
            Some(CallError::TimedOut(_)) if limit < self.fair_chance() => return,
            Some(error) if !error.is_answer() => pass.failed(Instant::now()),
            _ if is_late => pass.failed(Instant::now()),
            _ => pass.succeeded(),
        };
        match change {
            Change::Opened => {
                let cause = error.map(ToString::to_string);
                let cause = cause.unwrap_or_else(|| format!("answered only after {taken:?}"));
                tracing::warn!(upstream, error = %cause, "circuit open after too many failures");
            }
            Change::Closed => {
                tracing::info!(upstream, "circuit closed, the service answers again");
            }
            Change::None => {}
        }
    }

    /// Sends the request to an instance, another one than `except` if there is one, and reads
    /// the response, all within `limit`. Without a connection, it tries one other instance.
    pub(super) async fn exchange(
        &self,
        limit: Duration,
        except: Option<&Instance>,
        tried: u32,
    ) -> Result<Answer, Failure> {
        let Guarded {
            instances, metrics, ..
        } = &*self.upstream.guarded;
        let due = tokio::time::Instant::now() + limit;
        let picked = instances.choose(except);
        let Some(mut picked) = picked.or_else(|| instances.choose(None)) else {
            let cause = instances.none_left().to_owned();
            return Err((CallError::Unreachable(cause), None));
        };
        let mut answered = self.exchange_with(&mut picked, due, limit, tried).await;
        if let Err(CallError::Unreachable(_)) = answered
            && let Some(other) = instances.choose(Some(picked.instance()))
        {
            metrics.retries.inc();
            picked = other;
            answered = self.exchange_with(&mut picked, due, limit, tried).await;
        }
        answered.map_err(|error| (error, Some(Arc::clone(picked.instance()))))
    }

    /// Sends the request to this instance and reads the response, until `due`, when `limit` is
    /// over.
    async fn exchange_with(
        &self,
        picked: &mut Picked,
        due: tokio::time::Instant,
        limit: Duration,
        tried: u32,
    ) -> Result<Answer, CallError> {
        let context = Context::current();
        let mut request = Request::new(Full::from(self.body.clone().unwrap_or_default()));
        *request.method_mut() = self.method.clone();
        let uri = picked.url().join(self.path);
        *request.uri_mut() = uri.map_err(|cause| self.malformed("path", self.path, &cause))?;
        let (peer, place) = (self.upstream.name(), picked.url().host_and_port());
        let mut span = spans::client(&context, peer, &self.method, place, request.uri());
        span.keep(tried + 1, || Some(self.upstream.circuit().name()));
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
            let status = response.status().as_u16();
            picked.answered(status);
            span.answered(status);
            read(response).await
        };
        let answered = timeout_at(due, answering).await;
        let result = answered.unwrap_or(Err(CallError::TimedOut(limit)));
        if let Err(error) = &result {
            match error {
                // With less time than that, it says nothing about the instance.
                CallError::TimedOut(_) if limit >= self.fair_chance() => picked.timed_out(),
                CallError::Unreachable(_) | CallError::Broken(_) => picked.failed(),
                _ => {}
            }
            span.failed(error.outcome());
        }
        result
    }

    /// Keeps for the lab that the attempt after `tried` retries was not made, and why.
    fn keep_unmade(&self, tried: u32, begun: Begun, error: &CallError) {
        Context::with_current(|context| {
            let Some(recorder) = context.recorder() else {
                return;
            };
            let attempt = Attempt {
                dependency: self.upstream.name(),
                number: tried + 1,
                circuit: Some(self.upstream.circuit().name()),
                was_made: false,
                failure: Some(error.outcome()),
            };
            let parent = context.trace();
            let ids = (Trace::below(Some(parent)).span, Some(parent.span));
            recorder.record(context, ids, begun, None, What::Client(attempt));
        });
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
    Err(failure(status.as_u16(), &head.headers, &body))
}

/// What a response other than a 2xx means.
fn failure(status: u16, headers: &HeaderMap, body: &[u8]) -> CallError {
    let retry_after = headers.get(RETRY_AFTER).map(seconds);
    if status >= 500 {
        return CallError::Failed {
            status,
            retry_after,
        };
    }
    // A refusal is one only in the contract's format: a 404 from another program at that
    // address must not become "User not found". Nor must that of a service of the shop that
    // has no such route, or a response that asks to come again.
    let no_record = status == 404 && !headers.contains_key(NOT_FOUND);
    let is_about_request = no_record || matches!(status, 400 | 402 | 409 | 410 | 422);
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) if is_about_request && retry_after.is_none() => CallError::Refused {
            status,
            code: shortened(&refusal.code).into_owned(),
            message: shortened(&refusal.error).into_owned(),
        },
        Ok(refusal) if status >= 400 => CallError::TurnedAway {
            status,
            message: shortened(&refusal.error).into_owned(),
            retry_after,
        },
        // What stands in between has a format of its own.
        Err(_) if matches!(status, 401 | 403 | 407 | 408 | 421 | 425 | 429) => {
            CallError::TurnedAway {
                status,
                message: "not an error of a service of the shop".to_owned(),
                retry_after,
            }
        }
        _ => CallError::Unusable(format!("status {status}")),
    }
}

/// The time in a `Retry-After`. A date, or anything else that is no number, is later than
/// any deadline of a request.
fn seconds(retry_after: &HeaderValue) -> Duration {
    let seconds = retry_after.to_str().ok().and_then(|text| text.parse().ok());
    seconds.map_or(A_LONG_TIME, |seconds| {
        Duration::from_secs(seconds).min(A_LONG_TIME)
    })
}

#[cfg(test)]
mod tests;
