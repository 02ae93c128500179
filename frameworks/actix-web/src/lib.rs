//! How actix expresses the rules of the contract, whatever the service: what goes
//! around its routes, the routes that every service has, and what handlers take
//! and give.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::future::{self, Ready};
use std::pin::Pin;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Protocol};
use actix_server::Server;
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Payload, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Bytes, Data};
use actix_web::{
    Error, FromRequest, Handler, HttpMessage, HttpRequest, HttpResponse, Responder, ResponseError,
    guard,
};
use chassis::contract::body::{self, MAX_BODY};
use chassis::contract::error::ApiError;
use chassis::contract::idempotency::Key;
use chassis::contract::page::Page;
use chassis::contract::reply::Reply;
use chassis::serve::connection::{Connection, MAX_HEAD, Phase};
use chassis::serve::exchange::{Exchange, STANDARD_HEADERS};
use chassis::serve::run::RunError;
use chassis::serve::service::Service;
use chassis::serve::shutdown::GRACE;
use chassis::values::headers::IDEMPOTENCY_KEY;
use chassis::values::headers::REQUEST_ID;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::poll_fn;
use futures_util::{FutureExt, StreamExt};
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::yield_now;

/// Routes, as actix has each of its workers configured with them.
pub type Routes = fn(&mut web::ServiceConfig);

// ANCHOR: serve
/// Answers on `listener` with `routes`, which share `app`, until the service's
/// shutdown is over.
///
/// actix brings its own server: an accepting thread, and workers that each are a
/// single-threaded runtime with an application of its own. What they share is
/// made here, outside of what makes the applications.
///
/// `HttpServer` talks over plain sockets, and its time-out for a head is for the
/// first one of a connection. So the server is put together here as `HttpServer`
/// does it, over the connections that the other four have.
pub async fn serve<A>(
    listener: TcpListener,
    routes: Routes,
    app: A,
    service: Arc<Service>,
) -> Result<(), RunError>
where
    A: Send + Sync + 'static,
{
    let shutdown = service.shutdown().clone();
    let requested = shutdown.clone();
    let (app, service) = (Data::new(app), Data::from(service));
    let server = Server::build();
    let stopping = server.graceful_shutdown_signal();
    let connections = move || {
        let (stopping, service) = (stopping.clone(), service.clone());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            // The connection has its own time-outs, and lingers when it is closed.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(Duration::ZERO)
            .keep_alive(KeepAlive::Os)
            // A client that hangs up is gone, as it is to hyper and the other four.
            .h1_allow_half_closed(false)
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.phase());
            })
            .finish(map_config(
                with_rules(routes, app.clone(), service.clone()),
                |()| AppConfig::default(),
            ));
        fn_service(move |stream: TcpStream| {
            let connection = Connection::new(stream, &service);
            async move { Ok((connection, Protocol::Http1, None)) }
        })
        .and_then(http)
    };
    server
        .workers(Handle::current().metrics().num_workers())
        .shutdown_signal(async move { requested.requested().await })
        .shutdown_timeout(GRACE.as_secs())
        .listen("http", listener.into_std()?, connections)?
        .run()
        .await?;
    shutdown.drained().await;
    Ok(())
}
// ANCHOR_END: serve

// ANCHOR: with_rules
/// A middleware for every request, and a default service for those that no route
/// matches.
fn with_rules<A: 'static>(
    routes: Routes,
    app: Data<A>,
    service: Data<Service>,
) -> actix_web::App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = Error,
        InitError = (),
    >,
> {
    actix_web::App::new()
        .app_data(app)
        .app_data(service)
        .configure(routes)
        .configure(operations)
        .default_service(web::to(unrouted))
        .wrap(from_fn(exchange))
        .wrap(from_fn(connection))
}
// ANCHOR_END: with_rules

// The routes that every service has.

fn operations(routes: &mut web::ServiceConfig) {
    routes
        .route("/health", get(health))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi_json))
        .route("/docs", get(docs))
        .route("/docs/{file}", get(docs_file));
}

