//! The conformance tests, which the crate of each framework runs: a small app, and tests that
//! every server of it must pass. A crate implements the app's routes, and
//! [`conformance!`](crate::conformance) generates the tests.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use harness::TIMEOUT;
use harness::raw::{exchange_bytes, refuses};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use utoipa::{OpenApi, ToSchema};

use super::{Got, Server};
use crate::contract::api::{About, Api};
use crate::contract::body::MAX_BODY;
use crate::contract::error::ApiError;
use crate::contract::idempotency::Key;
use crate::contract::page::Page;
use crate::contract::reply::Reply;
use crate::env::Env;
use crate::serve::config::ServiceConfig;
use crate::serve::run::RunError;
use crate::serve::service::Service;
use crate::serve::shutdown::Shutdown;
use crate::values::id::Id;

/// The time-out of a body in these tests.
const BODY: Duration = Duration::from_millis(300);

#[derive(OpenApi)]
#[openapi(paths(list, create, find, wait, panic))]
struct Document;

/// The app: the state that its handlers share. The handlers name no framework.
#[derive(Clone, Debug)]
pub struct App {
    /// The state that all services have.
    pub service: Arc<Service>,
    arrived: Arc<Semaphore>,
    released: Arc<Semaphore>,
}

/// The body of `POST /api/things`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ThingBody {
    name: String,
}

/// The id of a thing, in a path.
#[derive(Clone, Copy, Debug)]
pub struct ThingId(Id);

impl std::str::FromStr for ThingId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        Id::in_path("thing", text).map(Self)
    }
}

/// `GET /api/things`: the page that was asked for.
#[utoipa::path(get, path = "/api/things", params(Page), responses((status = 200, description = "The page")))]
pub fn list(page: Page) -> Reply {
    Reply::json(200, &json!({"page": format!("{page:?}")}))
}

/// `POST /api/things`: the body and the key that were sent.
#[utoipa::path(post, path = "/api/things", request_body = ThingBody, responses((status = 201, description = "The thing")))]
pub fn create(key: Option<Key>, ThingBody { name }: ThingBody) -> Reply {
    let key = key.map(|key| format!("{key:?}"));
    Reply::json(201, &json!({"name": name, "key": key}))
}

/// `GET /api/things/{id}`: the id that was sent.
#[utoipa::path(get, path = "/api/things/{id}", params(("id" = Id, Path)), responses((status = 200, description = "The thing")))]
pub fn find(ThingId(id): ThingId) -> Reply {
    Reply::json(200, &json!({"id": id}))
}

/// `GET /api/wait`: waits until the test releases it.
#[utoipa::path(get, path = "/api/wait", responses((status = 200, description = "It was released")))]
pub async fn wait(app: &App) -> Reply {
    app.arrived.add_permits(1);
    let permit = app.released.acquire().await;
    permit.expect("never closed").forget();
    Reply::json(200, &json!({"waited": true}))
}

/// `GET /api/panic`: panics.
#[utoipa::path(get, path = "/api/panic", responses((status = 200, description = "Never")))]
pub fn panic() -> Reply {
    panic!("as the test wants")
}

impl App {
    fn new(api: &'static Api, shutdown: Shutdown, in_flight: u32) -> Self {
        let mut env = Env::new(|_| None);
        let mut config = ServiceConfig::read(&mut env, "conformance", 0);
        config.limits.body = BODY;
        config.limits.in_flight = in_flight;
        Self {
            service: Service::new(&config, api, Vec::new(), shutdown),
            arrived: Arc::new(Semaphore::new(0)),
            released: Arc::new(Semaphore::new(0)),
        }
    }
}

