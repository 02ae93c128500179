//! Streamed response bodies on each of the five frameworks, and connections that switch to another
//! protocol.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chassis::contract::reply::Reply;
use chassis::serve::run::RunError;
use chassis::serve::service::Service;
use chassis::serve::shutdown::Shutdown;
use chassis::testkit::{Got, Server, env};
use futures_util::stream::{self, Stream, StreamExt};
use harness::TIMEOUT;
use harness::raw::{self, Connection, request};
use product_service::http::API;
use product_service::{App, Config};
use tokio::net::TcpListener;
use tokio::time::sleep;

/// How long a connection may be idle.
const IDLE: Duration = Duration::from_millis(300);

/// How long the quiet stream sends nothing.
const QUIET: Duration = Duration::from_millis(1500);

/// The time-out for a client that does not read its response.
const UNREAD: Duration = Duration::from_millis(500);

static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// A service that answers one request at a time.
fn service(shutdown: Shutdown) -> Result<Arc<Service>, RunError> {
    let milliseconds = |limit: Duration| limit.as_millis().to_string();
    let variables = [
        ("MAX_IN_FLIGHT", "1".to_owned()),
        ("IDLE_TIMEOUT_MS", milliseconds(IDLE)),
        ("BODY_TIMEOUT_MS", milliseconds(UNREAD)),
    ];
    let config = Config::read(env(&variables))?;
    Ok(App::new(&config, &API, shutdown)?.service)
}

/// The reply to `/api/products/{kind}` on each framework.
fn streamed(service: &Service, kind: &str) -> Reply {
    type Chunk = io::Result<Bytes>;
    let one = || stream::iter([Ok(Bytes::from_static(b"one"))]);
    let then = |rest: Box<dyn Stream<Item = Chunk> + Send + Unpin>| {
        service.stream("text/plain", one().chain(rest))
    };
    match kind {
        "quiet" => then(Box::new(Box::pin(stream::once(async {
            sleep(QUIET).await;
            Ok(Bytes::from_static(b"two"))
        })))),
        "endless" => then(Box::new(stream::pending())),
        // After a pause, or the connection would break off before the head is sent.
        "failing" => then(Box::new(Box::pin(stream::once(async {
            sleep(IDLE).await;
            Err(io::Error::other("as the test wants"))
        })))),
        "flood" => then(Box::new(stream::repeat_with(|| {
            Ok(Bytes::from_static(&CHUNK))
        }))),
        _ => Reply::ok("text/plain", "whole"),
    }
}

async fn on_axum(listener: TcpListener, service: Arc<Service>) -> Result<(), RunError> {
    use axum::extract::{Path, State};
    use on_axum::{Answer, serve};

    let handler = async |State(service): State<Arc<Service>>, Path(kind): Path<String>| {
        Answer(streamed(&service, &kind))
    };
    let routes = axum::Router::new().route("/api/products/{id}", axum::routing::get(handler));
    serve(listener, routes, Arc::clone(&service), service).await
}

async fn on_rocket(listener: TcpListener, service: Arc<Service>) -> Result<(), RunError> {
    use on_rocket::{Answer, serve};

    #[rocket::get("/api/products/<kind>")]
    fn handler(service: &rocket::State<Arc<Service>>, kind: &str) -> Answer {
        Answer(streamed(service, kind))
    }
    serve(listener, rocket::routes![handler], (), service).await
}

async fn on_poem(listener: TcpListener, service: Arc<Service>) -> Result<(), RunError> {
    use on_poem::{Answer, serve};
    use poem::web::{Data, Path};

    #[poem::handler]
    async fn handler(service: Data<&Arc<Service>>, Path(kind): Path<String>) -> Answer {
        Answer(streamed(&service, &kind))
    }
    let routes = poem::Route::new().at("/api/products/:id", poem::get(handler));
    serve(listener, routes, (), service).await
}

async fn on_warp(listener: TcpListener, service: Arc<Service>) -> Result<(), RunError> {
    use on_warp::{Answer, app, serve};
    use warp::Filter;

    async fn handler(kind: String, service: Arc<Service>) -> Answer {
        Answer(streamed(&service, &kind))
    }
    let routes = warp::path!("api" / "products" / String)
        .and(app::<Arc<Service>>())
        .then(handler);
    serve(listener, routes, (), service).await
}

async fn on_actix(listener: TcpListener, service: Arc<Service>) -> Result<(), RunError> {
    use actix_web::web::{Data, Path};
    use on_actix_web::{Answer, Routes, get, serve};

    async fn handler(service: Data<Service>, kind: Path<String>) -> Answer {
        Answer(streamed(&service, &kind))
    }
    let routes: Routes = |config| {
        config.route("/api/products/{id}", get(handler));
    };
    serve(listener, routes, (), service).await
}

