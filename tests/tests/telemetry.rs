//! Traces: from the caller, through the services, and to a collector that may fail.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chassis::testkit::{Got, Stub};
use harness::raw::{self, request};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::collector::{Collector, Span};
use shop_tests::fake::Fake;
use shop_tests::program::{Ended, Program, SERVICES};
use shop_tests::shop;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const JSON: (&str, &str) = ("content-type", "application/json");

/// Longer than these tests take on a busy machine, far less than a hang.
const PROMPT: Duration = Duration::from_secs(8);

async fn send(program: &Program, line: (&str, &str), headers: &[(&str, &str)], body: &str) -> Got {
    let mut all = vec![JSON];
    all.extend(headers);
    let request = request(line.0, line.1, &all, body.as_bytes());
    raw::exchange(program.address(), &request)
        .await
        .expect("an answer")
}

/// Shuts a program down, and waits until it has ended.
async fn stop(program: Program) -> Ended {
    program.signal("TERM");
    tokio::task::spawn_blocking(move || program.ended(PROMPT))
        .await
        .expect("stops in time")
}

/// The only one of `spans` for which `is` holds.
#[track_caller]
fn only(spans: &[Span], is: impl Fn(&Span) -> bool) -> &Span {
    let found: Vec<_> = spans.iter().filter(|span| is(span)).collect();
    assert_eq!(found.len(), 1, "{found:#?} of {spans:#?}");
    found[0]
}

#[tokio::test]
async fn an_order_is_one_trace_over_the_gateway_and_four_services() {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let start = |name: &str, urls: &[(&str, &str)]| {
        let mut variables = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=the%20shop"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ];
        variables.extend(urls);
        Program::start(name, &variables)
    };
    let url = |program: &Program| format!("http://{}", program.address());
    let users = start("user-service", &[]);
    let notifications = start("notification-service", &[]);
    let (users_url, notifications_url) = (url(&users), url(&notifications));
    let products = start("product-service", &[("USER_SERVICE_URL", &users_url)]);
    let products_url = url(&products);
    let upstreams = [
        ("USER_SERVICE_URL", users_url.as_str()),
        ("PRODUCT_SERVICE_URL", products_url.as_str()),
        ("NOTIFICATION_SERVICE_URL", notifications_url.as_str()),
    ];
    let orders = start("order-service", &upstreams);
    let orders_url = url(&orders);
    let gateway = start("gateway", &[("ORDER_SERVICE_URL", &orders_url)]);

    let ada = r#"{"name":"Ada","email":"ada@example.com"}"#;
    let kettle = r#"{"name":"Kettle","price":19.99,"stock":5}"#;
    let order = r#"{"userId":"1","productId":"1","quantity":2}"#;
    send(&users, ("POST", "/api/users"), &[], ada)
        .await
        .expect(201);
    send(&products, ("POST", "/api/products"), &[], kettle)
        .await
        .expect(201);
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let headers = [
        ("traceparent", parent.as_str()),
        ("tracestate", "a=1,b=x/y"),
    ];
    let placed = send(&gateway, ("POST", "/api/orders?a=b"), &headers, order).await;
    assert_eq!(placed.expect(201)["notification"], "sent");

    // They come while the service runs; the last of them when it stops.
    let server = |s: &Span| s.service == "order-service" && s.kind == SpanKind::Server;
    let some = |spans: &[Span]| spans.iter().any(server);
    collector.wait_for(some).await;
    for program in [gateway, orders, products, users, notifications] {
        assert_eq!(stop(program).await.status, Some(0));
    }
    let mut spans = collector.spans();
    spans.retain(|span| span.trace == TRACE);
    let services: BTreeSet<_> = spans.iter().map(|span| &span.service).collect();
    assert_eq!(services.len(), 5, "{services:?}");
    let top = only(&spans, server);
    assert!(!top.failed, "{top:#?}");
    assert_forwarded(&spans, top, &orders_url);
    assert_eq!(top.name, "POST /api/orders");
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/api/orders"),
        ("url.path", "/api/orders"),
        ("http.response.status_code", "201"),
    ] {
        assert_eq!(top.attributes[name], value, "{top:#?}");
    }
    // The spans of functions are nested as their calls are.
    let placing = only(&spans, |s| s.name == "place_order");
    let take = only(&spans, |s| s.name == "take");
    assert_eq!(
        (placing.kind, &placing.parent),
        (SpanKind::Internal, &top.id)
    );
    assert_eq!((take.kind, &take.parent), (SpanKind::Internal, &placing.id));
    assert!(placing.attributes.is_empty(), "{placing:#?}");
    for (service, name, function) in [
        ("user-service", "GET /api/users/{id}", placing),
        ("product-service", "PATCH /api/products/{id}/stock", take),
        (
            "notification-service",
            "POST /api/notifications/send",
            placing,
        ),
    ] {
        let answered = assert_called(&spans, service, name, function);
        assert!(
            answered.taken <= top.taken,
            "{answered:#?} takes longer than {top:#?}"
        );
    }
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.id).collect();
    assert_eq!(ids.len(), spans.len(), "each span has an id of its own");
    assert!(spans.iter().all(|span| span.tracestate == "a=1,b=x/y"));
    for request in collector.requests() {
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("POST", "/v1/traces")
        );
        assert_eq!(request.header("content-type"), "application/x-protobuf");
        assert_eq!(request.header("x-team"), "the shop");
    }
}