/// Starts a framework's server of the [`App`].
async fn start<F>(in_flight: u32, serve: impl FnOnce(TcpListener, App) -> F) -> (Server, App)
where
    F: Future<Output = Result<(), RunError>> + Send + 'static,
{
    let about = About {
        name: "conformance",
        framework: "one of the five",
        version: "0",
        description: "The app of the conformance tests.",
    };
    let api: &'static Api = Box::leak(Box::new(Api::new(about, Document::openapi())));
    let mut started = None;
    let server = Server::start(|listener, shutdown| {
        let app = App::new(api, shutdown, in_flight);
        started = Some(app.clone());
        serve(listener, app)
    })
    .await;
    (server, started.expect("has started"))
}

/// Requests `/api/wait` in a task, and returns when the handler waits.
async fn waiting(server: &Server, app: &App) -> tokio::task::JoinHandle<Got> {
    let request = server.request(reqwest::Method::GET, "/api/wait");
    let request = tokio::spawn(Got::from(request));
    let arrived = timeout(TIMEOUT, app.arrived.acquire()).await;
    arrived.expect("arrives").expect("never closed").forget();
    request
}

/// A panic fails only its own request, and the client does not see the cause.
pub async fn a_panic_fails_only_its_own_request<F>(serve: impl FnOnce(TcpListener, App) -> F)
where
    F: Future<Output = Result<(), RunError>> + Send + 'static,
{
    let (server, _) = start(8, serve).await;
    for _ in 0..3 {
        let got = server.get("/api/panic").await;
        assert_eq!(got.header("access-control-allow-origin"), "*");
        let sentence = got.expect_error(500, "internal");
        assert!(
            !sentence.contains("as the test wants"),
            "the client sees the cause: {sentence}"
        );
        server.get("/health").await.expect(200);
    }
}

/// A body has a limit on its size and a time-out.
pub async fn a_body_is_limited_in_size_and_time<F>(serve: impl FnOnce(TcpListener, App) -> F)
where
    F: Future<Output = Result<(), RunError>> + Send + 'static,
{
    let (server, _) = start(8, serve).await;
    let large = json!({"name": "x".repeat(MAX_BODY)});
    let got = server.post("/api/things", large).await;
    got.expect_error(413, "payload_too_large");

    let head = "POST /api/things HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let chunk = format!(
        "{:x}\r\n{}\r\n0\r\n\r\n",
        MAX_BODY + 1,
        " ".repeat(MAX_BODY + 1)
    );
    let chunked = format!("{head}connection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunk}");
    let answer = exchange_bytes(server.address(), chunked.as_bytes()).await;
    let answer = answer.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let half = format!("{head}content-length: 20\r\n\r\n{{\"name\":");
    let answer = exchange_bytes(server.address(), half.as_bytes()).await;
    let answer = answer.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

