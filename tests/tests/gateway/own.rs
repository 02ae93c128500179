//! The gateway's own routes.

use std::time::{Duration, Instant};

use chassis::testkit::{Server, Stub};
use chassis::upstream::url::UpstreamUrl;
use futures_util::future::join_all;
use harness::Got;
use harness::raw::{self, Request};
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::fake::Fake;
use shop_tests::shop::{self, Shop};
use tokio::time::sleep;

use super::gateway;

const USER: &str = r#"{"id":"7","name":"Ada","balance":12345678901234567890.10}"#;

/// A service with lists of two records of five.
async fn listing(record: &'static str) -> Fake {
    Fake::start(move |_| async move {
        raw::json(
            "200 OK",
            "x-total-count: 5\r\n",
            &format!("[{record},{record}]"),
        )
    })
    .await
}

async fn answering(status: &'static str, body: &'static str) -> Fake {
    Fake::start(move |_| async move { raw::json(status, "", body) }).await
}

/// A gateway to these.
async fn of(users: &UpstreamUrl, orders: &UpstreamUrl, notifications: &UpstreamUrl) -> Server {
    let down = UpstreamUrl::local(1);
    shop::gateway([users, &down, orders, notifications, &down], &[]).await
}

#[tokio::test]
async fn a_dashboard_has_a_user_and_the_newest_records() {
    let users = answering("200 OK", USER).await;
    let orders = listing(r#"{"id":"9","total":0.10}"#).await;
    let notifications = listing(r#"{"id":"3"}"#).await;
    let gateway = of(&users.url(), &orders.url(), &notifications.url()).await;
    let sent = raw::get(gateway.address(), "/api/users/7/dashboard").await;
    let got = sent.expect("an answer");
    let text = String::from_utf8_lossy(&got.body).into_owned();
    assert!(
        text.contains("12345678901234567890.10"),
        "every digit: {text}"
    );
    let body = got.expect(200);
    assert_eq!(body["user"]["name"], "Ada");
    assert_eq!(body["orders"].as_array().map(Vec::len), Some(2));
    assert_eq!(body["notifications"][1]["id"], "3");
    assert_eq!(body["totals"], json!({"orders": 5, "notifications": 5}));
    assert_eq!(body["unavailable"], json!([]));
    let target = |fake: &Fake| fake.seen()[0].target.clone();
    assert_eq!(target(&users), "/api/users/7");
    assert_eq!(target(&orders), "/api/orders/user/7?order=desc&limit=20");
    assert_eq!(
        target(&notifications),
        "/api/notifications/7?order=desc&limit=20"
    );
    let id = |request: &Request| request.header("x-request-id").to_owned();
    assert_eq!(id(&users.seen()[0]), id(&orders.seen()[0]), "one request");
}

#[tokio::test]
async fn a_dashboard_says_which_part_is_missing() {
    let users = answering("200 OK", USER).await;
    let orders = Stub::refusing().await;
    let broken = answering("500 Internal Server Error", "{}").await;
    let notifications = listing(r#"{"id":"3"}"#).await;
    let gateway = of(&users.url(), &orders.url(), &notifications.url()).await;
    let body = gateway.get("/api/users/7/dashboard").await.expect(200);
    assert_eq!(
        (&body["orders"], &body["totals"]["orders"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(body["totals"]["notifications"], 5);
    assert_eq!(body["unavailable"], json!(["order-service"]));

    let gateway = of(&users.url(), &orders.url(), &broken.url()).await;
    let body = gateway.get("/api/users/7/dashboard").await.expect(200);
    assert_eq!(body["user"]["id"], "7");
    assert_eq!(
        body["unavailable"],
        json!(["order-service", "notification-service"])
    );
}

#[tokio::test]
async fn there_is_no_dashboard_without_a_user() {
    let shop = Shop::start().await;
    let gateway = shop.gateway().await;
    let unknown = gateway.get("/api/users/7/dashboard").await;
    unknown.expect_error(404, "not_found");
    let no_id = gateway.get("/api/users/ada/dashboard").await;
    no_id.expect_error(404, "not_found");
    shop::add_user(&shop.users, "ada").await;
    let ada = gateway.get("/api/users/1/dashboard").await.expect(200);
    assert_eq!(
        (&ada["orders"], &ada["unavailable"]),
        (&json!([]), &json!([]))
    );
    let post = gateway.post("/api/users/1/dashboard", json!({})).await;
    post.expect_error(405, "method_not_allowed");

    let hanging = Stub::hanging().await;
    let gateway = of(&shop.users.upstream_url(), &hanging.url(), &hanging.url()).await;
    let started = Instant::now();
    let unknown = gateway.get("/api/users/7/dashboard").await;
    unknown.expect_error(404, "not_found");
    let taken = started.elapsed();
    assert!(
        taken < Duration::from_millis(500),
        "waits for nobody else: {taken:?}"
    );

    let down = Stub::refusing().await;
    let gateway = of(&down.url(), &shop.orders.upstream_url(), &down.url()).await;
    let got = gateway.get("/api/users/7/dashboard").await;
    let sentence = got.expect_error(503, "dependency_unavailable");
    assert!(sentence.contains("user-service"), "{sentence}");
}

#[tokio::test]
async fn the_status_has_each_service_with_what_it_has_done() {
    let shop = Shop::start().await;
    let gateway = shop.gateway().await;
    shop::add_user(&gateway, "ada").await;
    gateway
        .get("/api/users/2")
        .await
        .expect_error(404, "not_found");
    let status = gateway.get("/status").await.expect(200);
    let services = status["services"].as_array().expect("services");
    assert_eq!(services.len(), 5);
    assert_eq!(services[0]["name"], "user-service");
    assert_eq!(services[0]["routes"], json!(["/api/users", "/api/auth"]));
    let users = &services[0]["instances"][0];
    assert_eq!(users["url"], shop.users.upstream_url().as_str());
    assert_eq!(
        (&users["state"], &users["source"]),
        (&json!("up"), &json!("fixed"))
    );
    assert_eq!(
        (&users["requests"], &users["failures"]),
        (&json!(2), &json!(0))
    );
    assert!(
        users["latencyMs"].as_f64().is_some_and(|ms| ms > 0.0),
        "{users}"
    );
    assert_eq!(services[4]["instances"][0]["latencyMs"], Value::Null);
    assert!(
        services
            .iter()
            .all(|one| one["instances"][0]["inFlight"] == 0)
    );

    let down = Stub::refusing().await;
    let gateway = super::gateway(&down.url()).await;
    gateway
        .get("/api/users/1")
        .await
        .expect_error(503, "dependency_unavailable");
    let users = async || {
        let status = gateway.get("/status").await.expect(200);
        status["services"][0]["instances"][0].clone()
    };
    assert_eq!(users().await["failures"], 2);
    // It is asked in vain three times.
    let deadline = Instant::now() + Duration::from_secs(20);
    while users().await["state"] != "down" {
        assert!(Instant::now() < deadline, "{}", users().await);
        sleep(Duration::from_millis(50)).await;
    }
    let overview = gateway.get("/").await.expect(200);
    assert_eq!(overview["services"][0]["state"], "down");
}

#[tokio::test]
async fn the_gateway_is_ready_as_far_as_the_services_can_be_reached() {
    let shop = Shop::start().await;
    let gateway = shop.gateway().await;
    let ready = gateway.get("/health/ready").await.expect(200);
    assert_eq!(ready["status"], "ready");
    let names = ready["dependencies"].as_array().map(Vec::len);
    assert_eq!(names, Some(5));
    let gateway = super::gateway(&shop.users.upstream_url()).await;
    let ready = gateway.get("/health/ready").await.expect(200);
    assert_eq!(ready["status"], "degraded");
    let health = gateway.get("/health").await.expect(200);
    assert_eq!(
        (&health["service"], &health["framework"]),
        (&json!("gateway"), &json!("hyper"))
    );
}

#[tokio::test]
async fn a_browser_gets_a_page_and_all_others_get_json() {
    let shop = Shop::start().await;
    let gateway = shop.gateway().await;
    let json = gateway.get("/").await;
    assert_eq!(json.header("content-type"), "application/json");
    assert_eq!(json.header("vary"), "Accept");
    let body = json.expect(200);
    assert_eq!(body["name"], "gateway");
    assert_eq!(body["services"][1]["routes"], json!(["/api/products"]));
    assert_eq!(body["services"][1]["state"], "up");
    let docs = format!("{}/docs", shop.products.upstream_url().as_str());
    assert_eq!(body["services"][1]["docs"], docs);
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = Got::from(gateway.request(Method::GET, "/").header("accept", accept)).await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let html = String::from_utf8_lossy(&page.body).into_owned();
    // Relative, so that it works behind a path prefix.
    assert!(html.contains("src=\"console/app.js\""), "{html}");
    for path in ["/docs", "/openapi.json", "/metrics"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
    let document = gateway.get("/openapi.json").await.expect(200);
    let paths = document["paths"].as_object().expect("paths");
    for path in ["/", "/status", "/api/users/{id}/dashboard", "/health"] {
        assert!(paths.contains_key(path), "{path}");
    }
}

#[tokio::test]
async fn metrics_tell_what_the_gateway_does_for_the_services() {
    let products = listing(r#"{"id":"1"}"#).await;
    let users = answering("503 Service Unavailable", "{}").await;
    let down = UpstreamUrl::local(1);
    let urls = [&users.url(), &products.url(), &down, &down, &down];
    let settings = [("RATE_LIMIT", "10"), ("CACHE_TTL_MS", "60000")];
    let gateway = shop::gateway(urls, &settings).await;
    for _ in 0..3 {
        gateway.get("/api/products/1").await.expect(200);
    }
    for _ in 0..5 {
        gateway.get("/api/users/1").await;
    }
    // Of twenty at once, twelve are left.
    let crowd = join_all((0..100).map(|_| gateway.get("/api/nothing"))).await;
    let refused = crowd.iter().filter(|got| got.status == 429).count();
    assert!(refused > 0);
    let metrics = gateway.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let has = |name: &str, labels: &str, value: &str| {
        let mut lines = text.lines().filter(|line| {
            line.starts_with(name) && labels.split(' ').all(|label| line.contains(label))
        });
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("no {name} {labels} in {text}"));
        assert_eq!(line.rsplit(' ').next(), Some(value), "{line}");
    };
    let cache = "gateway_cache_requests_total";
    has(cache, r#"outcome="hit""#, "2");
    has(cache, r#"outcome="miss""#, "1");
    has(cache, r#"outcome="shared""#, "0");
    has(cache, r#"outcome="stale""#, "0");
    has("gateway_cache_entries", "", "1");
    has(
        "gateway_rate_limited_requests_total",
        "",
        &refused.to_string(),
    );
    let of_products = format!(
        r#"dependency="product-service" url="{}""#,
        products.url().as_str()
    );
    has("gateway_instance_requests_total", &of_products, "1");
    has("gateway_instance_failures_total", &of_products, "0");
    has("gateway_instance_requests_in_flight", &of_products, "0");
    has(
        "gateway_instance_state",
        &format!(r#"{of_products} state="up""#),
        "1",
    );
    let of_users = format!(
        r#"dependency="user-service" url="{}""#,
        users.url().as_str()
    );
    has("gateway_instance_requests_total", &of_users, "5");
    has("gateway_instance_failures_total", &of_users, "5");
    has(
        "gateway_instance_state",
        &format!(r#"{of_users} state="ejected""#),
        "1",
    );
    has(
        "gateway_instance_state",
        &format!(r#"{of_users} state="up""#),
        "0",
    );
}

#[tokio::test]
async fn metrics_name_what_is_forwarded_by_its_prefix() {
    let users = shop::users().await;
    let gateway = gateway(&users.upstream_url()).await;
    for number in 0..20 {
        gateway.get(&format!("/api/users/{number}/invented")).await;
    }
    let metrics = gateway.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        text.contains(r#"route="/api/users",status="404"} 20"#),
        "{text}"
    );
    assert!(!text.contains("invented"), "{text}");
}
