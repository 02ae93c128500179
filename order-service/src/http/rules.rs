//! How poem expresses the rules of the contract, whatever the service: what goes
//! around its routes, the routes that every service has, and what handlers take
//! and give.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;

use chassis::body::{self, MAX_BODY};
use chassis::error::ApiError;
use chassis::exchange::{Exchange, REQUEST_ID, STANDARD_HEADERS};
use chassis::guarded::Guarded;
use chassis::idempotency::{IDEMPOTENCY_KEY, Key};
use chassis::reply::{self, Reply};
use chassis::run::RunError;
use chassis::server;
use chassis::service::Service;
use chassis::table::Page;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use poem::error::{MethodNotAllowedError, NotFoundError, ReadBodyError};
use poem::http::uri::Scheme;
use poem::http::{HeaderName, HeaderValue, StatusCode};
use poem::web::{self, Data, LocalAddr, RemoteAddr};
use poem::{
    Body, Endpoint, EndpointExt, FromRequest, IntoResponse, Request, RequestBody, Response, Route,
    get, handler,
};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

// ANCHOR: serve
/// Answers on `listener` with `routes`, which share `app`, until the service's
/// shutdown is over.
pub async fn serve<A>(
    listener: TcpListener,
    routes: Route,
    app: A,
    service: Arc<Service>,
) -> Result<(), RunError>
where
    A: Clone + Send + Sync + 'static,
{
    let endpoint = with_rules(routes, app, Arc::clone(&service));
    let endpoint = Arc::new(endpoint);
    let http = service_fn(move |request: hyper::Request<Incoming>| {
        let endpoint = Arc::clone(&endpoint);
        async move {
            // Nobody here looks at the addresses.
            let request = Request::from((
                request,
                LocalAddr::default(),
                RemoteAddr::default(),
                Scheme::HTTP,
            ));
            Ok::<_, Infallible>(hyper::Response::from(endpoint.get_response(request).await))
        }
    });
    server::serve(listener, http, &service).await;
    Ok(())
}
// ANCHOR_END: serve

// ANCHOR: with_rules
/// What all handlers share, and a middleware for every request, matched or not.
fn with_rules<A>(routes: Route, app: A, service: Arc<Service>) -> impl Endpoint
where
    A: Clone + Send + Sync + 'static,
{
    with_operations(routes)
        .data(app)
        .data(Arc::clone(&service))
        .around(move |endpoint, request| exchange(Arc::clone(&service), endpoint, request))
}
// ANCHOR_END: with_rules

type Serving<'a> = Data<&'a Arc<Service>>;

// The routes that every service has.

fn with_operations(routes: Route) -> Route {
    routes
        .at("/health", get(health))
        .at("/health/ready", get(ready))
        .at("/metrics", get(metrics))
        .at("/openapi.json", get(openapi_json))
        .at("/docs", get(docs))
        .at("/docs/:file", get(docs_file))
}

#[handler]
async fn health(service: Serving<'_>) -> Answer {
    Answer(service.health())
}

#[handler]
async fn ready(service: Serving<'_>) -> Answer {
    Answer(service.ready().await)
}

#[handler]
async fn metrics(service: Serving<'_>) -> Answer {
    Answer(service.metrics_text())
}

// ANCHOR: openapi
#[handler]
async fn openapi_json(service: Serving<'_>) -> Answer {
    Answer(service.api().document())
}

#[handler]
async fn docs(service: Serving<'_>) -> Answer {
    Answer(service.api().page())
}

#[handler]
async fn docs_file(service: Serving<'_>, file: poem::Result<web::Path<String>>) -> Answer {
    // What cannot be decoded is the name of no file.
    let file = file.map_or_else(|_| String::new(), |web::Path(file)| file);
    Answer(service.api().page_file(&file))
}
// ANCHOR_END: openapi

// Around every request.