/// Starts a server on one of the five.
async fn start<F>(serve: impl FnOnce(TcpListener, Arc<Service>) -> F + Send + 'static) -> Server
where
    F: Future<Output = Result<(), RunError>> + Send + 'static,
{
    Server::start(|listener, shutdown| async { serve(listener, service(shutdown)?).await }).await
}

/// All of the checks below, on one framework.
macro_rules! on {
    ($($framework:ident: $serve:ident,)*) => {$(
        mod $framework {
            use super::*;

            #[tokio::test]
            async fn a_stream_is_sent_as_it_is_made_and_a_quiet_one_is_not_idle() {
                super::a_stream_is_sent_as_it_is_made(start($serve).await).await;
            }

            #[tokio::test]
            async fn a_request_is_over_when_its_stream_is() {
                super::a_request_is_over_when_its_stream_is(start($serve).await).await;
            }

            #[tokio::test]
            async fn a_head_of_a_stream_has_an_end() {
                super::a_head_of_a_stream_has_an_end(start($serve).await).await;
            }

            #[tokio::test]
            async fn a_shutdown_ends_streams() {
                super::a_shutdown_ends_streams(start($serve).await).await;
            }
        }
    )*};
}

on! {
    axum_app: on_axum,
    rocket_app: on_rocket,
    poem_app: on_poem,
    warp_app: on_warp,
    actix_app: on_actix,
}

/// Asks for a stream, and reads until its first chunk is there.
async fn begin(address: SocketAddr, kind: &str) -> Connection {
    let mut client = Connection::open(address).await;
    let request = request("GET", &format!("/api/products/{kind}"), &[], b"");
    client.send(&request).await.expect("a live connection");
    client.until("one\r\n").await.expect("the first chunk");
    client
}

/// Gets `path` on a connection of its own: one that is kept may just be closed.
async fn get(server: &Server, path: &str) -> Got {
    raw::get(server.address(), path).await.expect("an answer")
}

/// The answers to a product that `/metrics` has counted, by any status.
async fn counted(server: &Server) -> u64 {
    let text = String::from_utf8(get(server, "/metrics").await.body).expect("UTF-8");
    let counts = text.lines().filter(|line| {
        line.starts_with("http_requests_total{") && line.contains("/api/products/{id}")
    });
    let counts = counts.map(|line| line.rsplit(' ').next().expect("a value"));
    counts
        .map(|count| count.parse::<u64>().expect("a count"))
        .sum()
}

/// Waits until the one permit is free again.
async fn permit_is_free(server: &Server) {
    let deadline = Instant::now() + TIMEOUT;
    while get(server, "/api/products/whole").await.status != 200 {
        assert!(Instant::now() < deadline, "the permit is not released");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn a_stream_is_sent_as_it_is_made(server: Server) {
    let started = Instant::now();
    let mut client = begin(server.address(), "quiet").await;
    assert!(
        started.elapsed() < QUIET,
        "the first chunk waits for the second"
    );
    assert_eq!(counted(&server).await, 0, "it is not over yet");
    let refused = get(&server, "/api/products/whole").await;
    refused.expect_error(503, "overloaded");

    client.until("two\r\n0\r\n\r\n").await.expect("its end");
    assert!(started.elapsed() >= QUIET);
    assert_eq!(
        counted(&server).await,
        2,
        "the stream, and what was refused"
    );
    // Now the connection is idle.
    client.rest().await.expect("it is closed");
    assert_eq!(get(&server, "/api/products/whole").await.body, b"whole");
    server.stop().await;
}

async fn a_request_is_over_when_its_stream_is(server: Server) {
    // The client goes away.
    drop(begin(server.address(), "endless").await);
    permit_is_free(&server).await;

    let before = counted(&server).await;
    let failing = raw::get(server.address(), "/api/products/failing").await;
    let broken_off = failing.expect_err("what failed does not look whole");
    assert!(broken_off.contains("broke off"), "{broken_off}");
    assert_eq!(counted(&server).await, before + 1);

    // The client does not read. It is disconnected, and the other one waits for that.
    let unread = begin(server.address(), "flood").await;
    let started = Instant::now();
    assert_eq!(get(&server, "/api/products/whole").await.body, b"whole");
    assert!(started.elapsed() > UNREAD / 10, "{:?}", started.elapsed());
    drop(unread);
    server.stop().await;
}

async fn a_head_of_a_stream_has_an_end(server: Server) {
    let mut client = Connection::open(server.address()).await;
    let request = request("HEAD", "/api/products/endless", &[], b"");
    client.send(&request).await.expect("a live connection");
    let head = client.answer(true).await.expect("an answer");
    assert_eq!(head.status, 200);
    permit_is_free(&server).await;
    server.stop().await;
}

async fn a_shutdown_ends_streams(server: Server) {
    let mut client = Connection::open(server.address()).await;
    let request = request("GET", "/api/products/endless", &[], b"");
    client.send(&request).await.expect("a live connection");
    sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    server.stop().await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let got = client.answer(false).await.expect("a whole answer");
    assert_eq!(got.body, b"one");
}

#[tokio::test]
async fn an_upgraded_connection_is_not_idle() {
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;

    /// Sends back all bytes that it receives.
    async fn echo(service: Arc<Service>, request: Request<Incoming>) -> Response<String> {
        let upgraded = hyper::upgrade::on(request);
        service.shutdown().spawn(async move {
            let stream = TokioIo::new(upgraded.await.expect("an upgrade"));
            let (mut from, mut to) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
        let head = Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "echo");
        head.body(String::new()).expect("a response")
    }

    let server = Server::start(|listener, shutdown| async {
        let service = service(shutdown)?;
        let echoing = Arc::clone(&service);
        let http = service_fn(move |request| {
            let answer = echo(Arc::clone(&echoing), request);
            async { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        chassis::serve::server::serve(listener, http, &service).await;
        Ok(())
    })
    .await;
    let mut client = Connection::open(server.address()).await;
    let headers = [("connection", "upgrade"), ("upgrade", "echo")];
    let request = request("GET", "/", &headers, b"");
    client.send(&request).await.expect("a live connection");
    client.until("\r\n\r\n").await.expect("an upgrade");
    sleep(3 * IDLE).await;
    client.send(b"hello").await.expect("a live connection");
    client.until("hello").await.expect("the same back");
    drop(client);
    server.stop().await;
}
