//! How Rocket expresses the rules of the contract, whatever the service: what goes
//! around its routes, the routes that every service has, and what handlers take
//! and give.

use std::convert::Infallible;
use std::error::Error;
use std::io::Cursor;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use chassis::body::{self, MAX_BODY};
use chassis::error::ApiError;
use chassis::exchange::{Exchange, REQUEST_ID, STANDARD_HEADERS};
use chassis::guarded::Guarded;
use chassis::idempotency::{IDEMPOTENCY_KEY, Key};
use chassis::reply::{Body, Reply};
use chassis::run::RunError;
use chassis::server;
use chassis::service::Service;
use chassis::table::Page;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{StatusCode, Uri};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rocket::config::{Ident, LogLevel};
use rocket::data::{self, Data, FromData};
use rocket::fairing::{Fairing, Info, Kind};
use rocket::http::uri::Origin;
use rocket::http::{Header, Method, Status};
use rocket::local::asynchronous::Client;
use rocket::outcome::IntoOutcome;
use rocket::request::{self, FromParam, FromRequest, Request};
use rocket::response::{self, Responder, Response};
use rocket::route::{Handler, Outcome, Route};
use rocket::shield::Shield;
use rocket::{Build, Rocket, State, catch, catchers, get, routes, uri};
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_util::io::{ReaderStream, StreamReader};

// ANCHOR: serve
/// Answers on `listener` with `routes`, which share `app`, until the service's
/// shutdown is over.
///
/// Rocket's own server takes no listener, never gives up on a connection that
/// sends half a head, and cuts off what is in flight. Its in-process client,
/// made for tests, goes the same way through fairings, routes and catchers; so
/// it is put behind the accept loop that axum, poem and warp have.
pub async fn serve<A>(
    listener: TcpListener,
    routes: Vec<Route>,
    app: A,
    service: Arc<Service>,
) -> Result<(), RunError>
where
    A: Send + Sync + 'static,
{
    let rocket = with_rules(routes, Arc::clone(&service)).manage(app);
    let rocket = Client::untracked(rocket)
        .await
        .map_err(|error| RunError::Start(format!("Rocket does not start: {error}")))?;
    // Its responses borrow it, and outlive their handlers: they are streams. So it
    // stays until the process ends.
    let rocket: &'static Client = Box::leak(Box::new(rocket));
    let http =
        service_fn(
            move |request| async move { Ok::<_, Infallible>(dispatch(rocket, request).await) },
        );
    server::serve(listener, http, &service).await;
    Ok(())
}
// ANCHOR_END: serve

// ANCHOR: with_rules
/// A fairing for every request, an exchange around every handler, and a catcher
/// for what no route matches.
fn with_rules(routes: Vec<Route>, service: Arc<Service>) -> Rocket<Build> {
    let mut routes = [routes, operations()].concat();
    for route in &mut routes {
        route.handler = Box::new(InExchange(route.handler.clone()));
    }
    // Given a whole configuration, Rocket reads neither ROCKET_* nor Rocket.toml.
    let config = rocket::Config {
        log_level: LogLevel::Off,
        cli_colors: false,
        ident: Ident::none(),
        ..rocket::Config::default()
    };
    rocket::custom(config)
        // In place of Rocket's own, with headers that the other services lack.
        .attach(Shield::new())
        .attach(Rules)
        .mount("/", routes)
        .register("/", catchers![unrouted])
        .manage(service)
}
// ANCHOR_END: with_rules

// The routes that every service has.

fn operations() -> Vec<Route> {
    routes![health, ready, metrics, openapi_json, docs, docs_file]
}

type Serving = State<Arc<Service>>;

#[get("/health")]
fn health(service: &Serving) -> Answer {
    Answer(service.health())
}

#[get("/health/ready")]
async fn ready(service: &Serving) -> Answer {
    Answer(service.ready().await)
}

#[get("/metrics")]
fn metrics(service: &Serving) -> Answer {
    Answer(service.metrics_text())
}

// ANCHOR: openapi
#[get("/openapi.json")]
fn openapi_json(service: &Serving) -> Answer {
    Answer(service.api().document())
}

#[get("/docs")]
fn docs(service: &Serving) -> Answer {
    Answer(service.api().page())
}

#[get("/docs/<file>")]
fn docs_file(service: &Serving, file: &str) -> Answer {
    Answer(service.api().page_file(file))
}
// ANCHOR_END: openapi

// ANCHOR: unrouted
#[catch(default)]
fn unrouted(status: Status, request: &Request<'_>) -> Answer {
    let api = service(request).api();
    let arrived = arrived(request);
    let reply = || match status {
        Status::NotFound => api.unrouted(arrived.method.as_str(), arrived.uri.path()),
        // Handlers and guards of this room put all that fails into an `Answer`.
        other => ApiError::internal(format!("Rocket itself answered {other}")).reply(),
    };
    Answer(exchange(request).context().clone().enter(reply))
}
// ANCHOR_END: unrouted