/// The gateway has forwarded what is `below` to order-service at `url`.
#[track_caller]
fn assert_forwarded(spans: &[Span], below: &Span, url: &str) {
    let call = only(spans, |s| s.id == below.parent);
    assert_eq!(
        (call.service.as_str(), call.kind, call.failed),
        ("gateway", SpanKind::Client, false)
    );
    // The query is not in it.
    let full = format!("{url}/api/orders");
    for (name, value) in [
        ("url.full", full.as_str()),
        ("peer.service", "order-service"),
        ("http.response.status_code", "201"),
    ] {
        assert_eq!(call.attributes[name], value, "{call:#?}");
    }
    let request = only(spans, |s| s.id == call.parent);
    assert_eq!(
        (request.service.as_str(), request.parent.as_str()),
        ("gateway", CALLER)
    );
}

/// The span of the request `name` to `service`, which `function` of order-service made.
#[track_caller]
fn assert_called<'a>(spans: &'a [Span], service: &str, name: &str, function: &Span) -> &'a Span {
    let below = only(spans, |s| s.service == service && s.name == name);
    assert_eq!(below.kind, SpanKind::Server);
    let call = only(spans, |s| s.id == below.parent);
    assert_eq!(
        (call.service.as_str(), call.kind, &call.parent),
        ("order-service", SpanKind::Client, &function.id),
        "{call:#?}"
    );
    assert_eq!(call.attributes["peer.service"], service);
    below
}

