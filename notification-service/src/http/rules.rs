//! How warp expresses the rules of the contract, whatever the service: what goes
//! around its routes, the routes that every service has, and what handlers take
//! and give.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chassis::body::{self, MAX_BODY};
use chassis::error::ApiError;
use chassis::exchange::{Exchange, REQUEST_ID, STANDARD_HEADERS};
use chassis::guarded::Guarded;
use chassis::reply::{Body, Reply};
use chassis::run::RunError;
use chassis::server;
use chassis::service::Service;
use chassis::table::Page;
use futures_util::stream::{Stream, StreamExt, poll_fn};
use hyper::body::{Body as HttpBody, Incoming};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tower::{ServiceExt, service_fn};
use warp::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use warp::path::FullPath;
use warp::reject::{MethodNotAllowed, Reject};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply as _};

// ANCHOR: serve
/// Answers on `listener` with `routes`, which share `app`, until the service's
/// shutdown is over.
pub async fn serve<F, R, A>(
    listener: TcpListener,
    routes: F,
    app: A,
    service: Arc<Service>,
) -> Result<(), RunError>
where
    F: Filter<Extract = (R,), Error = Rejection> + Copy + Send + Sync + 'static,
    R: warp::Reply + 'static,
    A: Clone + Send + Sync + 'static,
{
    let http = TowerToHyperService::new(with_rules(routes, app, Arc::clone(&service)));
    server::serve(listener, http, &service).await;
    Ok(())
}
// ANCHOR_END: serve

// ANCHOR: with_rules
/// A tower service around every request, and filters for those that no route
/// answers.
fn with_rules<F, R, A>(
    routes: F,
    app: A,
    service: Arc<Service>,
) -> impl tower::Service<
    Request<Incoming>,
    Response = hyper::Response<impl Sent>,
    Error = Infallible,
    Future: Send,
> + Clone
where
    F: Filter<Extract = (R,), Error = Rejection> + Copy + Send + Sync + 'static,
    R: warp::Reply + 'static,
    A: Clone + Send + Sync + 'static,
{
    let fallback = warp::method()
        .and(warp::path::full())
        .and(self::service())
        .then(unrouted);
    let routes = no_trailing_slash().and(routes.or(operations()));
    let filters = warp::service(routes.recover(failed).or(fallback));
    service_fn(move |request| exchange(app.clone(), Arc::clone(&service), filters, request))
}
// ANCHOR_END: with_rules

/// A body of warp's, which has no name outside of it, with what it keeps.
trait Sent: HttpBody<Data = Bytes, Error = warp::Error> + Send + Unpin + 'static {}

impl<B: HttpBody<Data = Bytes, Error = warp::Error> + Send + Unpin + 'static> Sent for B {}

// ANCHOR: app
/// What the exchange has put into the request. warp clones the whole chain of
/// filters for each request; this one holds nothing, so that costs nothing.
pub fn app<A>() -> impl Filter<Extract = (A,), Error = Rejection> + Copy
where
    A: Clone + Send + Sync + 'static,
{
    warp::ext::get::<A>()
}
// ANCHOR_END: app

fn service() -> impl Filter<Extract = (Arc<Service>,), Error = Rejection> + Copy {
    app::<Arc<Service>>()
}

// The routes that every service has.

fn operations() -> impl Filter<Extract = (impl warp::Reply,), Error = Rejection> + Copy {
    let get = get_or_head().and(service());
    warp::path!("health")
        .and(get)
        .then(health)
        .or(warp::path!("health" / "ready").and(get).then(ready))
        .or(warp::path!("metrics").and(get).then(metrics))
        .or(warp::path!("openapi.json").and(get).then(openapi_json))
        .or(warp::path!("docs").and(get).then(docs))
        .or(warp::path!("docs" / String).and(get).then(docs_file))
}

async fn health(service: Arc<Service>) -> Answer {
    Answer(service.health())
}

async fn ready(service: Arc<Service>) -> Answer {
    Answer(service.ready().await)
}

async fn metrics(service: Arc<Service>) -> Answer {
    Answer(service.metrics_text())
}

// ANCHOR: openapi
async fn openapi_json(service: Arc<Service>) -> Answer {
    Answer(service.api().document())
}

async fn docs(service: Arc<Service>) -> Answer {
    Answer(service.api().page())
}

async fn docs_file(file: String, service: Arc<Service>) -> Result<Answer, Failure> {
    let file = decoded(&file)?;
    Ok(Answer(service.api().page_file(&file)))
}
// ANCHOR_END: openapi

async fn unrouted(method: Method, path: FullPath, service: Arc<Service>) -> Answer {
    Answer(service.api().unrouted(method.as_str(), path.as_str()))
}

// Around every request.

// ANCHOR: exchange
/// A tower service around every request, matched or not.
async fn exchange<S, A>(
    app: A,
    service: Arc<Service>,
    filters: S,
    mut request: Request<Incoming>,
) -> Result<hyper::Response<impl Sent>, Infallible>
where
    A: Clone + Send + Sync + 'static,
    S: tower::Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let header = |name| request.headers().get(name)?.to_str().ok();
    let exchange = Exchange::begin(
        &service,
        request.method().as_str(),
        request.uri().path(),
        header,
    );
    request.extensions_mut().insert(app);
    request.extensions_mut().insert(service);
    // CONNECT has no path, and warp panics where it looks for one.
    if request.uri().path().is_empty() {
        *request.uri_mut() = Uri::default();
    }
    let mut response = match exchange.run(filters.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Err(panicked) => Answer(panicked).into_response(),
    };
    for (name, value) in STANDARD_HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(exchange.context().request_id()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    exchange.answered(response.status().as_u16());
    Ok(response.map(|body| Guarded::new(body, exchange)))
}
// ANCHOR_END: exchange

