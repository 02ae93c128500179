//! How actix expresses the rules of the contract, whatever the service: what goes
//! around its routes, the routes that every service has, and what handlers take
//! and give.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Protocol};
use actix_server::Server;
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Payload, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Bytes, Data};
use actix_web::{
    Error, Handler, HttpMessage, HttpRequest, HttpResponse, Responder, ResponseError, guard,
};
use chassis::connection::{Connection, MAX_HEAD, Phase};
use chassis::error::ApiError;
use chassis::exchange::{Exchange, REQUEST_ID, STANDARD_HEADERS};
use chassis::reply::{Body, Reply};
use chassis::run::RunError;
use chassis::service::Service;
use chassis::shutdown::GRACE;
use futures_util::stream::poll_fn;
use futures_util::{FutureExt, StreamExt};
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
    let turn = phase.begin(has_body);
    let unread = has_body.then(|| shared_body(&mut request));
    let answer = next.call(request).await;
    let at_end = |body: &Shared| matches!(body.borrow_mut().next().now_or_never(), Some(None));
    if !unread.as_ref().is_none_or(at_end) {
        // What has come along with the head, actix reads now, as hyper does: a body
        // that is whole by then need not end the connection.
        yield_now().await;
    }
    // Of a body in chunks that nobody holds any more, actix reads all that is still
    // sent. Held until the response is sent, what was not read of it ends the
    // connection, as with hyper.
    answer.map(|answer| answer.map_body(|_, body| guarded(body, (turn, unread))))
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

/// A response body that keeps `guard` until it has been sent or has failed.
struct Guarded<G> {
    body: BoxBody,
    guard: Option<G>,
}

fn guarded(body: BoxBody, guard: impl Unpin + 'static) -> BoxBody {
    let guard = Some(guard);
    BoxBody::new(Guarded { body, guard })
}

impl<G: Unpin> MessageBody for Guarded<G> {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let next = self.body.as_pin_mut().poll_next(cx);
        if self.body.size().is_eof() {
            // actix may send the last bytes before it asks whether there are more.
            self.guard = None;
        }
        next
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
    exchange.answered(response.status().as_u16());
    match result {
        Ok(response) => Ok(response.map_body(|_, body| guarded(body, exchange))),
        Err(response) => {
            let response = response.map_body(|_, body| guarded(body, exchange));
            Err(InternalError::from_response("no response", response).into())
        }
    }
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
        match body {
            Body::Bytes(bytes) => response.body(bytes),
            Body::Stream(stream) => response.body(BodyStream::new(stream)),
        }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use chassis::config::Env;
    use chassis::testkit::Server;

    use super::*;
    use crate::http::API;
    use crate::{App, Config};

    #[tokio::test]
    async fn a_shutdown_waits_for_the_work_that_outlives_its_request() {
        static DONE: AtomicBool = AtomicBool::new(false);
        let server = Server::start(|listener, shutdown| async {
            let app = App::new(&Config::read(Env::new(|_| None))?, &API, shutdown)?;
            let routes: Routes = |config| {
                let spawn = async |service: Data<Service>| {
                    service.shutdown().spawn(async {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        DONE.store(true, Ordering::Relaxed);
                    });
                    Answer(Reply::no_content())
                };
                config.route("/health/spawn", get(spawn));
            };
            serve(listener, routes, (), app.service).await
        })
        .await;
        server.get("/health/spawn").await.expect(204);
        server.stop().await;
        assert!(DONE.load(Ordering::Relaxed), "it was cut off");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_request_alone() {
        let server = Server::start(|listener, shutdown| async {
            let app = App::new(&Config::read(Env::new(|_| None))?, &API, shutdown)?;
            let routes: Routes = |config| {
                config.route(
                    "/health/panic",
                    get(async || -> Answer { panic!("as the test wants") }),
                );
            };
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
