//! Tests of analytics-service over HTTP: the real server on a free port, with stubs for its
//! upstreams.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use analytics_service::{App, Config, http};
use chassis::testkit::{Got, Server, Stub, env};
use reqwest::Method;
use serde_json::{Value, json};

/// More than an answer may take. A call to an upstream times out after 0.8 s, and a request
/// waits for at most two polls.
const PROMPT: Duration = Duration::from_secs(5);

/// Starts analytics-service with stubs for user, product, order and notification-service.
async fn start([users, products, orders, notifications]: [&Stub; 4]) -> Server {
    let url = |stub: &Stub| stub.url().as_str().to_owned();
    let variables = [
        ("USER_SERVICE_URL", url(users)),
        ("PRODUCT_SERVICE_URL", url(products)),
        ("ORDER_SERVICE_URL", url(orders)),
        ("NOTIFICATION_SERVICE_URL", url(notifications)),
        // The circuit closes as soon as an upstream is back.
        ("CIRCUIT_OPEN_MS", "1".to_owned()),
        // The longest interval, because the tests count calls.
        ("POLL_INTERVAL_MS", "60000".to_owned()),
    ];
    let config = Config::read(env(&variables)).expect("good variables");
    Server::start(|listener, shutdown| async move {
        http::serve(listener, App::new(&config, &http::API, shutdown)?).await
    })
    .await
}

/// All four upstreams in one stub: 3 users, 5 products, 10 orders, 7 notifications. Any
/// other request gets an error.
async fn shop() -> Stub {
    Stub::sending(
        |request| match request.split(" HTTP").next().unwrap_or_default() {
            "HEAD /api/users?limit=1" => total(3),
            "HEAD /api/products?limit=1" => total(5),
            "HEAD /api/notifications?limit=1" => total(7),
            "GET /api/orders/stats" => json_answer(&stats("300.30", 3)),
            "GET /health" => json_answer(r#"{"service":"stub-service"}"#),
            _ => String::new(),
        },
    )
    .await
}

/// The answer to HEAD of a list with `count` records.
fn total(count: u32) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 99\r\nx-total-count: {count}\r\nconnection: close\r\n\r\n"
    )
}

