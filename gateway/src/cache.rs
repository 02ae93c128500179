//! A layer that keeps the responses of product-service for a moment, so that many who read the
//! same cost it one call. How long is the gateway's own decision; what a service says in
//! `Cache-Control` is for clients, and reaches them as it is.
//!
//! | module | contents |
//! |---|---|
//! | [`store`] | what is kept, what is being fetched, and which changes are on their way |
//! | [`entry`] | one response that is kept |
//!
//! Two rules keep it honest:
//!
//! - A request that fetches a response for others has nothing of its client in it but what is in
//!   the key. So a client cannot get a response stored that another one would not have got.
//! - While a change is on its way, nothing is stored or answered from the store; after it, nothing
//!   from before is left.

pub mod entry;
pub mod store;

use std::fmt;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use chassis::contract::error::ApiError;
use chassis::telemetry::context::Context;
use chassis::values::headers::REQUEST_ID;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either};
use hyper::body::Incoming;
use hyper::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, COOKIE, HOST, HeaderName, HeaderValue, IF_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, PRAGMA, RANGE, UPGRADE,
};
use hyper::{Method, Request};
use tokio::sync::oneshot;
use tower::{Layer, Service};

use crate::call::{Call, Response};
use crate::headers::{FORWARDED_HOST, FORWARDED_PROTO, has_token};
use crate::lab;
use crate::routes::DESTINATIONS;
use entry::Entry;
use store::{Change, Fetched, Found, Store};

/// The service whose responses are kept.
const KEPT: &str = "product-service";

/// The services whose changes are changes of products: an order takes from the stock.
const CHANGING: [&str; 2] = ["product-service", "order-service"];

/// What tells how the cache handled a request
/// ([RFC 9211](https://www.rfc-editor.org/rfc/rfc9211)).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The headers that are part of the key: with them, a service could make links.
const KEYED: [HeaderName; 3] = [HOST, FORWARDED_HOST, FORWARDED_PROTO];

/// The headers of the client's own, such as who it is or which part it wants. A request with one
/// of them passes by the cache.
static OWN: [HeaderName; 7] = [
    AUTHORIZATION,
    COOKIE,
    IF_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
    UPGRADE,
];

/// The layer.
#[derive(Clone, Debug)]
pub struct Caching {
    store: Option<Arc<Store>>,
}

impl Caching {
    /// Keeps responses in `store`. Does nothing without one.
    pub fn new(store: Option<Arc<Store>>) -> Self {
        Self { store }
    }
}

impl<S> Layer<S> for Caching {
    type Service = Cached<S>;

    fn layer(&self, next: S) -> Cached<S> {
        Cached {
            store: self.store.clone(),
            next,
        }
    }
}

/// The next layer, called only where the store has no answer.
#[derive(Clone, Debug)]
pub struct Cached<S> {
    store: Option<Arc<Store>>,
    next: S,
}

type Answer = Result<Response, ApiError>;

impl<S> Service<Call> for Cached<S>
where
    S: Service<Call, Response = Response, Error = ApiError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = ApiError;
    type Future = Either<S::Future, BoxFuture<'static, Answer>>;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), ApiError>> {
        self.next.poll_ready(task)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let Some(store) = &self.store else {
            return Either::Left(self.next.call(call));
        };
        let (method, service) = (call.request.method(), DESTINATIONS[call.to].service);
        if !method.is_safe() && CHANGING.contains(&service) {
            let change = store.begin_change();
            return Either::Right(changed(change, self.next.call(call)).boxed());
        }
        let is_lab = call.request.uri().path().starts_with(lab::PREFIX);
        if !matches!(*method, Method::GET | Method::HEAD) || service != KEPT || is_lab {
            return Either::Left(self.next.call(call));
        }
        Either::Right(match reason_to_pass_by(&call.request) {
            Some(reason) => passed_by(self.next.call(call), reason).boxed(),
            None => read(Arc::clone(store), self.next.clone(), call).boxed(),
        })
    }
}

/// Awaits a change, and tells the store what is known of it.
async fn changed(change: Change, answer: impl Future<Output = Answer>) -> Answer {
    let answer = answer.await;
    match &answer {
        // By the contract, nothing was changed.
        Ok(response) if response.status() == 503 => change.was_not_made(),
        Err(error) if error.status() == 503 => change.was_not_made(),
        // It may still be made.
        Ok(response) if response.status() == 202 => drop(change),
        Err(error) if matches!(error.status(), 502 | 504) => drop(change),
        _ => change.was_made(),
    }
    answer
}