async fn health(service: Data<Service>) -> Answer {
    Answer(service.health())
}

async fn ready(service: Data<Service>) -> Answer {
    Answer(service.ready().await)
}

async fn metrics(service: Data<Service>) -> Answer {
    Answer(service.metrics_text())
}

// ANCHOR: openapi
async fn openapi_json(service: Data<Service>) -> Answer {
    Answer(service.api().document())
}

async fn docs(service: Data<Service>) -> Answer {
    Answer(service.api().page())
}

async fn docs_file(service: Data<Service>, file: Result<web::Path<String>, Error>) -> Answer {
    // What cannot be decoded is the name of no file.
    let file = file.map_or_else(|_| String::new(), web::Path::into_inner);
    Answer(service.api().page_file(&file))
}
// ANCHOR_END: openapi

async fn unrouted(service: Data<Service>, request: HttpRequest) -> Answer {
    let api = service.api();
    Answer(api.unrouted(request.method().as_str(), request.path()))
}

/// A route for GET, and for HEAD: actix's own answers no HEAD.
pub fn get<F, Args>(handler: F) -> actix_web::Route
where
    F: Handler<Args, Output: Responder + 'static>,
    Args: actix_web::FromRequest + 'static,
{
    web::route()
        .guard(guard::Any(guard::Get()).or(guard::Head()))
        .to(handler)
}

// Around every request.

/// The outermost middleware: tells the connection what becomes of its requests,
/// and refuses a head that is over the limit, as hyper does. actix's own is twice
/// as high.
async fn connection(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse, Error> {
    if head_size(&request) > MAX_HEAD {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let refused = HttpResponse::build(status).force_close().finish();
        return Ok(request.into_response(refused));
    }
    let phase = request.conn_data::<Arc<Phase>>().cloned();
    let phase = phase.expect("`serve` gives every connection one");
    let has_body = !matches!(request.parts().1, Payload::None);
    phase.begin(has_body);
    let unread = has_body.then(|| shared_body(&mut request));
    let answer = next.call(request).await;
    let at_end = |body: &Shared| matches!(body.borrow_mut().next().now_or_never(), Some(None));
    if !unread.as_ref().is_none_or(at_end) {
        // What has come along with the head, actix reads now, as hyper does: a body
        // that is whole by then need not end the connection.
        yield_now().await;
    }
    phase.answered();
    answer.map(|answer| match unread {
        Some(unread) => answer.map_body(|_, body| BoxBody::new(Holding { body, unread })),
        None => answer,
    })
}

type Shared = Rc<RefCell<Payload>>;

/// The body of a request, which whoever reads it shares from now on.
fn shared_body(request: &mut ServiceRequest) -> Shared {
    let body = Rc::new(RefCell::new(request.take_payload()));
    let shared = Rc::clone(&body);
    let reading = poll_fn(move |cx| shared.borrow_mut().poll_next_unpin(cx));
    request.set_payload(Payload::Stream {
        payload: Box::pin(reading),
    });
    body
}

/// The body of an answer, holding that of its request until it is sent. So what
/// was not read of that ends the connection, as with hyper. Of a body in chunks
/// that nobody holds any more, actix reads all that is still sent.
struct Holding {
    body: BoxBody,
    #[expect(dead_code, reason = "to be held is what it is for")]
    unread: Shared,
}

impl MessageBody for Holding {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.body.as_pin_mut().poll_next(cx)
    }
}

/// The bytes of a request before its body.
fn head_size(request: &ServiceRequest) -> usize {
    let line = request.method().as_str().len() + " ".len() + " HTTP/1.1\r\n".len();
    let target = request.head().uri.path_and_query();
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + ": \r\n".len() + value.len());
    line + target.map_or(0, |target| target.as_str().len()) + headers.sum::<usize>() + "\r\n".len()
}