#[tokio::test]
async fn every_framework_has_spans_and_a_failure_is_one() {
    for service in SERVICES {
        let refusing = Stub::refusing().await;
        let nobody = refusing.url();
        let collector = Collector::start().await;
        let endpoint = collector.endpoint();
        let mut variables = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
        for name in ["USER", "PRODUCT", "ORDER", "NOTIFICATION"] {
            let name = format!("{name}_SERVICE_URL").leak();
            variables.push((name, nobody.as_str()));
        }
        let program = Program::start(service, &variables);
        let long = format!("/{}", "é/".repeat(2000).replace('é', "%C3%A9"));
        send(&program, ("GET", "/health"), &[], "")
            .await
            .expect(200);
        send(&program, ("BREW", &long), &[], "").await.expect(404);
        if service == "order-service" {
            let order = r#"{"userId":"1","productId":"1","quantity":2}"#;
            send(&program, ("POST", "/api/orders"), &[], order)
                .await
                .expect(503);
        }
        if service == "analytics-service" {
            send(&program, ("GET", "/api/analytics/services"), &[], "")
                .await
                .expect(200);
        }
        send(&program, ("GET", "/health/ready"), &[], "").await;
        // No batch was due yet: queued spans are sent at the end.
        let ended = stop(program).await;
        assert_eq!(
            (ended.status, ended.stderr.as_str()),
            (Some(0), ""),
            "{ended:?}"
        );
        let spans = collector.spans();
        let health = only(&spans, |s| s.name == "GET /health");
        assert_eq!(
            (health.service.as_str(), health.parent.as_str()),
            (service, "")
        );
        let lost = only(&spans, |s| s.name == "HTTP");
        assert_eq!(
            lost.attributes["http.request.method"], "_OTHER",
            "{lost:#?}"
        );
        assert_eq!(lost.attributes["http.response.status_code"], "404");
        assert!(!lost.attributes.contains_key("http.route") && !lost.failed);
        assert!(
            lost.attributes["url.path"].len() <= 1024,
            "a path has a bound"
        );
        if service == "order-service" {
            let order = only(&spans, |s| s.name == "POST /api/orders");
            assert!(
                order.failed && order.attributes["error.type"] == "503",
                "{order:#?}"
            );
            let placing = only(&spans, |s| s.name == "place_order");
            assert_eq!(placing.parent, order.id);
            assert_unreachable(&spans, placing);
        }
        if service == "analytics-service" {
            let services = only(&spans, |s| s.name == "GET /api/analytics/services");
            let poll = only(&spans, |s| s.name == "poll");
            assert_eq!(poll.parent, services.id);
            assert_unreachable(&spans, poll);
        }
        if service != "user-service" && service != "notification-service" {
            let ready = only(&spans, |s| s.name == "GET /health/ready");
            assert_unreachable(&spans, ready);
        }
    }
}

/// There are calls below `parent`, and all of them failed.
#[track_caller]
fn assert_unreachable(spans: &[Span], parent: &Span) {
    let calls = spans.iter().filter(|span| span.parent == parent.id);
    let calls: Vec<_> = calls.filter(|s| s.kind == SpanKind::Client).collect();
    assert!(!calls.is_empty(), "none below {parent:#?}: {spans:#?}");
    for call in calls {
        assert!(call.failed && call.trace == parent.trace, "{call:#?}");
        assert_eq!(call.attributes["error.type"], "unreachable", "{call:#?}");
    }
}