// ANCHOR: exchange
/// Around every request. poem's own refusals come out of the endpoint as errors
/// that have not been turned into responses yet.
async fn exchange(
    service: Arc<Service>,
    endpoint: Arc<impl Endpoint>,
    request: Request,
) -> poem::Result<Response> {
    let header = |name| request.headers().get(name)?.to_str().ok();
    let exchange = Exchange::begin(
        &service,
        request.method().as_str(),
        request.uri().path(),
        header,
    );
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let answering = exchange.run(async {
        match endpoint.call(request).await {
            Ok(answer) => answer.into_response(),
            Err(error) if error.is::<NotFoundError>() || error.is::<MethodNotAllowedError>() => {
                Answer(service.api().unrouted(method.as_str(), uri.path())).into_response()
            }
            Err(error) => error.into_response(),
        }
    });
    let mut response = answering
        .await
        .unwrap_or_else(|panicked| Answer(panicked).into_response());
    for (name, value) in STANDARD_HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(exchange.context().request_id()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    exchange.answered(response.status().as_u16());
    let body = BoxBody::from(response.take_body());
    response.set_body(BoxBody::new(Guarded::new(body, exchange)));
    Ok(response)
}
// ANCHOR_END: exchange

// What handlers give.

/// A reply of the chassis as a response of poem.
pub struct Answer(pub Reply);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Reply {
            status,
            headers,
            body,
        } = self.0;
        let mut response = Response::default();
        response
            .set_status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        match body {
            reply::Body::Bytes(bytes) => {
                // poem drops the body of an answer to HEAD, and its length with it.
                let length = HeaderValue::from(bytes.len());
                response.headers_mut().insert("content-length", length);
                response.set_body(bytes);
            }
            reply::Body::Stream(stream) => response.set_body(Body::from_bytes_stream(stream)),
        }
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
/// An error of any layer, as a handler returns it with `?`.
pub struct Failure(ApiError);

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl From<Failure> for poem::Error {
    fn from(Failure(error): Failure) -> Self {
        Self::from_response(Answer(error.reply()).into_response())
    }
}
// ANCHOR_END: failure

// What handlers take.

// ANCHOR: path_and_query
/// The parameter of the path, such as an id.
pub struct Path<T>(pub T);

impl<'a, T: FromStr<Err = ApiError>> FromRequest<'a> for Path<T> {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let segment = web::Path::<String>::from_request_without_body(request).await;
        let web::Path(segment) = segment.map_err(|_| Failure(ApiError::undecodable()))?;
        Ok(Self(segment.parse().map_err(Failure)?))
    }
}

/// `?limit=` and `?after=`.
pub struct PageOf(pub Page);

impl<'a> FromRequest<'a> for PageOf {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(Page::parse(request.uri().query()).map_err(Failure)?))
    }
}
// ANCHOR_END: path_and_query

/// `Idempotency-Key`, if there is one.
pub struct IdempotencyKey(pub Option<Key>);

impl<'a> FromRequest<'a> for IdempotencyKey {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let key = request.headers().get(IDEMPOTENCY_KEY);
        Ok(Self(
            Key::parse(key.map(HeaderValue::as_bytes)).map_err(Failure)?,
        ))
    }
}

// ANCHOR: json
/// A JSON body within the limits of the contract.
pub struct Json<T>(pub T);

impl<'a, T: DeserializeOwned> FromRequest<'a> for Json<T> {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> poem::Result<Self> {
        body::check_headers(|name| request.headers().get(name)?.to_str().ok()).map_err(Failure)?;
        let service = Serving::from_request_without_body(request).await?;
        let reading = body.take()?.into_bytes_limit(MAX_BODY);
        let read = body::in_time(service.limits().body, reading).await;
        let bytes = read.map_err(Failure)?.map_err(|error| match error {
            ReadBodyError::PayloadTooLarge => Failure(ApiError::payload_too_large(MAX_BODY)),
            error => Failure(body::unreadable(error)),
        })?;
        Ok(Self(body::parse(&bytes).map_err(Failure)?))
    }
}
// ANCHOR_END: json

#[cfg(test)]
mod tests {
    use chassis::config::Env;
    use chassis::testkit::Server;

    use super::*;
    use crate::http::API;
    use crate::{App, Config};

    #[handler]
    async fn panicking() {
        panic!("as the test wants")
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_request_alone() {
        let server = Server::start(|listener, shutdown| async {
            let app = App::new(&Config::read(Env::new(|_| None))?, &API, shutdown)?;
            let routes = Route::new().at("/health/panic", get(panicking));
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