// ANCHOR: exchange
/// A middleware around every request, matched or not.
async fn exchange(
    service: Data<Service>,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse, Error> {
    let header = |name| request.headers().get(name)?.to_str().ok();
    let exchange = Exchange::begin(&service, request.method().as_str(), request.path(), header);
    let mut result = match exchange.run(next.call(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(error.error_response()),
        // A response of actix is tied to its request, and the panic has taken
        // that along: what is left is an error.
        Err(panicked) => Err(Answer(panicked).into_response()),
    };
    let response = match &mut result {
        Ok(response) => response.response_mut(),
        Err(response) => response,
    };
    for (name, value) in STANDARD_HEADERS {
        response.headers_mut().insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    if let Ok(id) = HeaderValue::from_str(exchange.context().request_id()) {
        response
            .headers_mut()
            .insert(HeaderName::from_static(REQUEST_ID), id);
    }
    exchange.finish(response.status().as_u16());
    result.map_err(|response| InternalError::from_response("no response", response).into())
}
// ANCHOR_END: exchange

// What handlers give.

/// A reply of the chassis as a response of actix.
pub struct Answer(pub Reply);

impl Answer {
    fn into_response(self) -> HttpResponse {
        let Reply {
            status,
            headers,
            body,
        } = self.0;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        for (name, value) in headers {
            // This one is between actix and the client: as a header it is ignored.
            if (name, value.as_ref()) == ("connection", "close") {
                response.force_close();
            } else {
                response.insert_header((name, value.as_ref()));
            }
        }
        response.body(match body {
            Cow::Borrowed(body) => Bytes::from_static(body),
            Cow::Owned(body) => Bytes::from(body),
        })
    }
}

impl Responder for Answer {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.into_response()
    }
}

// ANCHOR: failure
/// An error of any layer, as a handler returns it with `?`.
#[derive(Debug)]
pub struct Failure(ApiError);

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl ResponseError for Failure {
    fn error_response(&self) -> HttpResponse {
        Answer(self.0.clone().reply()).into_response()
    }
}
// ANCHOR_END: failure

// What handlers take.

// ANCHOR: path_and_query
/// The parameter of the path, such as an id.
pub struct Path<T>(pub T);

impl<T: FromStr<Err = ApiError>> FromRequest for Path<T> {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let segment = web::Path::<String>::from_request(request, payload).into_inner();
        let segment = segment.map_err(|_| ApiError::undecodable());
        let value = segment.and_then(|segment| segment.into_inner().parse());
        future::ready(value.map(Self).map_err(Failure::from))
    }
}

/// `?limit=` and `?after=`.
pub struct PageOf(pub Page);

impl FromRequest for PageOf {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let page = Page::parse(request.uri().query());
        future::ready(page.map(Self).map_err(Failure::from))
    }
}
// ANCHOR_END: path_and_query

/// `Idempotency-Key`, if there is one.
pub struct IdempotencyKey(pub Option<Key>);

impl FromRequest for IdempotencyKey {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let key = request.headers().get(IDEMPOTENCY_KEY);
        let key = Key::parse(key.map(HeaderValue::as_bytes));
        future::ready(key.map(Self).map_err(Failure::from))
    }
}

// ANCHOR: json
/// A JSON body within the limits of the contract.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let body = web::Payload::from_request(&request, payload).into_inner();
        async move {
            let body = body.map_err(body::unreadable)?;
            Ok(Self(read_json(&request, body).await?))
        }
        .boxed_local()
    }
}

async fn read_json<T: DeserializeOwned>(
    request: &HttpRequest,
    body: web::Payload,
) -> Result<T, ApiError> {
    body::check_headers(|name| request.headers().get(name)?.to_str().ok())?;
    let service = request.app_data::<Data<Service>>();
    let service = service.expect("`serve` shares it");
    let reading = body.to_bytes_limited(MAX_BODY);
    let read = body::in_time(service.limits().body, reading).await?;
    let bytes = read.map_err(|_| ApiError::payload_too_large(MAX_BODY))?;
    body::parse(&bytes.map_err(body::unreadable)?)
}
// ANCHOR_END: json