fn json_answer(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// The totals of ten orders, as order-service reports them.
fn stats(revenue: &str, confirmed: u32) -> String {
    let cancelled = 10 - confirmed;
    format!(
        r#"{{"total":10,"confirmed":{confirmed},"cancelled":{cancelled},"revenue":{revenue},"timestamp":"2026-01-01T12:00:00.000Z"}}"#
    )
}

/// The four totals of a summary.
fn totals(summary: &Value) -> Value {
    json!([
        summary["total_users"],
        summary["total_products"],
        summary["total_orders"],
        summary["total_notifications"],
    ])
}

/// One column of a summary's services.
fn column(summary: &Value, name: &str) -> Value {
    let services = summary["services"].as_array().expect("a list");
    services
        .iter()
        .map(|service| service[name].clone())
        .collect()
}

#[tokio::test]
async fn all_totals_are_reported_while_all_services_are_up() {
    let shop = shop().await;
    let analytics = start([&shop; 4]).await;

    let summary = analytics.get("/api/analytics/summary").await.expect(200);
    assert_eq!(totals(&summary), json!([3, 5, 10, 7]));
    let names = [
        "user-service",
        "product-service",
        "order-service",
        "notification-service",
    ];
    assert_eq!(column(&summary, "name"), json!(names));
    assert_eq!(column(&summary, "status"), json!(["up", "up", "up", "up"]));
    for as_of in column(&summary, "as_of").as_array().expect("a list") {
        assert!(as_of.is_string() && as_of.as_str() <= summary["timestamp"].as_str());
    }

    for (path, expected) in [
        ("/api/analytics/users", 3),
        ("/api/analytics/products", 5),
        ("/api/analytics/notifications", 7),
    ] {
        let answer = analytics.get(path).await.expect(200);
        assert_eq!(answer["total"], expected, "{path}");
        assert_eq!(answer["status"], "up", "{path}");
        assert!(
            answer["as_of"].is_string() && answer["as_of"].as_str() <= answer["timestamp"].as_str(),
            "{path}"
        );
    }
    let orders = analytics.get("/api/analytics/orders").await.expect(200);
    assert_eq!(
        json!([orders["total"], orders["confirmed"], orders["cancelled"]]),
        json!([10, 3, 7])
    );
    assert_eq!(orders["status"], "up");
    assert!(
        orders["as_of"].is_string() && orders["as_of"].as_str() <= orders["timestamp"].as_str()
    );

    let ready = analytics.get("/health/ready").await.expect(200);
    assert_eq!(ready["status"], "ready");
}

#[tokio::test]
async fn money_is_exact() {
    for (revenue, confirmed, told, average, reason) in [
        ("300.30", 3, "300.3", "100.1", "divided"),
        ("10", 3, "10", "3.33", "rounded to cents"),
        ("0", 0, "0", "0", "no confirmed order"),
        ("0.30", 1, "0.3", "0.3", "0.1 + 0.2 is 0.3"),
        (
            "9007199254740993.01",
            1,
            "9007199254740993.01",
            "9007199254740993.01",
            "more digits than a float holds",
        ),
    ] {
        let body = stats(revenue, confirmed);
        let orders = Stub::sending(move |_| json_answer(&body)).await;
        let analytics = start([&orders; 4]).await;
        let answer = analytics.get("/api/analytics/orders").await;
        let text = String::from_utf8(answer.body).expect("UTF-8");
        let expected = format!(r#""revenue":{told},"average_order_value":{average},"#);
        assert!(text.contains(&expected), "{reason}: {text}");
    }
}

#[tokio::test]
async fn a_service_that_is_down_has_no_total_if_none_was_ever_known() {
    let no_amount = stats("0.001", 3);
    for (down, reason) in [
        (Stub::refusing().await, "it refuses connections"),
        (Stub::hanging().await, "it never answers"),
        (
            Stub::sending(|_| String::new()).await,
            "it closes the connection",
        ),
        (
            Stub::sending(|_| "garbage\r\n\r\n".to_owned()).await,
            "it does not speak HTTP",
        ),
        (
            Stub::answering("404 Not Found", "{}").await,
            "another server is at its address",
        ),
        (
            Stub::answering("404 Not Found", r#"{"error":"No","code":"not_found"}"#).await,
            "another service of the shop is at its address",
        ),
        (
            Stub::answering("500 Internal Server Error", "{}").await,
            "it is broken",
        ),
        (
            Stub::answering("200 OK", "[]").await,
            "its answer has no totals",
        ),
        (
            Stub::sending(move |_| {
                json_answer(&no_amount).replace("\r\n\r\n", "\r\nx-total-count: -1\r\n\r\n")
            })
            .await,
            "its totals are impossible",
        ),
    ] {
        // A service with a list and the one with stats are down, the others are up.
        let shop = shop().await;
        let analytics = start([&down, &shop, &down, &shop]).await;
        let asked = Instant::now();
        let summary = analytics.get("/api/analytics/summary").await.expect(200);
        assert!(asked.elapsed() < PROMPT, "{reason}");
        assert_eq!(totals(&summary), json!([null, 5, null, 7]), "{reason}");
        assert_eq!(
            column(&summary, "status"),
            json!(["down", "up", "down", "up"]),
            "{reason}"
        );
        let as_of = column(&summary, "as_of");
        assert_eq!((&as_of[0], &as_of[2]), (&Value::Null, &Value::Null));

        let orders = analytics.get("/api/analytics/orders").await.expect(200);
        for field in [
            "total",
            "confirmed",
            "cancelled",
            "revenue",
            "average_order_value",
            "as_of",
        ] {
            assert_eq!(orders[field], Value::Null, "{field}: {reason}");
        }
        assert_eq!(orders["status"], "down", "{reason}");
    }
}

#[tokio::test]
async fn a_service_that_goes_down_keeps_its_last_total_and_its_time() {
    let (users, down) = (
        Arc::new(AtomicU32::new(3)),
        Arc::new(AtomicBool::new(false)),
    );
    let stub = Stub::sending({
        let (users, down) = (Arc::clone(&users), Arc::clone(&down));
        move |_| {
            if down.load(Ordering::SeqCst) {
                String::new()
            } else {
                total(users.load(Ordering::SeqCst))
            }
        }
    })
    .await;
    let shop = shop().await;
    let analytics = start([&stub, &shop, &shop, &shop]).await;
    let ask = async || {
        let summary = analytics.get("/api/analytics/summary").await.expect(200);
        (
            summary["total_users"].clone(),
            summary["services"][0].clone(),
        )
    };

    let (known, source) = ask().await;
    assert_eq!((known, &source["status"]), (json!(3), &json!("up")));
    down.store(true, Ordering::SeqCst);
    users.store(4, Ordering::SeqCst);
    for _ in 0..2 {
        let (last, now) = ask().await;
        assert_eq!((last, &now["status"]), (json!(3), &json!("down")));
        assert_eq!(now["as_of"], source["as_of"]);
        let answer = analytics.get("/api/analytics/users").await.expect(200);
        assert_eq!(
            (&answer["total"], &answer["status"], &answer["as_of"]),
            (&json!(3), &json!("down"), &source["as_of"])
        );
    }
    let ready = analytics.get("/health/ready").await.expect(200);
    assert_eq!(ready["status"], "degraded", "all upstreams are optional");

    down.store(false, Ordering::SeqCst);
    let (known, source) = ask().await;
    assert_eq!((known, &source["status"]), (json!(4), &json!("up")));
}

#[tokio::test]
async fn a_total_includes_the_write_right_before_it() {
    let users = Arc::new(AtomicU32::new(0));
    let stub = Stub::sending({
        let users = Arc::clone(&users);
        move |_| total(users.load(Ordering::SeqCst))
    })
    .await;
    let analytics = start([&stub; 4]).await;
    for written in 1..=20 {
        users.store(written, Ordering::SeqCst);
        let answer = analytics.get("/api/analytics/users").await.expect(200);
        assert_eq!(answer["total"], written);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_requests_share_a_poll() {
    const TOGETHER: u64 = 50;
    const HELD: Duration = Duration::from_millis(500);
    let (polls, open) = (
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let users = Stub::sending({
        let (polls, open) = (Arc::clone(&polls), Arc::clone(&open));
        move |_| {
            polls.fetch_add(1, Ordering::SeqCst);
            let held = Instant::now();
            while !open.load(Ordering::SeqCst) && held.elapsed() < HELD {
                thread::sleep(Duration::from_millis(1));
            }
            total(3)
        }
    })
    .await;
    let shop = shop().await;
    let analytics = Arc::new(start([&users, &shop, &shop, &shop]).await);
    let asked: Vec<_> = (0..TOGETHER)
        .map(|_| {
            let request = analytics.request(Method::GET, "/api/analytics/users");
            tokio::spawn(Got::from(request))
        })
        .collect();
    // The stub holds the first poll until all requests have arrived, but not until its
    // time-out.
    let since = Instant::now();
    while in_flight(&analytics).await < TOGETHER && since.elapsed() < HELD {}
    open.store(true, Ordering::SeqCst);
    for got in asked {
        assert_eq!(got.await.expect("an answer").expect(200)["total"], 3);
    }
    // One for the first, one for the others, and one more for requests that arrive late on
    // a busy machine. The tests of `SharedPoll` show that it is exactly two.
    let polls = polls.load(Ordering::SeqCst);
    assert!(polls <= 3, "{polls} polls");
}

/// The requests in flight, except this one.
async fn in_flight(server: &Server) -> u64 {
    const GAUGE: &str = r#"http_requests_in_flight{service="analytics-service"} "#;
    let metrics = server.get("/metrics").await;
    let text = String::from_utf8(metrics.body).expect("UTF-8");
    let gauge = text
        .lines()
        .find_map(|line| line.strip_prefix(GAUGE))
        .expect("the gauge");
    gauge.parse::<u64>().expect("a number") - 1
}

#[tokio::test]
async fn clients_that_hang_up_do_not_disturb_the_polls_of_others() {
    let (hanging, shop) = (Stub::hanging().await, shop().await);
    let analytics = start([&hanging, &shop, &shop, &shop]).await;
    for _ in 0..5 {
        let request = analytics.request(Method::GET, "/api/analytics/users");
        let given_up = tokio::time::timeout(Duration::from_millis(20), request.send()).await;
        assert!(given_up.is_err(), "the stub is slower than this");
    }
    let asked = Instant::now();
    let summary = analytics.get("/api/analytics/summary").await.expect(200);
    assert!(asked.elapsed() < PROMPT);
    assert_eq!(totals(&summary), json!([null, 5, 10, 7]));
}

#[tokio::test]
async fn a_shutdown_finishes_requests_in_flight_and_closes_idle_connections() {
    let (hanging, shop) = (Stub::hanging().await, shop().await);
    let analytics = start([&hanging, &shop, &shop, &shop]).await;
    analytics.get("/health").await.expect(200);
    let request = analytics.request(Method::GET, "/api/analytics/users");
    let answer = tokio::spawn(Got::from(request));
    while in_flight(&analytics).await < 1 && !answer.is_finished() {}
    let stopped = Instant::now();
    analytics.stop().await;
    assert!(stopped.elapsed() < PROMPT);
    let answer = answer.await.expect("an answer").expect(200);
    assert_eq!(answer["total"], Value::Null);
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let shop = shop().await;
    let analytics = start([&shop; 4]).await;
    for path in ["/api/analytics/users", "/docs", "/nothing"] {
        let get = analytics.get(path).await;
        let head = Got::from(analytics.request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        let length = get.body.len().to_string();
        for got in [&get, &head] {
            assert_eq!(got.header("content-length"), length, "{path}");
        }
        assert_eq!(head.header("content-type"), get.header("content-type"));
    }
}

#[tokio::test]
async fn requests_that_actix_answers_itself_keep_the_contract() {
    let shop = shop().await;
    let analytics = start([&shop; 4]).await;
    let large = vec![b'x'; 256 * 1024];
    for (method, path, status, reason) in [
        ("GET", "/api/analytics/summary/", 404, "a trailing slash"),
        ("GET", "//api//analytics/summary", 404, "doubled slashes"),
        ("GET", "/api/analytics/%zz", 404, "no encoding"),
        ("GET", "/docs/%ff", 404, "no UTF-8"),
        ("POST", "/api/analytics/summary", 405, "another method"),
        ("BREW", "/api/analytics/summary", 405, "no method at all"),
    ] {
        let method: Method = method.parse().expect("a method");
        for body in [&[], large.as_slice()] {
            let request = analytics.request(method.clone(), path).body(body.to_vec());
            let got = Got::from(request).await;
            assert_eq!(got.header("access-control-allow-origin"), "*", "{reason}");
            if status == 405 {
                assert_eq!(got.header("allow"), "GET, HEAD, OPTIONS", "{reason}");
                got.expect_error(405, "method_not_allowed");
            } else {
                got.expect_error(404, "not_found");
            }
        }
    }
    let preflight = analytics.request(Method::OPTIONS, "/api/analytics/summary");
    let preflight = Got::from(preflight).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-methods"),
        "GET, HEAD, OPTIONS"
    );
    analytics.get("/%68ealth").await.expect(200);
}
