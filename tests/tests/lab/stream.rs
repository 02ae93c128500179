//! The stream of those who watch the shop, read through the gateway.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use harness::raw::{self, Connection, request};
use serde_json::{Value, json};
use shop_tests::document::Document;
use tokio::time::{sleep, timeout};

use crate::viewer::{STREAM, Viewer, Watched, edge, get, post, service};

/// What the contract promises.
const SOON: Duration = Duration::from_secs(2);

/// Nobody polls by itself in such a test.
const NEVER: &str = "60000";

const SERVICES: [&str; 6] = [
    "gateway",
    "user-service",
    "product-service",
    "order-service",
    "notification-service",
    "analytics-service",
];

const EDGES: [(&str, &str); 13] = [
    ("gateway", "user-service"),
    ("gateway", "product-service"),
    ("gateway", "order-service"),
    ("gateway", "notification-service"),
    ("gateway", "analytics-service"),
    ("product-service", "user-service"),
    ("order-service", "user-service"),
    ("order-service", "product-service"),
    ("order-service", "notification-service"),
    ("analytics-service", "user-service"),
    ("analytics-service", "product-service"),
    ("analytics-service", "order-service"),
    ("analytics-service", "notification-service"),
];

fn names<'a>(of: &'a Value, field: &str) -> Vec<&'a str> {
    let list = of.as_array().expect("a list").iter();
    list.map(|one| one[field].as_str().expect("a name"))
        .collect()
}

fn check(document: &Document, schema: &str, value: &Value) {
    let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
    let checked = document.check_value(value, &schema, "data");
    checked.unwrap_or_else(|fault| panic!("{fault}: {value:#}"));
}

#[tokio::test]
async fn a_viewer_gets_the_past_and_then_a_tick_a_second_as_the_document_says() {
    let watched = Watched::start("500").await;
    watched.seed().await;
    let document = get(watched.analytics.address(), "/openapi.json").await;
    let document = Document::new(document.expect(200));
    // Two samples, five seconds apart.
    sleep(Duration::from_secs(7)).await;

    let mut viewer = Viewer::watch(watched.gateway.address()).await;
    let headers = viewer.response.headers();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["cache-control"], "no-store");
    for absent in ["content-encoding", "content-length", "age"] {
        assert!(!headers.contains_key(absent), "{absent}: {headers:?}");
    }
    let begun = Instant::now();
    let (name, past) = viewer.next().await.expect("an event");
    assert_eq!(name, "past");
    check(&document, "PastSamples", &past);
    let samples = past["samples"].as_array().expect("a list");
    assert_eq!(samples.len(), 2, "{past:#}");
    let last = &samples[1];
    assert_eq!(names(&last["services"], "name"), SERVICES);
    assert_eq!(last["services"][1]["requestRate"], 0.0, "{last:#}");
    assert_eq!(last["orders"]["total"], 3, "{last:#}");
    assert_eq!(edge(last, "order-service", "user-service")["callRate"], 0.0);
    for absent in ["faults", "instances"] {
        assert!(last["services"][0].get(absent).is_none(), "{absent}");
    }

    for number in 0..4 {
        let tick = viewer.tick().await;
        check(&document, "Tick", &tick);
        let at = begun.elapsed().as_secs_f64();
        let expected = f64::from(number);
        assert!(
            (expected - 0.1..expected + 0.9).contains(&at),
            "tick {number} at {at} s"
        );
        assert_eq!(names(&tick["services"], "name"), SERVICES);
        let (from, to) = (names(&tick["edges"], "from"), names(&tick["edges"], "to"));
        assert_eq!(from.into_iter().zip(to).collect::<Vec<_>>(), EDGES);
        for one in tick["services"].as_array().expect("a list") {
            assert_eq!(one["status"], "up", "{one}");
            assert_eq!(one["faults"], json!([]), "{one}");
            assert!(
                one["residentMemoryBytes"].as_u64() > Some(1_000_000),
                "{one}"
            );
            // The gateway is not behind itself.
            let instances = one["instances"].as_array().map(Vec::len);
            assert_eq!(instances, (one["name"] != "gateway").then_some(1), "{one}");
        }
        assert_eq!(tick["recent"], json!([]), "nobody did anything");
        assert_eq!(service(&tick, "user-service")["inFlight"], 0);
        assert_eq!(
            service(&tick, "user-service")["requestRate"],
            0.0,
            "{tick:#}"
        );
    }
}

