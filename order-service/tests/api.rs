//! Tests of order-service over HTTP, with stubs for the services that it calls. The whole shop together is in the `shop-tests` package.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chassis::testkit::{Got, Server, Stub, env};
use futures_util::future::join_all;
use order_service::{App, Config, http};
use reqwest::Method;
use serde_json::{Value, json};

/// More than an order ever takes, even if an upstream hangs.
const PROMPT: Duration = Duration::from_secs(5);

/// The upstreams of order-service. All are up unless a test replaces one.
struct Upstreams {
    users: Stub,
    products: Stub,
    notifications: Stub,
    /// The stock of product 1.
    stock: Arc<AtomicI64>,
}

impl Upstreams {
    /// User 1, product 1 at 19.99 with `stock` pieces; no other ids.
    async fn up(stock: i64) -> Self {
        let stock = Arc::new(AtomicI64::new(stock));
        Self {
            users: Stub::replying(|request| known(request, "/api/users/1", r#"{"id":"1"}"#)).await,
            products: products(Arc::clone(&stock)).await,
            notifications: Stub::answering("201 Created", r#"{"id":"1"}"#).await,
            stock,
        }
    }

    async fn orders(&self) -> Server {
        // The circuit closes soon after an upstream is back.
        self.orders_with(&[("CIRCUIT_OPEN_MS", "200")]).await
    }

    async fn orders_with(&self, variables: &[(&'static str, &str)]) -> Server {
        let mut all = vec![
            ("USER_SERVICE_URL", self.users.url().as_str().to_owned()),
            (
                "PRODUCT_SERVICE_URL",
                self.products.url().as_str().to_owned(),
            ),
            (
                "NOTIFICATION_SERVICE_URL",
                self.notifications.url().as_str().to_owned(),
            ),
        ];
        all.extend(
            variables
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        Server::start(|listener, shutdown| async move {
            let config = Config::read(env(&all))?;
            http::serve(listener, App::new(&config, &http::API, shutdown)?).await
        })
        .await
    }

    fn stock(&self) -> i64 {
        self.stock.load(Ordering::SeqCst)
    }
}

const NOT_FOUND: &str =
    r#"{"error":"There is no such thing","code":"not_found","requestId":"stub"}"#;

fn known(request: &str, path: &str, record: &str) -> (&'static str, String) {
    let asked = request.split_whitespace().nth(1);
    if asked == Some(path) {
        ("200 OK", record.to_owned())
    } else {
        ("404 Not Found", NOT_FOUND.to_owned())
    }
}

/// A product-service in ten lines: product 1, with a stock that never goes below zero.
async fn products(stock: Arc<AtomicI64>) -> Stub {
    Stub::replying(move |request| {
        if request.starts_with("GET") {
            return known(request, "/api/products/1", r#"{"id":"1","price":19.99}"#);
        }
        let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
        let change: Value = serde_json::from_str(body).expect("order-service sends JSON");
        let delta = change["delta"].as_i64().expect("a delta");
        let changed = stock.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| (left + delta >= 0).then_some(left + delta));
        match changed {
            Ok(_) => ("200 OK", r#"{"id":"1","price":19.99}"#.to_owned()),
            Err(left) => ("409 Conflict", json!({"error": format!("Only {left} left"), "code": "insufficient_stock", "requestId": "stub"}).to_string()),
        }
    })
    .await
}

fn order(quantity: u32) -> Value {
    json!({"userId": "1", "productId": "1", "quantity": quantity})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_takes_stock_and_notifies_the_user() {
    let upstreams = Upstreams::up(10).await;
    let orders = upstreams.orders().await;

    let placed = orders.post("/api/orders", order(2)).await;
    assert_eq!(placed.header("location"), "/api/orders/1");
    let placed = placed.expect(201);
    let expected = json!({
        "id": "1", "userId": "1", "productId": "1", "quantity": 2, "unitPrice": 19.99, "totalPrice": 39.98,
        "status": "confirmed", "notification": "sent",
        "createdAt": placed["createdAt"], "updatedAt": placed["updatedAt"],
    });
    assert_eq!(placed, expected);
    assert_eq!(upstreams.stock(), 8);
    assert_eq!(orders.get("/api/orders/1").await.expect(200), placed);
    assert_eq!(orders.get("/api/orders").await.expect(200), json!([placed]));
    assert_eq!(
        orders.get("/api/orders/user/1").await.expect(200),
        json!([placed])
    );
    assert_eq!(
        orders.get("/api/orders/user/2").await.expect(200),
        json!([])
    );
    orders
        .get("/api/orders/2")
        .await
        .expect_error(404, "not_found");
    orders
        .get("/api/orders/user/ada")
        .await
        .expect_error(404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_order_changes_nothing() {
    let upstreams = Upstreams::up(10).await;
    let orders = upstreams.orders().await;
    for (body, code, sentence, reason) in [
        (
            json!({}),
            "validation_failed",
            "userId is required",
            "an empty body",
        ),
        (
            json!({"userId": "1", "productId": "1", "quantity": 0}),
            "validation_failed",
            "from 1 to 10000",
            "none",
        ),
        (
            json!({"userId": "1", "productId": "1", "quantity": 10_001}),
            "validation_failed",
            "from 1 to 10000",
            "too many",
        ),
        (
            json!({"userId": "1", "productId": "1", "quantity": 1.5}),
            "validation_failed",
            "whole number",
            "half a piece",
        ),
        (
            json!({"userId": "1", "productId": "1", "quantity": "1"}),
            "invalid_json",
            "quantity",
            "a string for a number",
        ),
        (
            json!({"userId": 1, "productId": "1", "quantity": 1}),
            "invalid_json",
            "userId",
            "a number for an id",
        ),
        (
            json!({"userId": "9", "productId": "1", "quantity": 1}),
            "validation_failed",
            "User not found",
            "no such user",
        ),
        (
            json!({"userId": "1", "productId": "9", "quantity": 1}),
            "validation_failed",
            "Product not found",
            "no such product",
        ),
        (
            json!({"userId": "../products/1", "productId": "1", "quantity": 1}),
            "validation_failed",
            "User not found",
            "a path",
        ),
        (
            json!({"userId": "1", "productId": "1?x=", "quantity": 1}),
            "validation_failed",
            "Product not found",
            "a query",
        ),
    ] {
        let refused = orders
            .post("/api/orders", body)
            .await
            .expect_error(400, code);
        assert!(refused.contains(sentence), "{reason}: {refused}");
    }
    let both = orders
        .post(
            "/api/orders",
            json!({"userId": "9", "productId": "9", "quantity": 1}),
        )
        .await;
    assert_eq!(
        both.json()["details"].as_array().map(Vec::len),
        Some(2),
        "the error names both"
    );
    let sentence = orders
        .post("/api/orders", order(11))
        .await
        .expect_error(409, "insufficient_stock");
    assert_eq!(sentence, "Only 10 left");
    assert_eq!(
        (
            upstreams.stock(),
            orders.get("/api/orders").await.expect(200)
        ),
        (10, json!([]))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_reported_with_the_name_of_the_service() {
    for (name, required) in [
        ("user-service", true),
        ("product-service", true),
        ("notification-service", false),
    ] {
        let outages = [
            (
                Stub::answering("500 Internal Server Error", "{}").await,
                "broken",
            ),
            (
                Stub::answering("404 Not Found", "<h1>Not Found</h1>").await,
                "not a service of the shop",
            ),
            (Stub::answering("200 OK", r#"{"id":"#).await, "garbage"),
            (
                Stub::sending(|_| "no HTTP at all".to_owned()).await,
                "not HTTP",
            ),
            (
                Stub::sending(|_| "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned())
                    .await,
                "closed in the middle of the body",
            ),
            (Stub::hanging().await, "hung"),
            (Stub::refusing().await, "not there"),
        ];
        join_all(outages.into_iter().map(async |(outage, reason)| {
            let mut upstreams = Upstreams::up(10).await;
            match name {
                "user-service" => upstreams.users = outage,
                "product-service" => upstreams.products = outage,
                _ => upstreams.notifications = outage,
            }
            let orders = upstreams.orders().await;
            let placed = orders.post("/api/orders", order(1)).await;
            let kept = orders.get("/api/orders").await.expect(200);
            if required {
                assert_eq!(placed.header("retry-after"), "1", "{name} {reason}");
                let sentence = placed.expect_error(503, "dependency_unavailable");
                assert!(sentence.starts_with(name), "{name} {reason}: {sentence}");
                assert_eq!(
                    (upstreams.stock(), kept),
                    (10, json!([])),
                    "{name} {reason}"
                );
            } else {
                // Whether the notification was sent does not depend on the body, so a
                // success with garbage in it counts as sent.
                let expected = if reason == "garbage" {
                    "sent"
                } else {
                    "failed"
                };
                assert_eq!(
                    placed.expect(201)["notification"],
                    expected,
                    "{name} {reason}"
                );
                assert_eq!(upstreams.stock(), 9, "{name} {reason}");
            }
        }))
        .await;
    }
}

/// The ways in which product-service can leave the outcome of a stock change unknown.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// It makes the change and closes the connection.
    Answer,
    /// It makes the change and answers garbage.
    Sense,
    /// It makes the change long after the order has failed.
    Time,
    /// It answers 500 and makes no change.
    Change,
}

/// A product-service that makes each keyed change once. It fails with `loss` at the first
/// `times` requests that add stock (or take stock, if `taking`).
async fn forgetful(stock: Arc<AtomicI64>, loss: Loss, taking: bool, times: u32) -> Stub {
    let (known, left) = (Mutex::new(HashSet::new()), AtomicU32::new(times));
    Stub::sending(move |request| {
        const PRODUCT: &str = r#"{"id":"1","price":19.99}"#;
        let answer = |status, body: &str| {
            let length = body.len();
            format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
        };
        if request.starts_with("GET") {
            return answer("200 OK", PRODUCT);
        }
        let header = |name| {
            let line = request.lines().find_map(|line| line.strip_prefix(name));
            line.expect("order-service sends it").to_owned()
        };
        let key = header("idempotency-key: ");
        let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
        let change: Value = serde_json::from_str(body).expect("order-service sends JSON");
        let delta = change["delta"].as_i64().expect("a delta");
        let count_down = |left: u32| left.checked_sub(1);
        let misbehaves = (delta < 0) == taking
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, count_down)
                .is_ok();
        if misbehaves && matches!(loss, Loss::Change) {
            return answer("500 Internal Server Error", "{}");
        }
        if misbehaves && matches!(loss, Loss::Time) {
            tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(1200)));
        }
        if known.lock().expect("no panic").insert(key) {
            stock.fetch_add(delta, Ordering::SeqCst);
        }
        match loss {
            Loss::Answer if misbehaves => String::new(),
            Loss::Sense if misbehaves => answer("200 OK", "what?"),
            _ => answer("200 OK", PRODUCT),
        }
    })
    .await
}

const LOSSES: [Loss; 4] = [Loss::Answer, Loss::Sense, Loss::Time, Loss::Change];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stock_is_taken_for_confirmed_orders_only() {
    // More often than there are retries, once, or at each retry but the last.
    let cases = LOSSES
        .iter()
        .flat_map(|loss| [1, 2, 6].map(|times| (*loss, times)));
    join_all(cases.map(async |(loss, times)| {
        let stock = Arc::new(AtomicI64::new(10));
        let mut upstreams = Upstreams::up(10).await;
        upstreams.products = forgetful(Arc::clone(&stock), loss, true, times).await;
        let orders = upstreams.orders().await;
        let placed = orders.post("/api/orders", order(3)).await;
        let stands = placed.status == 201;
        if !stands {
            placed.expect_error(503, "dependency_unavailable");
        }
        let expected = if stands { 7 } else { 10 };
        for _ in 0..200 {
            if stock.load(Ordering::SeqCst) == expected {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // A shutdown waits for stock changes in progress.
        orders.stop().await;
        assert_eq!(
            stock.load(Ordering::SeqCst),
            expected,
            "{loss:?} {times} times"
        );
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_stock_of_a_cancelled_order_is_returned_once() {
    let cases = LOSSES
        .iter()
        .flat_map(|loss| [1, 6].map(|times| (*loss, times)));
    join_all(cases.map(async |(loss, times)| {
        let stock = Arc::new(AtomicI64::new(10));
        let mut upstreams = Upstreams::up(10).await;
        upstreams.products = forgetful(Arc::clone(&stock), loss, false, times).await;
        let orders = upstreams.orders().await;
        orders.post("/api/orders", order(3)).await.expect(201);
        let mut cancelled = orders.post("/api/orders/1/cancel", json!({})).await;
        for _ in 0..200 {
            let status = orders.get("/api/orders/1").await.expect(200)["status"].clone();
            if status == "cancelled" {
                break;
            }
            assert!(
                matches!(cancelled.status, 202 | 409 | 503),
                "{loss:?} {times} times"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
            cancelled = orders.post("/api/orders/1/cancel", json!({})).await;
        }
        let last = orders.get("/api/orders/1").await.expect(200);
        assert_eq!(last["status"], "cancelled", "{loss:?} {times} times");
        orders.stop().await;
        assert_eq!(stock.load(Ordering::SeqCst), 10, "{loss:?} {times} times");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_with_a_key_is_placed_once() {
    let upstreams = Upstreams::up(10).await;
    let orders = upstreams.orders().await;
    let place = async |key: &str, body: Value| {
        let request = orders.request(Method::POST, "/api/orders").json(&body);
        Got::from(request.header("Idempotency-Key", key)).await
    };

    let together = join_all((0..8).map(|_| place("a", order(2)))).await;
    let replayed = |got: &Got| got.header("idempotency-replayed").to_owned();
    let first = together.iter().filter(|got| replayed(got).is_empty());
    assert_eq!(first.count(), 1, "one is the first");
    for got in together {
        let replayed = replayed(&got);
        assert!(matches!(replayed.as_str(), "" | "true"), "{replayed}");
        assert_eq!(got.header("location"), "/api/orders/1");
        assert_eq!(got.expect(201)["id"], "1");
    }
    assert_eq!(upstreams.stock(), 8);

    // The first answer again, even if the order has changed since.
    orders
        .post("/api/orders/1/cancel", json!({}))
        .await
        .expect(200);
    assert_eq!(
        place("a", order(2)).await.expect(201)["status"],
        "confirmed"
    );
    place("a", order(3)).await.expect_error(409, "conflict");
    place("b", order(2)).await.expect(201);

    // A refusal is an answer too.
    let short = place("c", order(99)).await;
    assert_eq!(replayed(&short), "");
    short.expect_error(409, "insufficient_stock");
    let again = place("c", order(99)).await;
    assert_eq!(replayed(&again), "true");
    again.expect_error(409, "insufficient_stock");

    for (key, reason) in [("", "empty"), ("two words", "a space"), ("ä", "not ASCII")] {
        let sentence = place(key, order(1))
            .await
            .expect_error(400, "validation_failed");
        assert!(sentence.contains("Idempotency-Key"), "{reason}: {sentence}");
    }
    assert_eq!(orders.get("/api/orders").await.header("x-total-count"), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_the_same_key_can_be_used_again() {
    let mut upstreams = Upstreams::up(10).await;
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    upstreams.users = Stub::replying(move |_| {
        if is_down.load(Ordering::SeqCst) {
            return ("500 Internal Server Error", "{}".to_owned());
        }
        ("200 OK", r#"{"id":"1"}"#.to_owned())
    })
    .await;
    let orders = upstreams.orders().await;
    let place = async || {
        let request = orders.request(Method::POST, "/api/orders").json(&order(2));
        Got::from(request.header("Idempotency-Key", "a")).await
    };
    place().await.expect_error(503, "dependency_unavailable");
    down.store(false, Ordering::SeqCst);
    let placed = place().await;
    assert_eq!(placed.header("idempotency-replayed"), "");
    placed.expect(201);
    assert_eq!(place().await.header("idempotency-replayed"), "true");
    assert_eq!(upstreams.stock(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_ends_by_its_deadline_if_an_upstream_hangs() {
    for hanging in ["user-service", "product-service", "notification-service"] {
        let mut upstreams = Upstreams::up(100).await;
        match hanging {
            "user-service" => upstreams.users = Stub::hanging().await,
            "product-service" => upstreams.products = Stub::hanging().await,
            _ => upstreams.notifications = Stub::hanging().await,
        }
        let quick = [
            ("CALL_TIMEOUT_MS", "100"),
            ("NOTIFY_TIMEOUT_MS", "50"),
            ("DEADLINE_MS", "500"),
        ];
        let orders = upstreams.orders_with(&quick).await;
        // The first requests wait for it, until its circuit opens.
        for _ in 0..6 {
            let began = Instant::now();
            let placed = orders.post("/api/orders", order(1)).await;
            assert!(began.elapsed() < PROMPT, "{hanging}");
            if hanging == "notification-service" {
                assert_eq!(placed.expect(201)["notification"], "failed");
            } else {
                placed.expect_error(503, "dependency_unavailable");
            }
        }
        let ready = orders.get("/health/ready").await.json();
        let circuits: Vec<_> = ready["dependencies"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| (one["name"] == hanging, one["circuit"].clone()))
            .collect();
        for (is_hanging, circuit) in circuits {
            assert_eq!(
                circuit,
                if is_hanging { "open" } else { "closed" },
                "{hanging}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_cancelled_once_and_its_stock_returned_once() {
    let upstreams = Upstreams::up(10).await;
    let orders = upstreams.orders().await;
    orders.post("/api/orders", order(2)).await.expect(201);
    orders.post("/api/orders", order(3)).await.expect(201);
    let stats = orders.get("/api/orders/stats").await.expect(200);
    assert_eq!(
        (&stats["total"], &stats["confirmed"], &stats["revenue"]),
        (&json!(2), &json!(2), &json!(99.95))
    );

    let tries = join_all((0..8).map(|_| orders.post("/api/orders/2/cancel", json!({})))).await;
    let mut statuses: Vec<_> = tries.iter().map(|got| got.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(upstreams.stock(), 8);
    assert_eq!(
        orders.get("/api/orders/2").await.expect(200)["status"],
        "cancelled"
    );
    orders
        .post("/api/orders/2/cancel", json!({}))
        .await
        .expect_error(409, "conflict");
    orders
        .post("/api/orders/3/cancel", json!({}))
        .await
        .expect_error(404, "not_found");

    let stats = orders.get("/api/orders/stats").await.expect(200);
    let counts = (
        &stats["total"],
        &stats["confirmed"],
        &stats["cancelled"],
        &stats["revenue"],
    );
    assert_eq!(counts, (&json!(2), &json!(1), &json!(1), &json!(39.98)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_not_cancelled_while_product_service_is_down() {
    let mut upstreams = Upstreams::up(10).await;
    let orders = upstreams.orders().await;
    orders.post("/api/orders", order(2)).await.expect(201);
    upstreams.products = Stub::refusing().await;
    for _ in 0..2 {
        let refused = orders.post("/api/orders/1/cancel", json!({})).await;
        refused.expect_error(503, "dependency_unavailable");
        let order = orders.get("/api/orders/1").await.expect(200);
        assert_eq!(order["status"], "confirmed");
    }
}

/// A product-service whose stock has a limit, and which makes each keyed change once. As in the
/// contract, a 400 is not kept with the key.
async fn limited(stock: Arc<AtomicI64>, most: i64) -> Stub {
    let made = Mutex::new(HashSet::new());
    Stub::replying(move |request| {
        const PRODUCT: &str = r#"{"id":"1","price":19.99}"#;
        if request.starts_with("GET") {
            return ("200 OK", PRODUCT.to_owned());
        }
        let header = |name| request.lines().find_map(|line| line.strip_prefix(name));
        let key = header("idempotency-key: ").expect("order-service sends it");
        let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
        let change: Value = serde_json::from_str(body).expect("order-service sends JSON");
        let left = stock.load(Ordering::SeqCst) + change["delta"].as_i64().expect("a delta");
        let mut made = made.lock().expect("no panic");
        if left > most && !made.contains(key) {
            let error =
                json!({"error": "too much", "code": "validation_failed", "requestId": "stub"});
            return ("400 Bad Request", error.to_string());
        }
        if made.insert(key.to_owned()) {
            stock.store(left, Ordering::SeqCst);
        }
        ("200 OK", PRODUCT.to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_stock_was_refused_can_be_cancelled_once_it_fits() {
    let stock = Arc::new(AtomicI64::new(10));
    let mut upstreams = Upstreams::up(10).await;
    upstreams.products = limited(Arc::clone(&stock), 100).await;
    let orders = upstreams.orders().await;
    orders.post("/api/orders", order(3)).await.expect(201);
    stock.store(100, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = orders.post("/api/orders/1/cancel", json!({})).await;
        let sentence = refused.expect_error(409, "conflict");
        assert!(sentence.contains("too much"), "{sentence}");
        let order = orders.get("/api/orders/1").await.expect(200);
        assert_eq!(order["status"], "confirmed");
    }
    stock.store(0, Ordering::SeqCst);
    let cancelled = orders.post("/api/orders/1/cancel", json!({})).await;
    assert_eq!(cancelled.expect(200)["status"], "cancelled");
    assert_eq!(stock.load(Ordering::SeqCst), 3, "returned once");
    let again = orders.post("/api/orders/1/cancel", json!({})).await;
    again.expect_error(409, "conflict");
    assert_eq!(stock.load(Ordering::SeqCst), 3, "returned once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_that_nobody_asked_for_makes_no_order() {
    for (product, reason) in [
        (
            r#"{"id":"1","price":79228162514264337593543950335}"#,
            "no total holds it",
        ),
        (
            r#"{"id":"1","price":1000000000.01}"#,
            "more than anything costs",
        ),
        (r#"{"id":"1","price":-1}"#, "less than nothing"),
        (r#"{"id":"2","price":1}"#, "another product"),
    ] {
        // The first time when it is looked up, the second time with its stock.
        for looked_up in [true, false] {
            let stock = Arc::new(AtomicI64::new(10));
            let (changed, asked) = (Arc::clone(&stock), AtomicU32::new(0));
            let mut upstreams = Upstreams::up(10).await;
            upstreams.products = Stub::replying(move |request| {
                const GOOD: &str = r#"{"id":"1","price":1}"#;
                if request.starts_with("GET") {
                    return ("200 OK", if looked_up { product } else { GOOD }.to_owned());
                }
                if !request.contains(r#""delta":-3"#) {
                    changed.fetch_add(3, Ordering::SeqCst);
                    return ("200 OK", GOOD.to_owned());
                }
                // The stock is taken, and the first answer is bad. Asked again, it is good.
                changed.store(7, Ordering::SeqCst);
                let is_first = asked.fetch_add(1, Ordering::SeqCst) == 0;
                ("200 OK", if is_first { product } else { GOOD }.to_owned())
            })
            .await;
            let orders = upstreams.orders().await;
            let refused = orders.post("/api/orders", order(3)).await;
            let sentence = refused.expect_error(503, "dependency_unavailable");
            assert!(sentence.contains("product-service"), "{reason}: {sentence}");
            let stats = orders.get("/api/orders/stats").await.expect(200);
            assert_eq!(stats["total"], 0, "{reason}");
            if looked_up {
                assert_eq!(stock.load(Ordering::SeqCst), 10, "{reason}: none was taken");
            }
            // A shutdown waits for stock changes in progress.
            orders.stop().await;
            assert_eq!(stock.load(Ordering::SeqCst), 10, "{reason}: given back");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_answer_about_the_change_settles_a_doubt() {
    for (status, code) in [
        ("401 Unauthorized", "unauthenticated"),
        ("408 Request Timeout", "request_timeout"),
        ("409 Conflict", "conflict"),
        ("429 Too Many Requests", "rate_limited"),
        ("200 OK", "it works"),
    ] {
        let stock = Arc::new(AtomicI64::new(10));
        let (changed, asked) = (Arc::clone(&stock), AtomicU32::new(0));
        let mut upstreams = Upstreams::up(10).await;
        upstreams.products = Stub::sending(move |request| {
            let answer = |status: &str, body: &str| {
                let length = body.len();
                format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
            };
            if request.starts_with("GET") {
                return answer("200 OK", r#"{"id":"1","price":1}"#);
            }
            match asked.fetch_add(1, Ordering::SeqCst) {
                // The stock is taken, and the answer is lost.
                0 => {
                    changed.store(7, Ordering::SeqCst);
                    String::new()
                }
                // Then something in between answers, for a while.
                1..6 => answer(status, &json!({"error": "No", "code": code, "requestId": "x"}).to_string()),
                // The first answer again, and then the stock is given back.
                _ if request.contains(r#""delta":-3"#) => answer("200 OK", r#"{"id":"1","price":1}"#),
                _ => {
                    changed.fetch_add(3, Ordering::SeqCst);
                    answer("200 OK", r#"{"id":"1","price":1}"#)
                }
            }
        })
        .await;
        let orders = upstreams.orders().await;
        let refused = orders.post("/api/orders", order(3)).await;
        refused.expect_error(503, "dependency_unavailable");
        // A shutdown waits for stock changes in progress.
        orders.stop().await;
        assert_eq!(stock.load(Ordering::SeqCst), 10, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_fail_together_do_not_repeat_their_calls_together() {
    // The call of an order and three repetitions, with pauses of 0.1 and 0.2 s between these.
    const CALLS: usize = 4;
    let calls: Arc<Mutex<HashMap<String, Vec<Instant>>>> = Arc::default();
    let seen = Arc::clone(&calls);
    let mut upstreams = Upstreams::up(0).await;
    upstreams.products = Stub::replying(move |request| {
        let product = ("200 OK", r#"{"id":"1","price":1}"#.to_owned());
        if !request.contains(r#""delta":-1"#) {
            return product;
        }
        let mut lines = request.lines();
        let key = lines.find_map(|line| line.strip_prefix("idempotency-key: "));
        let key = key.expect("order-service sends it").to_owned();
        let mut seen = seen.lock().expect("no panic");
        let calls = seen.entry(key).or_default();
        calls.push(Instant::now());
        if calls.len() < CALLS {
            ("500 Internal Server Error", "{}".to_owned())
        } else {
            product
        }
    })
    .await;
    // Without retries by the order itself, and without a circuit that holds calls back.
    let orders = upstreams.orders_with(&[("RESILIENCE", "off")]).await;
    let placed = (0..20).map(|_| orders.post("/api/orders", order(1)));
    for refused in join_all(placed).await {
        refused.expect_error(503, "dependency_unavailable");
    }
    // A shutdown waits for stock changes in progress.
    orders.stop().await;
    let calls = calls.lock().expect("no panic");
    let took = calls.values().map(|calls| {
        assert_eq!(calls.len(), CALLS);
        calls[CALLS - 1] - calls[0]
    });
    let mut took: Vec<_> = took.collect();
    took.sort();
    assert_eq!(took.len(), 20);
    assert!(took[19] > took[0] + Duration::from_millis(50), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_that_takes_long_is_accepted_and_goes_on() {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let mut upstreams = Upstreams::up(10).await;
    let stock = Arc::clone(&upstreams.stock);
    upstreams.products = Stub::replying(move |request| {
        let product = r#"{"id":"1","price":19.99}"#.to_owned();
        if is_down.load(Ordering::SeqCst) {
            return ("500 Internal Server Error", "{}".to_owned());
        }
        if request.contains(r#""delta":-3"#) {
            stock.fetch_sub(3, Ordering::SeqCst);
        } else if request.contains(r#""delta":3"#) {
            stock.fetch_add(3, Ordering::SeqCst);
        }
        ("200 OK", product)
    })
    .await;
    let orders = upstreams
        .orders_with(&[("CIRCUIT_OPEN_MS", "200"), ("DEADLINE_MS", "900")])
        .await;
    let placed = orders.post("/api/orders", order(3)).await.expect(201);
    down.store(true, Ordering::SeqCst);
    // Asked again, the answer is the same: it goes on.
    for _ in 0..2 {
        let accepted = orders.post("/api/orders/1/cancel", json!({})).await;
        assert_eq!(accepted.header("location"), "/api/orders/1");
        assert_eq!(accepted.expect(202), placed, "the order as it is");
    }
    // Who asks while it goes on gets its outcome.
    let waiting = orders.post("/api/orders/1/cancel", json!({}));
    let (waiting, ()) = tokio::join!(waiting, async { down.store(false, Ordering::SeqCst) });
    if waiting.status != 202 {
        waiting.expect_error(409, "conflict");
    }
    for _ in 0..200 {
        if orders.get("/api/orders/1").await.expect(200)["status"] == "cancelled" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let cancelled = orders.get("/api/orders/1").await.expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(upstreams.stock(), 10, "returned once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_placed_even_if_its_client_hangs_up() {
    let mut upstreams = Upstreams::up(10).await;
    // Slow, so that the client has hung up before the order is saved.
    upstreams.users = Stub::replying(|_| {
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(200)));
        ("200 OK", r#"{"id":"1"}"#.to_owned())
    })
    .await;
    let orders = upstreams.orders().await;
    let hung_up = orders
        .request(Method::POST, "/api/orders")
        .json(&order(1))
        .timeout(Duration::from_millis(50))
        .send()
        .await;
    assert!(hung_up.is_err());
    for _ in 0..100 {
        if upstreams.stock() == 9 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        (
            upstreams.stock(),
            orders.get("/api/orders/stats").await.expect(200)["total"].clone()
        ),
        (9, json!(1))
    );
}

/// What a stub answers to `GET /health`.
const HEALTH: &str = r#"{"status":"healthy","service":"stub-service"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_readiness_checks_share_one_call_to_each_upstream() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let mut upstreams = Upstreams::up(10).await;
    upstreams.users = Stub::replying(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(50)));
        ("200 OK", HEALTH.to_owned())
    })
    .await;
    let orders = upstreams.orders().await;
    let together = join_all((0..100).map(|_| orders.get("/health/ready"))).await;
    let asked = asked.load(Ordering::SeqCst);
    // One for the first, one for the others, and more only for those that arrive late, as on a
    // busy machine.
    assert!(asked <= 50, "{asked} calls for {} requests", together.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_depends_on_required_upstreams() {
    for (down, status, code) in [
        (None, "ready", 200),
        (Some("notification-service"), "degraded", 200),
        (Some("user-service"), "unavailable", 503),
    ] {
        let mut upstreams = Upstreams {
            users: Stub::answering("200 OK", HEALTH).await,
            products: Stub::answering("200 OK", HEALTH).await,
            ..Upstreams::up(0).await
        };
        upstreams.notifications = Stub::answering("200 OK", HEALTH).await;
        match down {
            Some("user-service") => upstreams.users = Stub::refusing().await,
            Some(_) => upstreams.notifications = Stub::hanging().await,
            None => {}
        }
        let ready = upstreams
            .orders()
            .await
            .get("/health/ready")
            .await
            .expect(code);
        assert_eq!(ready["status"], status, "{ready}");
        let states: Vec<_> = ready["dependencies"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|d| (d["name"].as_str(), d["status"] == "down"))
            .collect();
        let expected = ["user-service", "product-service", "notification-service"]
            .map(|name| (Some(name), Some(name) == down));
        assert_eq!(states, expected, "{ready}");
    }
}