/// warp takes `/health/` for `/health`.
fn no_trailing_slash() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::path::full()
        .and_then(async |path: FullPath| {
            if path.as_str().ends_with('/') {
                Err(warp::reject())
            } else {
                Ok(())
            }
        })
        .untuple_one()
}

// What handlers give.

/// A reply of the chassis as a response of warp.
pub struct Answer(pub Reply);

impl warp::Reply for Answer {
    fn into_response(self) -> Response {
        let Reply {
            status,
            headers,
            body,
        } = self.0;
        let mut response = match body {
            Body::Bytes(bytes) => Response::new(bytes.into()),
            Body::Stream(stream) => {
                // warp wants a body that threads may share. Nobody locks this one.
                let mut stream = Mutex::new(stream);
                let chunks = poll_fn(move |cx| stream.get_mut().poll_next_unpin(cx));
                warp::reply::stream(chunks).into_response()
            }
        };
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::try_from(value.as_ref()) {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

// ANCHOR: failure
/// An error of any layer, as a handler returns it with `?` and a filter rejects
/// with it.
#[derive(Debug)]
pub struct Failure(ApiError);

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl warp::Reply for Failure {
    fn into_response(self) -> Response {
        Answer(self.0.reply()).into_response()
    }
}

impl Reject for Failure {}

/// A rejection tells warp to try the next route, and ends up here with those of
/// all the others. One of ours is the answer, whatever the others say; without
/// one, no route was meant.
async fn failed(rejection: Rejection) -> Result<Answer, Rejection> {
    if let Some(Failure(error)) = rejection.find() {
        Ok(Answer(error.clone().reply()))
    } else if rejection.is_not_found() || rejection.find::<MethodNotAllowed>().is_some() {
        Err(rejection)
    } else {
        Ok(Answer(ApiError::internal(format!("{rejection:?}")).reply()))
    }
}
// ANCHOR_END: failure

// What handlers take.

/// `HEAD` answers wherever `GET` does; hyper leaves the body out.
pub fn get_or_head() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::get().or(warp::head()).unify()
}

// ANCHOR: path_and_query
/// What the parameter of a path stands for, such as an id. It belongs behind the
/// method: what it rejects is the failure of the one route that was meant.
pub async fn parameter<T: FromStr<Err = ApiError>>(segment: String) -> Result<T, Rejection> {
    let value = decoded(&segment).and_then(|segment| segment.parse());
    Ok(value.map_err(Failure)?)
}

/// A segment of the path, which warp leaves as it came.
fn decoded(segment: &str) -> Result<Cow<'_, str>, ApiError> {
    percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| ApiError::undecodable())
}

/// `?limit=` and `?after=`.
pub fn page() -> impl Filter<Extract = (Page,), Error = Rejection> + Copy {
    warp::query::raw()
        .map(Some)
        .or_else(async |_| Ok::<_, Infallible>((None,)))
        .and_then(async |query: Option<String>| {
            Ok::<_, Rejection>(Page::parse(query.as_deref()).map_err(Failure)?)
        })
}
// ANCHOR_END: path_and_query

// ANCHOR: json
/// A JSON body within the limits of the contract.
pub fn json<T: DeserializeOwned + Send>() -> impl Filter<Extract = (T,), Error = Rejection> + Copy {
    service()
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and_then(async |service: Arc<Service>, headers: HeaderMap, chunks| {
            Ok::<_, Rejection>(
                read_json(&service, &headers, chunks)
                    .await
                    .map_err(Failure)?,
            )
        })
}

async fn read_json<T: DeserializeOwned>(
    service: &Service,
    headers: &HeaderMap,
    chunks: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<T, ApiError> {
    body::check_headers(|name| headers.get(name)?.to_str().ok())?;
    let bytes = body::in_time(service.limits().body, read(chunks)).await??;
    body::parse(&bytes)
}

async fn read(
    chunks: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<BytesMut, ApiError> {
    let mut chunks = pin!(chunks);
    let mut bytes = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(body::unreadable)?;
        if bytes.len() + chunk.remaining() > MAX_BODY {
            return Err(ApiError::payload_too_large(MAX_BODY));
        }
        bytes.put(chunk);
    }
    Ok(bytes)
}
// ANCHOR_END: json

#[cfg(test)]
mod tests {
    use chassis::config::Env;
    use chassis::testkit::Server;

    use super::*;
    use crate::http::API;
    use crate::{App, Config};

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_request_alone() {
        let server = Server::start(|listener, shutdown| async {
            let app = App::new(&Config::read(Env::new(|_| None))?, &API, shutdown)?;
            let routes = warp::path!("health" / "panic")
                .then(async || -> Answer { panic!("as the test wants") });
            serve(listener, routes, (), app.service).await
        })
        .await;
        for _ in 0..3 {
            let got = server.get("/health/panic").await;
            assert_eq!(got.header("access-control-allow-origin"), "*");
            let sentence = got.expect_error(500, "internal");
            assert!(
                !sentence.contains("as the test wants"),
                "the cause is for the log: {sentence}"
            );
            server.get("/health").await.expect(200);
        }
    }
}