// Around every request.

// ANCHOR: exchange
/// A fairing around every request, matched or not.
struct Rules;

#[rocket::async_trait]
impl Fairing for Rules {
    fn info(&self) -> Info {
        Info {
            name: "The rules of the contract",
            kind: Kind::Request | Kind::Response,
        }
    }

    async fn on_request(&self, request: &mut Request<'_>, _: &mut Data<'_>) {
        exchange(request);
    }

    async fn on_response<'r>(&self, request: &'r Request<'_>, response: &mut Response<'r>) {
        let exchange = exchange(request);
        for (name, value) in STANDARD_HEADERS {
            response.set_raw_header(name, value);
        }
        response.set_raw_header(REQUEST_ID, exchange.context().request_id());
        exchange.answered(response.status().code);
    }
}
// ANCHOR_END: exchange

fn service<'r>(request: &'r Request<'_>) -> &'r Arc<Service> {
    let service: Option<&Arc<Service>> = request.rocket().state();
    service.expect("`with_rules` manages it")
}

/// The exchange that a request is part of; it begins with the fairing.
fn exchange<'r>(request: &'r Request<'_>) -> &'r Exchange {
    request.local_cache(|| {
        let Arrived { method, uri, .. } = arrived(request);
        let header = |name| request.headers().get_one(name);
        Exchange::begin(service(request), method.as_str(), uri.path(), header)
    })
}

// ANCHOR: in_exchange
/// The handler of a route, run as part of its exchange.
#[derive(Clone)]
struct InExchange(Box<dyn Handler>);

#[rocket::async_trait]
impl Handler for InExchange {
    async fn handle<'r>(&self, request: &'r Request<'_>, data: Data<'r>) -> Outcome<'r> {
        let exchange = exchange(request);
        // Rocket overlooks trailing and doubled slashes; the contract does not.
        if !exchange.has_route() {
            return Outcome::forward(data, Status::NotFound);
        }
        exchange
            .run(self.0.handle(request, data))
            .await
            .unwrap_or_else(|panicked| Outcome::from(request, Answer(panicked)))
    }
}
// ANCHOR_END: in_exchange

// What handlers give.

/// A reply of the chassis as a response of Rocket.
pub struct Answer(pub Reply);

impl<'r> Responder<'r, 'static> for Answer {
    fn respond_to(self, _: &'r Request<'_>) -> response::Result<'static> {
        let Reply {
            status,
            headers,
            body,
        } = self.0;
        let mut response = Response::build();
        response.status(Status::new(status));
        match body {
            Body::Bytes(bytes) => response.sized_body(bytes.len(), Cursor::new(bytes)),
            Body::Stream(stream) => response.streamed_body(StreamReader::new(stream)),
        };
        for (name, value) in headers {
            response.raw_header(name, value);
        }
        response.ok()
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

impl<'r> Responder<'r, 'static> for Failure {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        Answer(self.0.reply()).respond_to(request)
    }
}
// ANCHOR_END: failure

// What handlers take.

/// What a guard makes of a request. Of a guard that fails, Rocket tells its
/// catcher the status alone; a handler that takes the result has the error.
pub type Checked<T> = Result<T, Failure>;

// ANCHOR: path_and_query
/// The parameter of the path, such as an id.
pub struct Path<T>(pub T);

impl<'r, T: FromStr<Err = ApiError>> FromParam<'r> for Path<T> {
    type Error = Failure;

    fn from_param(segment: &'r str) -> Result<Self, Failure> {
        Ok(Self(segment.parse()?))
    }
}

/// `?limit=` and `?after=`.
pub struct PageOf(pub Page);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for PageOf {
    type Error = Failure;

    async fn from_request(request: &'r Request<'_>) -> request::Outcome<Self, Failure> {
        let page = Page::parse(arrived(request).uri.query());
        page.map(Self).map_err(Failure).or_error(Status::BadRequest)
    }
}
// ANCHOR_END: path_and_query

/// `Idempotency-Key`, if there is one.
pub struct IdempotencyKey(pub Option<Key>);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for IdempotencyKey {
    type Error = Failure;

    async fn from_request(request: &'r Request<'_>) -> request::Outcome<Self, Failure> {
        let key = Key::parse(
            request
                .headers()
                .get_one(IDEMPOTENCY_KEY)
                .map(str::as_bytes),
        );
        key.map(Self).map_err(Failure).or_error(Status::BadRequest)
    }
}

// ANCHOR: json
/// A JSON body within the limits of the contract.
pub struct Json<T>(pub T);

