//! Calls to other services. Each service wraps this in a client that speaks its
//! own words (`clients.rs`).
//!
//! A call is one or more attempts, each of them
//!
//! ```text
//! a place in the bulkhead ▸ a pass of the circuit breaker ▸ a time-out ▸ HTTP
//! ```
//!
//! and is repeated within its deadline where that is safe and may help. The
//! settings are [`Resilience`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Method, Response, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::breaker::{Breaker, Change, CircuitState, Pass};
use crate::config::UpstreamUrl;
use crate::context::Context;
use crate::exchange::REQUEST_ID;
use crate::idempotency::IDEMPOTENCY_KEY;
use crate::metrics::CallMetrics;
use crate::resilience::Resilience;
use crate::spans;

/// How long a look at another service's health may take.
const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// How long an unused connection is kept: less than the servers keep theirs, or
/// a call could meet one that is just being closed.
const IDLE: Duration = Duration::from_secs(15);

/// The largest answer that is read, in bytes. No answer of the shop to another
/// service comes near it.
const MAX_ANSWER: usize = 1024 * 1024;

/// Another service of the shop. Cheap to clone; clones share the circuit, the
/// bulkhead and the counters.
#[derive(Clone, Debug)]
pub struct Upstream {
    guarded: Arc<Guarded>,
    http: reqwest::Client,
    timeout: Duration,
    deadline: Option<Instant>,
}

/// What there is once for a service that is called.
#[derive(Debug)]
struct Guarded {
    name: &'static str,
    base: Url,
    resilience: Resilience,
    breaker: Option<Breaker>,
    bulkhead: Option<Semaphore>,
    metrics: CallMetrics,
}

/// A call to be made.
#[derive(Debug)]
#[must_use = "a call is made when its answer is asked for"]
pub struct Call<'a> {
    upstream: &'a Upstream,
    method: Method,
    path: &'a str,
    body: Option<Bytes>,
    key: Option<&'a str>,
}

/// Why a call did not bring what it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The service answered, and refused: a 4xx with the contract's error.
    Refused {
        /// The status, 400 to 499.
        status: u16,
        /// What it is called in the contract.
        code: String,
        /// The sentence for a person.
        message: String,
    },
    /// No connection: nothing was sent.
    Unreachable(String),
    /// No whole answer in time; what was asked for may have been done.
    TimedOut(Duration),
    /// The connection broke; what was asked for may have been done.
    Broken(String),
    /// A 5xx; what was asked for may have been done.
    Failed(u16),
    /// An answer that is not the contract's: a redirect, no JSON; what was asked
    /// for may have been done.
    Unusable(String),
    /// It failed too often in a row: nothing was sent, nor will be for so long.
    CircuitOpen(Duration),
    /// So many calls to it are under way already: nothing was sent.
    BulkheadFull(u32),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused {
                status, message, ..
            } => write!(f, "refused with {status}: {message}"),
            Self::Unreachable(cause) => write!(f, "cannot be reached: {cause}"),
            Self::TimedOut(limit) => write!(f, "did not answer within {} ms", limit.as_millis()),
            Self::Broken(cause) => write!(f, "broke off: {cause}"),
            Self::Failed(status) => write!(f, "failed with {status}"),
            Self::Unusable(what) => write!(f, "gave an answer of no use: {what}"),
            Self::CircuitOpen(rest) => write!(
                f,
                "was not asked: it failed too often, and is left alone for another {} ms",
                rest.as_millis()
            ),
            Self::BulkheadFull(most) => {
                write!(f, "was not asked: {most} calls to it are under way already")
            }
        }
    }
}

impl std::error::Error for CallError {}

/// A good answer, read to its end.
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

impl<'a> Call<'a> {
    fn new(upstream: &'a Upstream, method: Method, path: &'a str) -> Self {
        Self {
            upstream,
            method,
            path,
            body: None,
            key: None,
        }
    }

    fn with_body(self, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("what services say to each other is JSON");
        Self {
            body: Some(body.into()),
            ..self
        }
    }

    /// With an `Idempotency-Key`: repeated, it is done once.
    pub fn with_key(self, key: &'a str) -> Self {
        Self {
            key: Some(key),
            ..self
        }
    }

