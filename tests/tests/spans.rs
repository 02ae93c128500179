//! The spans of functions and of background work below a request. On actix-web, whose
//! workers are runtimes of their own; in a process of its own, since all of a process is
//! exported.

use std::time::Duration;

use actix_web::web::Data;
use bytes::Bytes;
use chassis::serve::service::Service;
use chassis::telemetry;
use chassis::telemetry::context::Context;
use chassis::testkit::{Server, env};
use futures_util::stream;
use on_actix_web::{Answer, Routes, get, serve};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use product_service::http::API;
use product_service::{App, Config};
use reqwest::Method;
use shop_tests::collector::{Collector, Span};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::instrument;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// How long the body takes.
const BODY: Duration = Duration::from_millis(100);

/// Ends the background work.
static RELEASED: Notify = Notify::const_new();

async fn handler(service: Data<Service>) -> Answer {
    awaited(&service).await;
    let background = Context::current().scope(background());
    service.shutdown().spawn(background);
    let body = stream::once(async { Ok(chunk().await) });
    Answer(service.stream("text/plain", body))
}

#[instrument(skip_all)]
async fn awaited(service: &Service) {
    service.shutdown().finish(finished()).await;
}

#[instrument]
async fn finished() {}

#[instrument]
async fn background() {
    RELEASED.notified().await;
}

#[instrument]
async fn chunk() -> Bytes {
    sleep(BODY).await;
    Bytes::from_static(b"one")
}

#[track_caller]
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

#[tokio::test]
async fn the_span_of_a_request_has_those_of_its_work_below_it_and_ends_with_its_body() {
    let collector = Collector::start().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        ("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned()),
        ("RUST_LOG", "off".to_owned()),
    ];
    let config = Config::read(env(&variables)).expect("good variables");
    let telemetry = telemetry::init(&config.service.telemetry).expect("starts");
    let server = Server::start(|listener, shutdown| async move {
        let service = App::new(&config, &API, shutdown)?.service;
        let routes: Routes = |config| {
            config.route("/api/products", get(handler));
        };
        serve(listener, routes, (), service).await
    })
    .await;
    let response = server
        .request(Method::GET, "/api/products")
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .send();
    let response = response.await.expect("an answer");
    assert_eq!(response.text().await.expect("a body"), "one");

    let is_server = |span: &Span| span.kind == SpanKind::Server;
    let spans = collector
        .wait_for(|spans| spans.iter().any(is_server))
        .await;
    let request = named(&spans, "GET /api/products").clone();
    assert_eq!(request.parent, CALLER);
    assert!(request.taken >= BODY, "{request:#?}");
    let running = spans.iter().all(|span| span.name != "background");
    assert!(running, "background work does not delay the request's span");

    RELEASED.notify_one();
    let spans = collector.wait_for(|spans| spans.len() == 5).await;
    for (name, parent) in [
        ("awaited", &request),
        ("finished", named(&spans, "awaited")),
        ("background", &request),
        ("chunk", &request),
    ] {
        let span = named(&spans, name);
        assert_eq!(
            (span.kind, span.trace.as_str(), &span.parent),
            (SpanKind::Internal, TRACE, &parent.id),
            "{span:#?}"
        );
    }
    server.stop().await;
    drop(telemetry);
}