#[tokio::test]
async fn an_order_is_in_the_feed_once_and_on_its_edges() {
    let watched = Watched::start(NEVER).await;
    watched.seed().await;
    let mut viewer = Viewer::watch(watched.gateway.address()).await;
    viewer.tick().await;
    viewer.tick().await;
    let order = json!({"userId": "1", "productId": "1", "quantity": 1});
    let placed = post(watched.gateway.address(), "/api/orders", &order).await;
    let id = placed.header("x-request-id").to_owned();
    placed.expect(201);
    let (mut recent, mut last) = (Vec::new(), Value::Null);
    for _ in 0..5 {
        last = viewer.tick().await;
        recent.extend(last["recent"].as_array().expect("a list").clone());
    }
    assert_eq!(recent.len(), 1, "{recent:#?}");
    let one = &recent[0];
    assert_eq!(one["requestId"], *id);
    let expected = json!(["gateway", "POST /api/orders", 201]);
    assert_eq!(
        json!([one["service"], one["name"], one["status"]]),
        expected
    );
    assert!(one["durationMs"].as_f64() > Some(0.0), "{one}");
    for (from, to) in [
        ("gateway", "order-service"),
        ("order-service", "user-service"),
        ("order-service", "product-service"),
        ("order-service", "notification-service"),
    ] {
        let edge = edge(&last, from, to);
        assert!(edge["callRate"].as_f64() > Some(0.0), "{edge}");
        assert!(edge["p99Ms"].as_f64() > Some(0.0), "{edge}");
        assert_eq!(edge["failureRate"], 0.0, "{edge}");
        let circuit = if from == "gateway" {
            Value::Null
        } else {
            json!("closed")
        };
        assert_eq!(edge["circuit"], circuit, "{edge}");
    }
    let orders = get(watched.orders.address(), "/api/orders/stats").await;
    let orders = orders.expect(200);
    for field in ["total", "confirmed", "cancelled", "revenue"] {
        assert_eq!(
            last["orders"][field].as_f64(),
            orders[field].as_f64(),
            "{field}"
        );
    }

    // A request that names a parent which no service knows comes from outside as well.
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("traceparent", parent)];
    let asked = request("GET", "/api/users/1", &headers, b"");
    let got = raw::exchange(watched.users.address(), &asked).await;
    got.expect("an answer").expect(200);
    let wanted = |tick: &Value| tick["recent"] != json!([]);
    let tick = viewer.until("a root", 2 * SOON, wanted).await;
    assert_eq!(tick["recent"][0]["traceId"], parent[3..35], "{tick:#}");
    assert_eq!(tick["recent"][0]["name"], "GET /api/users/{id}");
}

#[tokio::test]
async fn faults_are_in_the_next_tick() {
    let watched = Watched::start(NEVER).await;
    let mut viewer = Viewer::watch(watched.gateway.address()).await;
    viewer.tick().await;
    let fault = json!([{"route": "/api/users", "kind": "status", "status": 503}]);
    let body = fault.to_string();
    let headers = [("content-type", "application/json")];
    let change = async |method: &str, body: &str| {
        let change = request(
            method,
            "/lab/user-service/faults",
            &headers,
            body.as_bytes(),
        );
        let got = raw::exchange(watched.gateway.address(), &change).await;
        got.expect("an answer").expect(200);
    };
    change("PUT", &body).await;
    let is_set = |tick: &Value| service(tick, "user-service")["faults"][0]["status"] == 503;
    viewer.until("set", SOON, is_set).await;
    let got = get(watched.gateway.address(), "/api/users").await;
    got.expect_error(503, "fault");
    let counts = |tick: &Value| service(tick, "user-service")["errorRate"].as_f64() > Some(0.0);
    let tick = viewer.until("an error", SOON, counts).await;
    let edge = edge(&tick, "gateway", "user-service");
    assert!(edge["failureRate"].as_f64() > Some(0.0), "{edge}");
    change("DELETE", "").await;
    let is_mended = |tick: &Value| service(tick, "user-service")["faults"] == json!([]);
    viewer.until("mended", SOON, is_mended).await;
}