    /// Makes the call; the answer's body is of no interest.
    pub async fn done(self) -> Result<(), CallError> {
        self.make(|_| Ok(())).await
    }

    /// Makes the call, for the JSON in its answer.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, CallError> {
        self.make(Answer::json).await
    }

    /// Makes the call, for the text in its answer.
    pub async fn text(self) -> Result<String, CallError> {
        self.make(|answer| {
            let text = str::from_utf8(&answer.body).map(str::to_owned);
            text.map_err(|cause| CallError::Unusable(format!("not UTF-8: {cause}")))
        })
        .await
    }

    /// Makes the call, for the record that it answers with, or `None` if the
    /// service says that there is none.
    pub async fn find<T: DeserializeOwned>(self) -> Result<Option<T>, CallError> {
        match self.json().await {
            Ok(record) => Ok(Some(record)),
            Err(CallError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the call, for the count of all in a list, from `X-Total-Count`.
    pub async fn total_count(self) -> Result<u64, CallError> {
        self.make(Answer::total_count).await
    }

    /// As many attempts as are safe, helpful and in time.
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
        // An earlier attempt may have done what a later one could not even ask
        // for: then that is what the caller has to know.
        let mut in_doubt = None;
        let mut tried = 0;
        let error = loop {
            let error = match self.attempt(deadline, &read).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let pause = resilience.pause(tried);
            let again = repeatable
                && error.may_pass()
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

    /// One attempt, as bulkhead, breaker and deadline allow.
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
        let _place = match bulkhead.as_ref().map(Semaphore::try_acquire) {
            Some(Err(_)) => {
                let full = CallError::BulkheadFull(resilience.bulkhead.unwrap_or_default());
                metrics.ended(Some(&full));
                return Err(full);
            }
            place => place,
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
        let under_way = metrics.under_way();
        let answered = self.exchange(limit).await;
        drop(under_way);
        let result = answered.and_then(|answer| read(&answer));
        // One that was given less time than it may take has not failed.
        let hurried =
            limit < self.upstream.timeout && matches!(result, Err(CallError::TimedOut(_)));
        if let Some(pass) = pass.filter(|_| !hurried) {
            self.judge(pass, result.as_ref().err());
        }
        metrics.attempted(result.as_ref().err(), began.elapsed());
        result
    }

    /// Tells the breaker how it went. A 4xx is an answer, not a failure.
    fn judge(&self, pass: Pass<'_>, error: Option<&CallError>) {
        let upstream = self.upstream.name();
        let change = match error {
            Some(error) if !error.is_answer() => pass.failed(Instant::now()),
            _ => pass.succeeded(),
        };
        match (change, error) {
            (Change::Opened, Some(error)) => {
                tracing::warn!(upstream, %error, "circuit open: it failed too often in a row");
            }
            (Change::Closed, _) => tracing::info!(upstream, "circuit closed: it answers again"),
            _ => {}
        }
    }

    /// The bare request and its answer, which has `limit` to arrive.
    async fn exchange(&self, limit: Duration) -> Result<Answer, CallError> {
        let context = Context::current();
        let path = self.path;
        let url = self.upstream.guarded.base.join(path);
        let url =
            url.map_err(|cause| CallError::Unusable(format!("{path} is no path: {cause}")))?;
        let mut span = spans::client(&context, self.upstream.name(), &self.method, &url);
        let mut request = span
            .inject(self.upstream.http.request(self.method.clone(), url))
            .header(REQUEST_ID, context.request_id());
        if let Some(key) = self.key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        if let Some(body) = &self.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let answering = async {
            let response = request.send().await.map_err(CallError::from_reqwest)?;
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
}

impl CallError {
    /// Whether the service has answered, if only to refuse.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether what was asked for may have been done all the same.
    pub fn in_doubt(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Broken(_) | Self::Failed(_) | Self::Unusable(_) => true,
            Self::Refused { .. }
            | Self::Unreachable(_)
            | Self::CircuitOpen(_)
            | Self::BulkheadFull(_) => false,
        }
    }

    /// Whether it may be over by the next attempt.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut(_) | Self::Broken(_) => true,
            Self::Failed(status) => matches!(status, 502..=504),
            Self::Refused { .. }
            | Self::Unusable(_)
            | Self::CircuitOpen(_)
            | Self::BulkheadFull(_) => false,
        }
    }

    /// How the attempt ended, in a word for metrics and spans.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timed_out",
            Self::Broken(_) => "broken",
            Self::Failed(_) => "failed",
            Self::Unusable(_) => "unusable",
            Self::CircuitOpen(_) => "circuit_open",
            Self::BulkheadFull(_) => "bulkhead_full",
        }
    }

    fn from_reqwest(error: reqwest::Error) -> Self {
        let connect = error.is_connect();
        // reqwest's own text repeats the URL; the cause is at the end of the chain.
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        if connect {
            Self::Unreachable(cause.to_string())
        } else {
            Self::Broken(cause.to_string())
        }
    }
}

