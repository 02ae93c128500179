//! Tests of `/api/analytics/traces` over HTTP: the real server on a free port, with stubs whose
//! spans the test invents. `tests/tests/lab/traces.rs` at the root has the spans of a real shop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use analytics_service::{App, Config, http};
use chassis::testkit::{Server, Stub, env};
use serde_json::{Value, json};

/// More than an answer may take, even if a service hangs.
const PROMPT: Duration = Duration::from_secs(8);

/// Starts analytics-service with stubs for user, product, order and notification-service.
async fn start(stubs: [&Stub; 4], more: &[(&'static str, &str)]) -> Server {
    let [users, products, orders, notifications] = stubs.map(|stub| stub.url().as_str().to_owned());
    let mut variables = vec![
        ("USER_SERVICE_URL", users),
        ("PRODUCT_SERVICE_URL", products),
        ("ORDER_SERVICE_URL", orders),
        ("NOTIFICATION_SERVICE_URL", notifications),
        ("POLL_INTERVAL_MS", "60000".to_owned()),
    ];
    variables.extend(
        more.iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    let config = Config::read(env(&variables)).expect("good variables");
    Server::start(|listener, shutdown| async move {
        http::serve(listener, App::new(&config, &http::API, shutdown)?).await
    })
    .await
}

const LAB: [(&str, &str); 1] = [("LAB_MODE", "on")];

/// The entry of a span of 1 ms in the list of a service.
fn entry(number: u64, span: u64, parent: Option<u64>) -> Value {
    json!({
        "number": number, "traceId": format!("{:032x}", 7), "spanId": format!("{span:016x}"),
        "parentId": parent.map(|parent| format!("{parent:016x}")), "requestId": "demo-1",
        "service": "whoever", "name": "GET /api/things", "kind": "server",
        "start": "2026-01-01T12:00:00.000000Z", "durationMs": 1.0, "status": 200,
        "attributes": {"route": "/api/things"},
    })
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// A stub whose spans are `entries`, read page by page.
async fn showing(entries: Vec<Value>) -> Stub {
    Stub::sending(move |request| {
        let after = request.split("after=").nth(1).unwrap_or_default();
        let after = after.split(['&', ' ']).next().unwrap_or_default();
        let after: usize = after.parse().unwrap_or(0);
        let page: Vec<_> = entries.iter().skip(after).take(1000).collect();
        ok(&json!(page).to_string())
    })
    .await
}

#[tokio::test]
async fn whoever_does_not_show_its_spans_is_unavailable_and_the_rest_is_shown() {
    let users = showing(vec![entry(1, 1, None), entry(2, 2, Some(1))]).await;
    for (what, broken) in [
        ("garbage", Stub::answering("200 OK", "not JSON").await),
        (
            "other JSON",
            Stub::answering("200 OK", r#"{"spans":[]}"#).await,
        ),
        (
            "strange spans",
            Stub::answering("200 OK", r#"[{"number":1}]"#).await,
        ),
        (
            "an error",
            Stub::answering("500 Internal Server Error", "{}").await,
        ),
        ("no lab", Stub::answering("404 Not Found", "{}").await),
        ("no connection", Stub::refusing().await),
        ("no answer", Stub::hanging().await),
        (
            "a flood",
            Stub::sending(|_| ok(&format!("[{}]", " ".repeat(2 << 20)))).await,
        ),
    ] {
        let server = start([&users, &broken, &broken, &users], &LAB).await;
        let started = Instant::now();
        for path in ["/api/analytics/traces", "/api/analytics/traces/demo-1"] {
            let got = server.get(path).await.expect(200);
            let without = json!(["order-service", "product-service"]);
            assert_eq!(got["unavailable"], without, "{what}: {path}");
        }
        assert!(started.elapsed() < PROMPT, "{what}");
        let trace = server.get("/api/analytics/traces/demo-1").await.expect(200);
        let spans = trace["spans"].as_array().expect("a list");
        assert_eq!(spans.len(), 2, "{what}: {trace}");
        assert_eq!(spans[1]["parentId"], spans[0]["spanId"]);
        // Who recorded it is who was asked, whatever it says.
        assert_ne!(spans[0]["service"], "whoever");
    }
}

#[tokio::test]
async fn a_trace_of_thousands_of_spans_is_cut_and_says_so() {
    let entries = |first: u64| {
        let numbers = 1..=1500;
        let entries = numbers.map(|n| entry(n, first + n, (first + n > 1).then_some(1)));
        entries.collect::<Vec<_>>()
    };
    let (one, two, none) = (
        showing(entries(0)).await,
        showing(entries(1500)).await,
        showing(Vec::new()).await,
    );
    let server = start([&one, &two, &none, &none], &LAB).await;
    let trace = server.get("/api/analytics/traces/demo-1").await.expect(200);
    assert_eq!(trace["cut"], json!({"shown": 2000, "of": 3000}));
    assert_eq!(trace["spans"].as_array().map(Vec::len), Some(2000));
    assert_eq!(trace["unavailable"], json!([]));
}

#[tokio::test]
async fn of_several_requests_with_one_id_the_latest_is_shown_with_all_of_its_trace() {
    let of = |trace: &str, second: u64, request: &str, number: u64| {
        let mut entry = entry(number, number, None);
        entry["traceId"] = json!(trace);
        entry["requestId"] = json!(request);
        entry["start"] = json!(format!("2026-01-01T12:00:{second:02}Z"));
        entry
    };
    let (old, new) = ("a".repeat(32), "b".repeat(32));
    let entries = [
        of(&old, 1, "twice", 1),
        of(&new, 2, "twice", 2),
        of(&new, 3, "another", 3),
    ];
    // As a service finds them.
    let users = Stub::sending(move |request| {
        let asked = request.split("trace=").nth(1).unwrap_or_default();
        let asked = asked.split(['&', ' ']).next().unwrap_or_default();
        let is_asked = |entry: &&Value| {
            asked.is_empty() || entry["traceId"] == asked || entry["requestId"] == asked
        };
        let found: Vec<_> = entries.iter().filter(is_asked).collect();
        ok(&json!(found).to_string())
    })
    .await;
    let none = showing(Vec::new()).await;
    let server = start([&users, &none, &none, &none], &LAB).await;
    for (id, trace, spans) in [("twice", &new, 2), (&*old, &old, 1), ("another", &new, 2)] {
        let path = format!("/api/analytics/traces/{id}");
        let got = server.get(&path).await.expect(200);
        assert_eq!(got["traceId"], **trace, "{id}");
        assert_eq!(got["spans"].as_array().map(Vec::len), Some(spans), "{id}");
    }
    let listed = server.get("/api/analytics/traces").await.expect(200);
    let ids = listed["traces"].as_array().expect("a list").iter();
    let ids: Vec<_> = ids.map(|one| one["traceId"].clone()).collect();
    assert_eq!(ids, [json!(new), json!(old)]);
    let listed = server
        .get("/api/analytics/traces?limit=1")
        .await
        .expect(200);
    assert_eq!(listed["traces"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_is_not_known_is_404_and_a_wrong_limit_400() {
    let none = showing(Vec::new()).await;
    let down = Stub::refusing().await;
    let server = start([&none, &none, &none, &down], &LAB).await;
    let unknown = server.get("/api/analytics/traces/nobody").await.expect(404);
    let error = unknown["error"].as_str().unwrap_or_default();
    assert!(
        error.contains("nobody") && error.contains("notification-service"),
        "{error}"
    );
    for id in ["a%2Fb", "%22", "a%20b", &"x".repeat(129), "a%0Db"] {
        let got = server.get(&format!("/api/analytics/traces/{id}")).await;
        assert_eq!(got.status, 404, "{id}");
    }
    for limit in ["0", "101", "x", "-1", ""] {
        let path = format!("/api/analytics/traces?limit={limit}");
        let refused = server.get(&path).await.expect(400);
        assert_eq!(refused["details"][0]["field"], "limit", "{limit}");
    }
}

#[tokio::test]
async fn without_a_lab_nobody_is_asked() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let stub = Stub::sending(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        ok("[]")
    })
    .await;
    let gateway = stub.url();
    let more = [("GATEWAY_URL", gateway.as_str())];
    let server = start([&stub; 4], &more).await;
    for path in ["/api/analytics/traces", "/api/analytics/traces/demo-1"] {
        let got = server.get(path).await.expect(404);
        let error = got["error"].as_str().unwrap_or_default();
        assert!(error.contains("LAB_MODE=on"), "{error}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}