/// Why a request passes by the cache, in the words of RFC 9211.
fn reason_to_pass_by(request: &Request<Option<Incoming>>) -> Option<&'static str> {
    let headers = request.headers();
    let asks = |name, token| has_token(headers, name, token);
    if asks(&CACHE_CONTROL, "no-cache")
        || asks(&CACHE_CONTROL, "no-store")
        || asks(&PRAGMA, "no-cache")
    {
        Some("request")
    } else if request.body().is_some() || headers.keys().any(|name| OWN.contains(name)) {
        Some("bypass")
    } else {
        None
    }
}

async fn passed_by(answer: impl Future<Output = Answer>, reason: &str) -> Answer {
    let response = answer.await?;
    Ok(with_status(response, format_args!("fwd={reason}")))
}

/// Answers a request from the store, or with what it waits for together with all who want the
/// same, or as if there were no cache.
async fn read<S>(store: Arc<Store>, mut next: S, call: Call) -> Answer
where
    S: Service<Call, Response = Response, Error = ApiError>,
    S::Future: Send + 'static,
{
    let key = key(&call.request);
    let (fetched, own) = match store.find(&key) {
        Found::Entry(entry) => {
            let ttl = store.ttl_of(&entry);
            return Ok(answer(&entry, &call, format_args!("hit; ttl={ttl}")));
        }
        Found::Fetching(fetched) => (fetched, None),
        Found::Nothing(fetch, fetched) => {
            let request = shared_request(&call.request);
            let answer = next.call(Call {
                to: call.to,
                instance: call.instance.clone(),
                request,
            });
            let (own, mine) = oneshot::channel();
            // A task of its own: the others get their response even if this client leaves.
            tokio::spawn(Context::current().scope(fetch.run(answer, own)));
            (fetched, Some(mine))
        }
        Found::Full => return passed_by(next.call(call), "bypass").await,
    };
    let is_first = own.is_some();
    match fetched.await {
        Ok(Fetched::Entry { entry, is_stored }) => {
            let mut status = "fwd=miss".to_owned();
            status += if is_stored { "; stored" } else { "" };
            status += if is_first { "" } else { "; collapsed" };
            let mut response = answer(&entry, &call, format_args!("{status}"));
            if is_first {
                // It is as new as can be.
                response.headers_mut().remove(AGE);
            }
            Ok(response)
        }
        Ok(Fetched::NotForAll) => {
            let own = match own {
                Some(own) => own.await.ok(),
                None => None,
            };
            match own {
                Some(response) => Ok(with_status(response, format_args!("fwd=miss"))),
                None => passed_by(next.call(call), "miss").await,
            }
        }
        Ok(Fetched::Failed(error)) => match store.find_stale(&key) {
            Some(entry) => {
                let ttl = store.ttl_of(&entry);
                Ok(answer(&entry, &call, format_args!("fwd=stale; ttl={ttl}")))
            }
            None => Err(error),
        },
        Err(panicked) => Err(ApiError::internal(panicked)),
    }
}

/// A response that is kept, for this call.
fn answer(entry: &Entry, call: &Call, status: fmt::Arguments<'_>) -> Response {
    with_status(entry.answer(call.request.headers()), status)
}

/// The response with a `Cache-Status`.
fn with_status(mut response: Response, status: fmt::Arguments<'_>) -> Response {
    if let Ok(status) = HeaderValue::try_from(format!("gateway; {status}")) {
        response.headers_mut().append(CACHE_STATUS, status);
    }
    response
}

/// All that a response may depend on: the target, byte by byte, and the [`KEYED`] headers.
fn key(request: &Request<Option<Incoming>>) -> Vec<u8> {
    let mut key = Vec::with_capacity(256);
    for name in &KEYED {
        for value in request.headers().get_all(name) {
            key.extend_from_slice(value.as_bytes());
            key.push(b'\n');
        }
        // Neither is in a value of a header.
        key.push(0);
    }
    let uri = request.uri();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    key.extend_from_slice(target.as_bytes());
    key
}

/// The request that fetches a response for all who have the same key: what is in the key, and the
/// id by which the service logs it. It is a GET for a HEAD too: hyper sends no body to a HEAD.
fn shared_request(request: &Request<Option<Incoming>>) -> Request<Option<Incoming>> {
    let mut shared = Request::new(None);
    request.uri().clone_into(shared.uri_mut());
    let id = HeaderName::from_static(REQUEST_ID);
    for name in KEYED.iter().chain([&id]) {
        for value in request.headers().get_all(name) {
            shared.headers_mut().append(name, value.clone());
        }
    }
    shared
}