#[tokio::test]
async fn a_service_that_dies_or_hangs_is_down_within_two_seconds_and_delays_nothing() {
    let mut watched = Watched::start("500").await;
    let mut viewer = Viewer::watch(watched.gateway.address()).await;
    let is = |name: &'static str, status: &'static str| {
        move |tick: &Value| service(tick, name)["status"] == status
    };
    let all_up = |tick: &Value| SERVICES.iter().all(|name| is(name, "up")(tick));
    viewer.until("all up", SOON, all_up).await;

    watched.users.kill();
    let down = viewer.until("down", SOON, is("user-service", "down")).await;
    let user = service(&down, "user-service");
    assert_eq!(user["framework"], "axum", "as last known");
    assert_eq!(user["uptimeSeconds"], Value::Null);
    let lacks = is("order-service", "unavailable");
    let tick = viewer.until("order-service lacks it", SOON, lacks).await;
    assert_eq!(service(&tick, "product-service")["status"], "unavailable");
    assert_eq!(service(&tick, "notification-service")["status"], "up");
    for without in ["gateway", "analytics-service"] {
        assert_eq!(service(&tick, without)["status"], "degraded");
    }
    // analytics-service called it in vain, for its samples.
    let failing = |tick: &Value| {
        let edge = edge(tick, "analytics-service", "user-service");
        edge["failureRate"]
            .as_f64()
            .max(edge["notMadeRate"].as_f64())
            > Some(0.0)
    };
    viewer.until("failures", 3 * SOON, failing).await;

    watched.users.come_back();
    viewer
        .until("up again", SOON, is("user-service", "up"))
        .await;
    viewer.until("all up again", 5 * SOON, all_up).await;

    watched.notifications.signal("STOP");
    let hangs = is("notification-service", "down");
    viewer.until("it hangs", SOON, hangs).await;
    let mut before = Instant::now();
    for _ in 0..3 {
        viewer.tick().await;
        let pause = before.elapsed();
        assert!(
            pause < Duration::from_millis(1600),
            "a tick after {pause:?}"
        );
        before = Instant::now();
    }
    watched.notifications.signal("CONT");
    let answers = is("notification-service", "up");
    viewer.until("it answers again", SOON, answers).await;
}

/// The polls of `/metrics` that user-service has counted.
async fn polls(watched: &Watched) -> u64 {
    let text = get(watched.users.address(), "/metrics").await.body;
    let text = String::from_utf8(text).expect("text");
    let mut lines = text.lines();
    let line = lines.find(|line| {
        line.starts_with("http_requests_total") && line.contains("route=\"/metrics\"")
    });
    line.map_or(0, |line| {
        let count = line.rsplit(' ').next().expect("a value");
        count.parse().expect("a count")
    })
}

#[tokio::test]
async fn thirty_viewers_cost_the_services_as_much_as_one_and_nobody_costs_nothing() {
    const WATCHED: Duration = Duration::from_secs(5);
    let watched = Watched::start(NEVER).await;
    // Each look is one poll more itself.
    let before = polls(&watched).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(polls(&watched).await, before + 1, "nobody watches");

    for count in [1, 30] {
        let viewers = (0..count).map(|_| Viewer::watch(watched.gateway.address()));
        let mut viewers = join_all(viewers).await;
        let before = polls(&watched).await;
        let begun = Instant::now();
        while begun.elapsed() < WATCHED {
            join_all(viewers.iter_mut().map(Viewer::tick)).await;
        }
        let seconds = begun.elapsed().as_secs();
        let made = polls(&watched).await - before - 1;
        assert!(
            (seconds - 1..=seconds + 2).contains(&made),
            "{count} viewers: {made} in {seconds} s"
        );
        drop(viewers);
        // The poll of this second may still be made.
        sleep(Duration::from_millis(1500)).await;
        let before = polls(&watched).await;
        sleep(Duration::from_secs(3)).await;
        assert_eq!(polls(&watched).await, before + 1, "they have gone");
    }
}