#[tokio::test]
async fn background_work_belongs_to_the_trace_of_its_request_and_outlives_its_span() {
    let collector = Collector::start().await;
    let changes = Arc::new(AtomicU32::new(0));
    let upstream = Fake::start({
        let changes = Arc::clone(&changes);
        move |request| {
            let is_change = request.method == "PATCH";
            // The order gives up after three attempts; its stock is then looked after
            // in the background.
            let fails = is_change && changes.fetch_add(1, Ordering::SeqCst) < 4;
            async move {
                let status = if fails {
                    "503 Service Unavailable"
                } else {
                    "200 OK"
                };
                let body = json!({"id": "1", "name": "Ada", "price": 1, "stock": 5});
                raw::json(status, "", &body.to_string())
            }
        }
    })
    .await;
    let (url, endpoint) = (upstream.url(), collector.endpoint());
    let program = Program::start(
        "order-service",
        &[
            ("USER_SERVICE_URL", url.as_str()),
            ("PRODUCT_SERVICE_URL", url.as_str()),
            ("NOTIFICATION_SERVICE_URL", url.as_str()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
            // The filter of the log does not apply to spans.
            ("RUST_LOG", "off,chassis::serve::server=info"),
        ],
    );
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let order = r#"{"userId":"1","productId":"1","quantity":2}"#;
    let headers = [("traceparent", parent.as_str())];
    send(&program, ("POST", "/api/orders"), &headers, order)
        .await
        .expect(503);
    // One call settles the change in doubt, the other gives the stock back.
    let settled = |s: &Span| s.name == "settle";
    let spans = collector
        .wait_for(|spans| spans.iter().filter(|s| settled(s)).count() == 2)
        .await;
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    let server = only(&spans, |s| s.kind == SpanKind::Server);
    for settle in spans.iter().filter(|s| settled(s)) {
        assert_eq!(settle.parent, server.id);
        let mut calls = spans.iter().filter(|s| s.parent == settle.id);
        let last = calls.next_back().expect("a call below it");
        assert!(last.kind == SpanKind::Client && !last.failed, "{last:#?}");
        let seen = upstream.seen();
        let sent = seen
            .iter()
            .find(|seen| seen.header("traceparent").contains(&last.id));
        assert_eq!(sent.expect("it was sent").method, "PATCH");
    }
    assert_eq!(stop(program).await.status, Some(0));
}

#[tokio::test]
async fn the_variables_and_the_caller_decide_whether_a_trace_is_recorded() {
    let user = Fake::start(|_| async {
        raw::json("200 OK", "", &json!({"id": "1", "name": "Ada"}).to_string())
    })
    .await;
    let users = user.url();
    let kettle = r#"{"name":"Kettle","price":1,"sellerId":"1"}"#;
    let on = &[("OTEL_TRACES_EXPORTER", "otlp")][..];
    let off = &[("OTEL_SDK_DISABLED", "true")][..];
    let always = &[("OTEL_TRACES_SAMPLER", "always_on")][..];
    let never = &[("OTEL_TRACES_SAMPLER", "always_off")][..];
    let ratio = &[
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
    ][..];
    for (variables, caller, flag, recorded, reason) in [
        (on, Some("01"), "01", true, "the caller's trace is recorded"),
        (on, Some("00"), "00", false, "the caller's trace is not"),
        (on, None, "01", true, "a trace that begins here is"),
        (
            off,
            Some("01"),
            "01",
            false,
            "off, the caller's flag is kept",
        ),
        (
            off,
            Some("00"),
            "00",
            false,
            "off, the caller's flag is kept",
        ),
        (off, None, "00", false, "off, nothing is recorded"),
        (always, Some("00"), "01", true, "whatever the caller does"),
        (never, Some("01"), "00", false, "whatever the caller does"),
        (ratio, Some("01"), "00", false, "a share of none"),
    ] {
        let collector = Collector::start().await;
        let endpoint = collector.endpoint();
        let mut all = vec![
            ("USER_SERVICE_URL", users.as_str()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ];
        all.extend(variables);
        let program = Program::start("product-service", &all);
        let parent = caller.map(|flags| format!("00-{TRACE}-{CALLER}-{flags}"));
        let headers: Vec<_> = parent.iter().map(|p| ("traceparent", p.as_str())).collect();
        send(&program, ("POST", "/api/products"), &headers, kettle)
            .await
            .expect(201);
        let ended = stop(program).await;
        assert_eq!(ended.status, Some(0), "{reason}");
        let mut lines = ended.stdout.lines().map(serde_json::from_str::<Value>);
        let line = lines.find_map(|line| line.ok().filter(|line| line["message"] == "request"));
        let logged = line.expect("a line")["traceId"].clone();

        let seen = user.seen();
        let sent = seen.last().expect("a call").header("traceparent");
        let parts: Vec<_> = sent.split('-').collect();
        assert_eq!(parts[3], flag, "{reason}: {sent}");
        assert_eq!(logged, parts[1], "{reason}");
        assert_eq!(caller.is_some(), parts[1] == TRACE, "{reason}: {sent}");
        let spans = collector.spans();
        if recorded {
            let call = only(&spans, |s| s.kind == SpanKind::Client);
            let server = only(&spans, |s| s.kind == SpanKind::Server);
            assert_eq!(
                (call.trace.as_str(), call.id.as_str()),
                (parts[1], parts[2])
            );
            assert_eq!((&server.trace, &server.id), (&call.trace, &call.parent));
            assert_eq!(server.parent, if caller.is_some() { CALLER } else { "" });
        } else {
            assert!(collector.requests().is_empty(), "{reason}: {spans:#?}");
        }
    }
}

#[tokio::test]
async fn with_export_off_every_call_carries_the_trace() {
    let upstream = Fake::start(|request| async move {
        let body = json!({
            "id": "1", "name": "Ada", "price": 1, "stock": 5,
            "total": 1, "confirmed": 1, "cancelled": 0, "revenue": 1,
        });
        let status = if request.method == "POST" {
            "201 Created"
        } else {
            "200 OK"
        };
        raw::json(status, "x-total-count: 1\r\n", &body.to_string())
    })
    .await;
    let url = upstream.url();
    let orders = shop::orders(&url, &url, &url).await;
    let products = shop::products(&url).await;
    let analytics = shop::analytics(&url, &url, &url, &url).await;
    let order = json!({"userId": "1", "productId": "1", "quantity": 2});
    let cup = json!({"name": "Cup", "price": 1, "sellerId": "1"});
    for (server, method, path, body) in [
        (&orders, Method::POST, "/api/orders", order),
        (&products, Method::POST, "/api/products", cup),
        (
            &analytics,
            Method::GET,
            "/api/analytics/summary",
            Value::Null,
        ),
    ] {
        let before = upstream.seen().len();
        let request = server
            .request(method, path)
            .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
            .header("tracestate", "a=1,b=x/y")
            .json(&body);
        assert!(Got::from(request).await.status < 300, "{path}");
        let seen = &upstream.seen()[before..];
        assert!(!seen.is_empty(), "{path} calls somebody");
        for call in seen {
            assert_eq!(call.header("tracestate"), "a=1,b=x/y", "{path}: {call:?}");
            let parent = call.header("traceparent");
            assert!(
                parent.contains(TRACE) && parent.ends_with("-01"),
                "{path}: {parent}"
            );
        }
    }
    // What belongs to no trace is no trace's business.
    let request = orders
        .request(Method::POST, "/api/orders")
        .header("traceparent", "00-nonsense-01")
        .header("tracestate", "a=1")
        .json(&json!({"userId": "1", "productId": "1", "quantity": 2}));
    let before = upstream.seen().len();
    Got::from(request).await.expect(201);
    let seen = &upstream.seen()[before..];
    assert!(
        seen.iter().all(|call| call.header("tracestate").is_empty()),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_failing_collector_delays_no_request() {
    for (collector, illness) in [
        (Stub::hanging().await, "hangs"),
        (Stub::refusing().await, "is not there"),
        (
            Stub::answering("503 Service Unavailable", "").await,
            "is full",
        ),
        (
            Stub::sending(|_| "what?".to_owned()).await,
            "speaks no HTTP",
        ),
    ] {
        let url = collector.url();
        let program = Program::start(
            "user-service",
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "300"),
                ("OTEL_BSP_SCHEDULE_DELAY", "10"),
                ("OTEL_BSP_MAX_QUEUE_SIZE", "20"),
                ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5"),
            ],
        );
        let began = Instant::now();
        for _ in 0..200 {
            send(&program, ("GET", "/health"), &[], "")
                .await
                .expect(200);
        }
        assert!(
            began.elapsed() < PROMPT,
            "it {illness}: {:?}",
            began.elapsed()
        );
        let deadline = Instant::now() + PROMPT;
        loop {
            assert!(
                Instant::now() < deadline,
                "it {illness}, and the log does not say so"
            );
            let line = program.line(PROMPT).expect("a line");
            if line.contains("spans do not reach the collector") {
                break;
            }
        }
        let began = Instant::now();
        let ended = stop(program).await;
        assert_eq!(
            (ended.status, ended.stderr.as_str()),
            (Some(0), ""),
            "it {illness}"
        );
        assert!(
            began.elapsed() < PROMPT / 2,
            "it {illness}: {:?}",
            began.elapsed()
        );
        // One line in a minute, and one at the end, not one for each span.
        let complained = ended.stdout.matches("reach the collector").count();
        assert!(complained <= 1, "it {illness}: {ended:?}");
    }
}