#[rocket::async_trait]
impl<'r, T: DeserializeOwned> FromData<'r> for Json<T> {
    type Error = Failure;

    async fn from_data(request: &'r Request<'_>, _: Data<'r>) -> data::Outcome<'r, Self> {
        let body = read(request).await.and_then(|bytes| body::parse(&bytes));
        body.map(Self).map_err(Failure).or_error(Status::BadRequest)
    }
}

async fn read(request: &Request<'_>) -> Result<Bytes, ApiError> {
    body::check_headers(|name| request.headers().get_one(name))?;
    let body = arrived(request).body.lock().take();
    let body = body.ok_or_else(|| ApiError::internal("the body was read before"))?;
    let reading = Limited::new(body, MAX_BODY).collect();
    match body::in_time(service(request).limits().body, reading).await? {
        Ok(read) => Ok(read.to_bytes()),
        Err(cause) if cause.is::<LengthLimitError>() => Err(ApiError::payload_too_large(MAX_BODY)),
        Err(cause) => Err(body::unreadable(cause)),
    }
}
// ANCHOR_END: json

// Between hyper and Rocket.

/// What Rocket's in-process client cannot carry: verbs that it does not know,
/// the path as it came, and a body that is not read yet. It goes along in the
/// request's cache.
#[derive(Default)]
struct Arrived {
    method: hyper::Method,
    uri: Uri,
    body: Mutex<Option<Incoming>>,
}

fn arrived<'r>(request: &'r Request<'_>) -> &'r Arrived {
    request.local_cache(Arrived::default)
}

/// Hands a request to Rocket, and back what Rocket answers. The exchange belongs to
/// Rocket's request, which belongs to its response, which the body keeps.
async fn dispatch(
    rocket: &'static Client,
    request: hyper::Request<Incoming>,
) -> hyper::Response<
    impl HttpBody<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
> {
    let (head, body) = request.into_parts();
    // Rocket takes `get` for GET. A verb that it does not know may as well be
    // TRACE: no route has either.
    let method: Option<Method> = head.method.as_str().parse().ok();
    let method = method.filter(|method| method.as_str() == head.method.as_str());
    let mut request = rocket.req(method.unwrap_or(Method::Trace), origin(&head.uri));
    for (name, value) in &head.headers {
        // Rocket's values are text. One that is not is garbled, not left out: what
        // would be refused must not count as not sent.
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        request.add_header(Header::new(name.to_string(), value));
    }
    request.local_cache(|| Arrived {
        method: head.method,
        uri: head.uri,
        body: Mutex::new(Some(body)),
    });
    let mut answer = request.dispatch().await;

    let mut response = hyper::Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(answer.status().code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for header in answer.headers().iter() {
        let name = HeaderName::try_from(header.name().as_str());
        let value = HeaderValue::try_from(header.value());
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    // Rocket has dropped the body of an answer to HEAD, but not its size.
    let body = if let Some(size) = answer.body().preset_size() {
        response.headers_mut().insert(CONTENT_LENGTH, size.into());
        let mut bytes = Vec::with_capacity(size);
        // It is in memory, where reading does not fail.
        let _ = answer.read_to_end(&mut bytes).await;
        Either::Left(Guarded::new(Full::from(bytes), answer))
    } else {
        let chunks = ReaderStream::new(answer).map_ok(Frame::data);
        Either::Right(StreamBody::new(chunks))
    };
    response.map(|()| body)
}

/// The URI as Rocket reads one: hyper lets more characters pass unescaped. What
/// has no path at all (`OPTIONS *`) becomes the root, which has no route either.
fn origin(uri: &Uri) -> Origin<'static> {
    const ESCAPED: &AsciiSet = &CONTROLS
        .add(b'"')
        .add(b'\\')
        .add(b'^')
        .add(b'`')
        .add(b'{')
        .add(b'|')
        .add(b'}');
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Origin::parse_owned(utf8_percent_encode(target, ESCAPED).to_string())
        .unwrap_or_else(|_| uri!("/"))
}

#[cfg(test)]
mod tests {
    use chassis::config::Env;
    use chassis::testkit::Server;

    use super::*;
    use crate::http::API;
    use crate::{App, Config};

    /// On a path of the contract; others have no exchange to panic in.
    #[get("/api/products/<_>/stock")]
    fn panics() -> Answer {
        panic!("as the test wants")
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_request_alone() {
        let server = Server::start(|listener, shutdown| async {
            let app = App::new(&Config::read(Env::new(|_| None))?, &API, shutdown)?;
            serve(listener, routes![panics], (), app.service).await
        })
        .await;
        for _ in 0..3 {
            let got = server.get("/api/products/1/stock").await;
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