/// A request over the limit on requests in flight is refused; an operation is not.
pub async fn requests_in_flight_are_limited<F>(serve: impl FnOnce(TcpListener, App) -> F)
where
    F: Future<Output = Result<(), RunError>> + Send + 'static,
{
    let (server, app) = start(1, serve).await;
    let held = waiting(&server, &app).await;
    let refused = server.get("/api/things").await;
    refused.expect_error(503, "overloaded");
    for path in ["/health", "/health/ready", "/metrics"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    app.released.add_permits(1);
    let got = held.await.expect("no panic");
    assert_eq!(got.expect(200), json!({"waited": true}));
    server.get("/api/things").await.expect(200);
}

/// The handler gets path, query, key and body; an invalid one is refused with the error of the
/// contract.
pub async fn arguments_of_handlers_are_checked<F>(serve: impl FnOnce(TcpListener, App) -> F)
where
    F: Future<Output = Result<(), RunError>> + Send + 'static,
{
    let (server, _) = start(8, serve).await;
    let found = server.get("/api/things/7").await.expect(200);
    assert_eq!(found, json!({"id": "7"}));
    let found = server.get("/api/things/%37").await.expect(200);
    assert_eq!(found, json!({"id": "7"}), "decoded");
    let unknown = server.get("/api/things/x").await;
    unknown.expect_error(404, "not_found");
    let bytes = server.get("/api/things/%FF").await;
    assert_eq!(bytes.status, 404);

    let page = |path: &'static str| async { server.get(path).await.expect(200)["page"].clone() };
    assert_ne!(page("/api/things").await, page("/api/things?limit=2").await);
    assert_ne!(
        page("/api/things?limit=2").await,
        page("/api/things?limit=2&after=3").await
    );
    let wrong = server.get("/api/things?limit=none").await;
    wrong.expect_error(400, "validation_failed");

    let post_to = |path: &'static str, key: &'static [u8], body: &'static str| {
        let request = server.request(reqwest::Method::POST, path);
        let request = request.header("content-type", "application/json");
        Got::from(request.header("idempotency-key", key).body(body))
    };
    let post = |key, body| post_to("/api/things", key, body);
    let created = server.post("/api/things", json!({"name": "a"})).await;
    assert_eq!(
        created.expect(201),
        json!({"name": "a", "key": Value::Null})
    );
    let created = post(b"one", r#"{"name":"a"}"#).await.expect(201);
    assert!(created["key"].is_string(), "{created}");
    let again = post(b"one", r#"{"name":"a"}"#).await.expect(201);
    assert_eq!(again["key"], created["key"], "the same request");
    let other = post_to("/api/things?x=1", b"one", r#"{"name":"a"}"#);
    assert_ne!(other.await.expect(201)["key"], created["key"], "a query");
    assert_eq!(
        post(b"", r#"{"name":"a"}"#).await.status,
        400,
        "an empty key"
    );
    assert_eq!(
        post(b"\xff", r#"{"name":"a"}"#).await.status,
        400,
        "a key of bytes"
    );
    let broken = post(b"two", "{").await;
    broken.expect_error(400, "invalid_json");
    let text = server.request(reqwest::Method::POST, "/api/things");
    let text = Got::from(text.header("content-type", "text/plain").body("a")).await;
    text.expect_error(415, "unsupported_media_type");

    let nothing = server.get("/api/nothing").await;
    nothing.expect_error(404, "not_found");
    let put = server.send("PUT", "/api/things", json!({})).await;
    assert!(put.header("allow").contains("POST"));
    put.expect_error(405, "method_not_allowed");
}

/// A shutdown finishes requests in flight and accepts no new connection.
pub async fn a_shutdown_finishes_requests_in_flight<F>(serve: impl FnOnce(TcpListener, App) -> F)
where
    F: Future<Output = Result<(), RunError>> + Send + 'static,
{
    let (server, app) = start(8, serve).await;
    let held = waiting(&server, &app).await;
    let address = server.address();
    server.request_shutdown();
    assert!(refuses(address, TIMEOUT).await, "accepts no more");
    assert!(!held.is_finished(), "the handler still waits");
    app.released.add_permits(1);
    let got = held.await.expect("no panic");
    assert_eq!(got.expect(200), json!({"waited": true}));
    server.stop().await;
}

/// Generates the conformance tests for a server of the
/// [`App`](crate::testkit::conformance::App).
///
/// ```no_run
/// use chassis::serve::run::RunError;
/// use chassis::testkit::conformance::App;
/// use tokio::net::TcpListener;
///
/// async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
///     unimplemented!("the routes of the app, on a framework")
/// }
///
/// chassis::conformance!(serve);
/// ```
#[macro_export]
macro_rules! conformance {
    ($serve:path) => {
        $crate::conformance! {
            $serve:
            a_panic_fails_only_its_own_request
            a_body_is_limited_in_size_and_time
            requests_in_flight_are_limited
            arguments_of_handlers_are_checked
            a_shutdown_finishes_requests_in_flight
        }
    };
    ($serve:path: $($test:ident)+) => {$(
        #[tokio::test]
        async fn $test() {
            $crate::testkit::conformance::$test($serve).await;
        }
    )+};
}