/// The contract's error, as much of it as a caller needs.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    code: String,
}

async fn read(mut response: Response) -> Result<Answer, CallError> {
    let status = response.status();
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(CallError::from_reqwest)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(CallError::Unusable(format!("more than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return Ok(Answer {
            headers: std::mem::take(response.headers_mut()),
            body: body.freeze(),
        });
    }
    if status.is_server_error() {
        return Err(CallError::Failed(status.as_u16()));
    }
    // A 4xx counts as an answer only in the contract's words: a 404 from
    // something else at that address must not become "User not found".
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
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::resilience::Circuit;
    use crate::testkit::Stub;

    const NOT_FOUND: &str = r#"{"error":"There is no user 7","code":"not_found","requestId":"x"}"#;

    #[derive(Debug, Deserialize, PartialEq, Eq)]
    struct User {
        id: String,
    }

    /// What a look-up of user 7 makes of this answer: found, not found, or the
    /// kind of failure.
    async fn looked_up(stub: Stub) -> &'static str {
        let upstream = stub.upstream().with_timeout(Duration::from_millis(300));
        match upstream.get("/api/users/7").find::<User>().await {
            Ok(Some(_)) => "found",
            Ok(None) => "not found",
            Err(CallError::Refused { .. }) => "refused",
            Err(CallError::Unreachable(_)) => "unreachable",
            Err(CallError::TimedOut(_)) => "timed out",
            Err(CallError::Broken(_)) => "broken",
            Err(CallError::Failed(_)) => "failed",
            Err(CallError::Unusable(_)) => "unusable",
            Err(CallError::CircuitOpen(_)) => "circuit open",
            Err(CallError::BulkheadFull(_)) => "bulkhead full",
        }
    }

    #[tokio::test]
    async fn an_outage_is_never_not_found() {
        let huge = format!(r#"{{"id":"7","more":"{}"}}"#, "x".repeat(MAX_ANSWER));
        let half = |_: &str| "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned();
        for (stub, expected, reason) in [
            (
                Stub::answering("200 OK", r#"{"id":"7"}"#).await,
                "found",
                "the record",
            ),
            (
                Stub::answering("404 Not Found", NOT_FOUND).await,
                "not found",
                "in the contract's words",
            ),
            (
                Stub::answering("404 Not Found", "<h1>404</h1>").await,
                "unusable",
                "something else at that address",
            ),
            (
                Stub::answering("400 Bad Request", NOT_FOUND).await,
                "refused",
                "another refusal",
            ),
            (
                Stub::answering("500 Internal Server Error", NOT_FOUND).await,
                "failed",
                "broken",
            ),
            (
                Stub::answering("503 Service Unavailable", "").await,
                "failed",
                "overloaded",
            ),
            (
                Stub::answering("302 Found", "").await,
                "unusable",
                "nobody redirects here",
            ),
            (Stub::answering("200 OK", "{").await, "unusable", "garbage"),
            (
                Stub::answering("200 OK", r#"{"name":"Ada"}"#).await,
                "unusable",
                "not the record",
            ),
            (
                Stub::answering("200 OK", &huge).await,
                "unusable",
                "far too much",
            ),
            (
                Stub::sending(|_| "what?".to_owned()).await,
                "broken",
                "no HTTP",
            ),
            (Stub::sending(half).await, "broken", "closed half-way"),
            (
                Stub::sending(|_| String::new()).await,
                "broken",
                "closed at once",
            ),
            (Stub::hanging().await, "timed out", "too slow"),
            (Stub::refusing().await, "unreachable", "nobody there"),
        ] {
            assert_eq!(looked_up(stub).await, expected, "{reason}");
        }
    }

    #[tokio::test]
    async fn the_ids_of_the_request_go_along() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = Context::new(Some("demo-1"), Some(parent));
        let expected = format!("traceparent: {}", context.traceparent());
        let stub = Stub::replying(move |request| {
            let along = request.contains("x-request-id: demo-1") && request.contains(&expected);
            let status = if along {
                "200 OK"
            } else {
                "500 Internal Server Error"
            };
            (status, r#"{"id":"7"}"#.to_owned())
        })
        .await;
        let upstream = stub.upstream();
        context
            .scope(async {
                let got = upstream.get("/api/users/7").done().await;
                got.expect("both went along");
                let body = serde_json::json!({});
                let posted = upstream.post("/api/users", &body).done().await;
                posted.expect("here too");
            })
            .await;
    }

    #[tokio::test]
    async fn a_count_is_read_from_the_headers_alone() {
        let head = "HTTP/1.1 200 OK\r\nx-total-count: 12\r\ncontent-length: 9000\r\n\r\n";
        let stub = Stub::sending(move |_| head.to_owned()).await;
        let upstream = stub.upstream();
        let count = upstream.head("/api/users?limit=1").total_count().await;
        assert_eq!(count, Ok(12));

        let stub = Stub::answering("200 OK", "[]").await;
        let upstream = stub.upstream();
        let count = upstream.get("/api/users").total_count().await;
        assert!(count.is_err(), "no count is not a count of nothing");
    }

    /// Quick to fail: a time-out of 100 ms, and hardly a pause before a retry.
    fn quick() -> Resilience {
        Resilience {
            timeout: Duration::from_millis(100),
            backoff: Duration::from_millis(1),
            ..Resilience::default()
        }
    }

    /// One that fails with `failure` for the first `times`, and then answers;
    /// and how often it was asked.
    async fn failing(times: u32, failure: &'static str) -> (Stub, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        let stub = Stub::sending(move |_| {
            let body = r#"{"id":"7"}"#;
            if counted.fetch_add(1, Ordering::SeqCst) < times {
                failure.to_owned()
            } else {
                format!("HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{body}")
            }
        })
        .await;
        (stub, asked)
    }

    const UNAVAILABLE: &str =
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    const INTERNAL: &str =
        "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn a_call_is_repeated_where_that_is_safe_and_may_help() {
        let body = serde_json::json!({"delta": -2});
        for (method, key, failure, times, good, asked, reason) in [
            ("GET", None, UNAVAILABLE, 0, true, 1, "nothing failed"),
            ("GET", None, UNAVAILABLE, 2, true, 3, "it passes"),
            ("GET", None, UNAVAILABLE, 3, false, 3, "at most two retries"),
            ("GET", None, "", 2, true, 3, "a connection that broke"),
            ("GET", None, INTERNAL, 1, false, 1, "a 500 does not pass"),
            (
                "PATCH",
                None,
                UNAVAILABLE,
                1,
                false,
                1,
                "it may be done twice",
            ),
            (
                "PATCH",
                Some("k"),
                UNAVAILABLE,
                2,
                true,
                3,
                "its key is known",
            ),
            ("POST", None, "", 1, false, 1, "it may be done twice"),
        ] {
            let (stub, count) = failing(times, failure).await;
            let upstream = stub.upstream_with(quick());
            let call = match method {
                "GET" => upstream.get("/"),
                "PATCH" => upstream.patch("/", &body),
                _ => upstream.post("/", &body),
            };
            let call = Call { key, ..call };
            let got = call.done().await;
            let seen = (got.is_ok(), count.load(Ordering::SeqCst));
            assert_eq!(seen, (good, asked), "{method} {reason}: {got:?}");
            assert_eq!(upstream.metrics().retries.get(), u64::from(asked - 1));
        }
    }

    #[tokio::test]
    async fn retries_end_with_the_deadline() {
        let stub = Stub::hanging().await;
        let patient = Resilience {
            retries: 10,
            ..quick()
        };
        let upstream = stub.upstream_with(patient);
        let began = Instant::now();
        let deadline = began + Duration::from_millis(250);
        let error = upstream.before(deadline).get("/").done().await;
        assert!(matches!(error, Err(CallError::TimedOut(_))), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(5));
        assert!(upstream.metrics().retries.get() <= 3);
    }

    #[tokio::test]
    async fn a_doubt_outlasts_the_attempts_after_it() {
        // The first change may have been made; the others were not even sent.
        let stub = Stub::hanging().await;
        let one_failure = Circuit {
            failures: 1,
            ..Circuit::default()
        };
        let upstream = stub.upstream_with(Resilience {
            circuit: Some(one_failure),
            ..quick()
        });
        let call = upstream.patch("/", &()).with_key("k");
        let error = call.done().await.expect_err("it hangs");
        assert!(error.in_doubt(), "{error}");
        let error = upstream.get("/").done().await.expect_err("open");
        assert!(!error.in_doubt(), "{error}");
    }

    #[tokio::test]
    async fn a_circuit_opens_after_five_failures_and_closes_when_the_service_is_back() {
        let once = Resilience {
            retries: 0,
            circuit: Some(Circuit {
                open: Duration::from_millis(50),
                ..Circuit::default()
            }),
            ..quick()
        };
        for (failure, reason) in [
            (UNAVAILABLE, "overloaded"),
            (INTERNAL, "broken"),
            ("what?", "no HTTP"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{", "garbage"),
        ] {
            let (stub, asked) = failing(5, failure).await;
            let upstream = stub.upstream_with(once);
            for _ in 0..5 {
                assert_eq!(upstream.circuit(), CircuitState::Closed, "{reason}");
                let got = upstream.get("/").json::<User>().await;
                got.expect_err(reason);
            }
            assert_eq!(upstream.circuit(), CircuitState::Open, "{reason}");
            let got = upstream.get("/").json::<User>().await;
            assert!(matches!(got, Err(CallError::CircuitOpen(_))), "{reason}");
            assert_eq!(asked.load(Ordering::SeqCst), 5, "{reason}: left alone");

            sleep(Duration::from_millis(60)).await;
            let got = upstream.get("/").json::<User>().await;
            got.expect("it is back");
            assert_eq!(upstream.circuit(), CircuitState::Closed, "{reason}");
        }
    }

    #[tokio::test]
    async fn a_refusal_opens_no_circuit() {
        let stub = Stub::answering("404 Not Found", NOT_FOUND).await;
        let upstream = stub.upstream_with(quick());
        for _ in 0..10 {
            let got = upstream.get("/api/users/7").find::<User>().await;
            assert_eq!(got, Ok(None));
        }
        assert_eq!(upstream.circuit(), CircuitState::Closed);
    }

    #[tokio::test]
    async fn a_bulkhead_refuses_at_once_what_is_one_too_many() {
        let stub = Stub::hanging().await;
        let narrow = Resilience {
            bulkhead: Some(2),
            retries: 0,
            ..Resilience::default()
        };
        let upstream = stub.upstream_with(narrow);
        let two = [(); 2].map(|()| {
            let upstream = upstream.clone();
            tokio::spawn(async move { upstream.get("/").done().await })
        });
        while upstream.metrics().under_way_now() < 2 && !two[0].is_finished() {
            tokio::task::yield_now().await;
        }
        let refused = upstream.get("/").done().await;
        assert_eq!(refused, Err(CallError::BulkheadFull(2)));
        assert!(two.iter().all(|call| !call.is_finished()), "it hangs still");
        for call in two {
            call.await.expect("no panic").expect_err("it hangs");
        }
        assert_eq!(upstream.metrics().under_way_now(), 0);
        let got = upstream.get("/").done().await;
        assert!(matches!(got, Err(CallError::TimedOut(_))), "room again");
    }

    #[tokio::test]
    async fn switched_off_there_are_time_outs_and_nothing_else() {
        let (stub, asked) = failing(u32::MAX, UNAVAILABLE).await;
        let upstream = stub.upstream_with(Resilience {
            retries: 0,
            circuit: None,
            bulkhead: None,
            ..quick()
        });
        for _ in 0..20 {
            let got = upstream.get("/").done().await;
            assert_eq!(got, Err(CallError::Failed(503)));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 20);
        assert_eq!(upstream.circuit(), CircuitState::Closed);
    }
}