#[tokio::test]
async fn there_is_a_most_of_viewers_and_one_who_does_not_read_holds_up_nobody() {
    let watched = Watched::start(NEVER).await;
    let address = watched.analytics.address();
    let mut unread = Vec::new();
    for _ in 0..127 {
        let mut connection = Connection::open(address).await;
        let sent = connection.send(&request("GET", STREAM, &[], b"")).await;
        sent.expect("it is sent");
        unread.push(connection);
    }
    let mut viewer = Viewer::watch(address).await;
    viewer.tick().await;
    let deadline = Instant::now() + SOON;
    loop {
        // A viewer who has just come may have got the place.
        match raw::get(address, STREAM).await {
            Ok(refused) => {
                let sentence = refused.expect_error(503, "overloaded");
                let expected = "The server is at its limit of 128 viewers of this stream";
                assert!(sentence.starts_with(expected), "{sentence}");
                break;
            }
            Err(fault) => assert!(Instant::now() < deadline, "{fault}"),
        }
    }
    for _ in 0..3 {
        viewer.tick().await;
    }
    drop(unread);
    // A HEAD ends at once, and takes no place.
    for _ in 0..130 {
        let mut connection = Connection::open(address).await;
        let sent = connection.send(&request("HEAD", STREAM, &[], b"")).await;
        sent.expect("it is sent");
        let head = timeout(SOON, connection.answer(true)).await;
        let head = head.expect("at once").expect("an answer");
        assert_eq!(head.status, 200);
    }
    Viewer::watch(address).await.tick().await;
}

#[tokio::test]
async fn a_shutdown_ends_the_stream_and_does_not_wait_for_viewers() {
    let watched = Watched::start(NEVER).await;
    let mut direct = Viewer::watch(watched.analytics.address()).await;
    let mut forwarded = Viewer::watch(watched.gateway.address()).await;
    for viewer in [&mut direct, &mut forwarded] {
        viewer.tick().await;
    }
    let begun = Instant::now();
    watched.analytics.signal("TERM");
    for viewer in [&mut direct, &mut forwarded] {
        while viewer.next().await.is_some() {}
    }
    assert_eq!(watched.analytics.exited(2 * SOON), Some(0));
    assert!(begun.elapsed() < 2 * SOON, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_reset_of_analytics_forgets_totals_samples_and_the_past_and_waits_for_no_viewer() {
    let mut watched = Watched::start("500").await;
    watched.seed().await;
    let (analytics, gateway) = (watched.analytics.address(), watched.gateway.address());
    let total = async || get(analytics, "/api/analytics/users").await.expect(200)["total"].clone();
    assert_eq!(total().await, 3);
    watched.users.kill();
    assert_eq!(total().await, 3, "the last known one");
    let history = async || {
        let history = get(analytics, "/api/analytics/history").await.expect(200);
        history.as_array().expect("a list").len()
    };
    sleep(Duration::from_secs(2)).await;
    assert!(history().await >= 2);

    let mut viewer = Viewer::watch(gateway).await;
    viewer.tick().await;
    for path in ["/lab/analytics-service/reset", "/lab/reset"] {
        let begun = Instant::now();
        post(gateway, path, &json!({})).await.expect(200);
        assert!(begun.elapsed() < SOON, "{path}: {:?}", begun.elapsed());
    }
    assert!(history().await <= 1);
    assert_eq!(total().await, Value::Null, "it is not known any more");
    let (_, past) = Viewer::watch(gateway).await.next().await.expect("an event");
    assert!(
        past["samples"].as_array().expect("a list").len() <= 1,
        "{past}"
    );
    // The viewer sees more.
    viewer.tick().await;
}
