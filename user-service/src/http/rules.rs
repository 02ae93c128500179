//! How axum expresses the rules of the contract, whatever the service: what goes
//! around its routes, the routes that every service has, and what handlers take
//! and give.

use std::str::FromStr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{self, DefaultBodyLimit, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, RequestExt, Router};
use chassis::body::{self, MAX_BODY};
use chassis::error::ApiError;
use chassis::exchange::{Exchange, REQUEST_ID, STANDARD_HEADERS};
use chassis::guarded::Guarded;
use chassis::reply::{self, Reply};
use chassis::run::RunError;
use chassis::server;
use chassis::service::Service;
use chassis::table::Page;
use hyper_util::service::TowerToHyperService;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

// ANCHOR: serve
/// Answers on `listener` with `routes`, which share `app`, until the service's
/// shutdown is over.
pub async fn serve<A>(
    listener: TcpListener,
    routes: Router<A>,
    app: A,
    service: Arc<Service>,
) -> Result<(), RunError>
where
    A: Clone + Send + Sync + 'static,
{
    let routes = routes.with_state(app);
    let http = TowerToHyperService::new(with_rules(routes, Arc::clone(&service)));
    server::serve(listener, http, &service).await;
    Ok(())
}
// ANCHOR_END: serve

// ANCHOR: with_rules
/// A layer for every request, and fallbacks for those that no route matches.
fn with_rules(routes: Router, service: Arc<Service>) -> Router {
    routes
        .merge(operations())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .fallback(unrouted)
        .method_not_allowed_fallback(unrouted)
        .layer(from_fn(exchange))
        .layer(Extension(service))
}
// ANCHOR_END: with_rules

/// The service, for what knows no app of any.
type Serving = Extension<Arc<Service>>;

// The routes that every service has.

fn operations() -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi_json))
        .route("/docs", get(docs))
        .route("/docs/{file}", get(docs_file))
}

async fn health(Extension(service): Serving) -> Answer {
    Answer(service.health())
}

async fn ready(Extension(service): Serving) -> Answer {
    Answer(service.ready().await)
}

async fn metrics(Extension(service): Serving) -> Answer {
    Answer(service.metrics_text())
}

// ANCHOR: openapi
async fn openapi_json(Extension(service): Serving) -> Answer {
    Answer(service.api().document())
}

async fn docs(Extension(service): Serving) -> Answer {
    Answer(service.api().page())
}

async fn docs_file(
    Extension(service): Serving,
    file: Result<extract::Path<String>, PathRejection>,
) -> Answer {
    // What cannot be decoded is the name of no file.
    let file = file.map_or_else(|_| String::new(), |extract::Path(file)| file);
    Answer(service.api().page_file(&file))
}
// ANCHOR_END: openapi

async fn unrouted(Extension(service): Serving, method: Method, uri: Uri) -> Answer {
    Answer(service.api().unrouted(method.as_str(), uri.path()))
}

// Around every request.

// ANCHOR: exchange
/// A layer around every request, matched or not.
async fn exchange(Extension(service): Serving, request: Request, next: Next) -> Response {
    let header = |name| request.headers().get(name)?.to_str().ok();
    let exchange = Exchange::begin(
        &service,
        request.method().as_str(),
        request.uri().path(),
        header,
    );
    let mut response = exchange
        .run(next.run(request))
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
    response.map(|body| Body::new(Guarded::new(body, exchange)))
}
// ANCHOR_END: exchange

// What handlers give.

/// A reply of the chassis as a response of axum.
pub struct Answer(pub Reply);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Reply {
            status,
            headers,
            body,
        } = self.0;
        let mut response = Response::new(match body {
            reply::Body::Bytes(bytes) => Body::from(bytes),
            reply::Body::Stream(stream) => Body::from_stream(stream),
        });
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
/// An error of any layer, as a handler returns it with `?`.
pub struct Failure(ApiError);

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        Answer(self.0.reply()).into_response()
    }
}
// ANCHOR_END: failure

// What handlers take.

// ANCHOR: path_and_query
/// The parameter of the path, such as an id.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: FromStr<Err = ApiError>> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let segment = extract::Path::<String>::from_request_parts(parts, state).await;
        let extract::Path(segment) = segment.map_err(|_| ApiError::undecodable())?;
        Ok(Self(segment.parse()?))
    }
}

/// `?limit=` and `?after=`.
pub struct PageOf(pub Page);

impl<S: Send + Sync> FromRequestParts<S> for PageOf {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(Page::parse(parts.uri.query())?))
    }
}
// ANCHOR_END: path_and_query

// ANCHOR: json
/// A JSON body within the limits of the contract.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Failure> {
        body::check_headers(|name| request.headers().get(name)?.to_str().ok())?;
        let service = request.extract_parts::<Serving>().await;
        let Extension(service) = service.map_err(ApiError::internal)?;
        let reading = Bytes::from_request(request, state);
        let read = body::in_time(service.limits().body, reading).await?;
        let bytes = read.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::payload_too_large(MAX_BODY),
            _ => body::unreadable(rejection),
        })?;
        Ok(Self(body::parse(&bytes)?))
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

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_request_alone() {
        let server = Server::start(|listener, shutdown| async {
            let app = App::new(&Config::read(Env::new(|_| None))?, &API, shutdown)?;
            let routes = Router::new().route(
                "/health/panic",
                get(async || -> () { panic!("as the test wants") }),
            );
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
