//! Upstreams with useless answers.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chassis::testkit::{Server, Stub};
use harness::raw;
use reqwest::Method;
use serde_json::json;
use shop_tests::fake::Fake;
use shop_tests::faults::Faults;
use shop_tests::shop::{self, Shop, add_product, add_user, stock};

use super::{PROMPT, count, order};

/// Upstreams with useless answers. `tests/faults` has those that die, hang or break off.
pub(super) async fn useless() -> Vec<(&'static str, Stub)> {
    let error = r#"{"error":"x","code":"internal","requestId":"1"}"#;
    vec![
        (
            "answers 503",
            Stub::answering("503 Service Unavailable", error).await,
        ),
        (
            "answers 404 in other words",
            Stub::answering("404 Not Found", "<h1>404</h1>").await,
        ),
        (
            "answers 200 and no JSON",
            Stub::answering("200 OK", "<h1>It works!</h1>").await,
        ),
        (
            "answers 200 and other JSON",
            Stub::answering("200 OK", "[]").await,
        ),
        (
            "answers with a redirect",
            Stub::answering("302 Found\r\nlocation: http://127.0.0.1:1/", "").await,
        ),
    ]
}

#[tokio::test]
async fn an_order_stands_even_if_its_notification_fails() {
    let users = shop::users().await;
    let products = shop::products(&users.upstream_url()).await;
    add_user(&users, "ada").await;
    add_product(&products, json!(1), 100).await;
    let mut left = 100;
    for (how, stub) in useless().await {
        let orders =
            shop::orders(&users.upstream_url(), &products.upstream_url(), &stub.url()).await;
        let started = Instant::now();
        let got = orders.post("/api/orders", order("1", "1", 2)).await;
        assert!(
            started.elapsed() < PROMPT,
            "a notification-service that {how} took {:?}",
            started.elapsed()
        );
        let placed = got.expect(201);
        left -= 2;
        // An answer of 2xx is success, whatever is in it.
        let sent = how.starts_with("answers 200");
        assert_eq!(
            placed["notification"],
            if sent { "sent" } else { "failed" },
            "a notification-service that {how}"
        );
        assert_eq!(placed["status"], "confirmed");
        assert_eq!(orders.get("/api/orders/1").await.expect(200), placed);
        assert_eq!(stock(&products, "1").await, left);
    }
}

#[tokio::test]
async fn an_order_without_its_user_service_or_product_service_changes_nothing() {
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(1), 10).await;
    let (users, products, notifications) = (
        shop.users.upstream_url(),
        shop.products.upstream_url(),
        shop.notifications.upstream_url(),
    );
    let mut faults = Faults::default();
    for (how, stub) in useless().await {
        for (name, users, products) in [
            ("user-service", &stub.url(), &products),
            ("product-service", &users, &stub.url()),
        ] {
            let what = format!("a {name} that {how}");
            let orders = shop::orders(users, products, &notifications).await;
            let started = Instant::now();
            let got = orders.post("/api/orders", order("1", "1", 1)).await;
            faults.ensure(&what, started.elapsed() < PROMPT, || {
                format!("took {:?}", started.elapsed())
            });
            faults.expect(&what, got.status, 503);
            if got.status == 503 {
                faults.ensure(
                    &what,
                    got.header("retry-after")
                        .parse::<u32>()
                        .is_ok_and(|seconds| seconds > 0),
                    || format!("Retry-After is {:?}", got.header("retry-after")),
                );
                let sentence = got.expect_error(503, "dependency_unavailable");
                faults.ensure(&what, sentence.contains(name), || sentence.clone());
            }
            faults.expect(&what, count(&orders, "/api/orders").await, "0".to_owned());
        }
    }
    faults.expect("stock", stock(&shop.products, "1").await, 10);
    faults.expect(
        "notifications",
        count(&shop.notifications, "/api/notifications").await,
        "0".to_owned(),
    );
    faults.finish();
}

/// A proxy in front of product-service. `answer` handles the requests for stock.
async fn before<F>(
    products: &Server,
    answer: impl Fn(raw::Request, std::net::SocketAddr) -> F + Clone + Send + Sync + 'static,
) -> Fake
where
    F: Future<Output = Vec<u8>> + Send + 'static,
{
    let real = products.address();
    Fake::start(move |request| {
        let answer = answer.clone();
        async move {
            if request.target.ends_with("/stock") {
                answer(request, real).await
            } else {
                request.pass_on(real).await
            }
        }
    })
    .await
}

/// Waits until the stock is as it should be, and stays so.
async fn settles_at(products: &Server, expected: u64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while stock(products, "1").await != expected && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(stock(products, "1").await, expected);
}

#[tokio::test]
async fn stock_that_was_taken_without_an_order_is_returned() {
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(1), 10).await;
    let (users, notifications) = (shop.users.upstream_url(), shop.notifications.upstream_url());

    // The stock is taken at once, but the answer comes too late for the order.
    let late_answer = before(&shop.products, |request, real| async move {
        let answer = request.pass_on(real).await;
        if request_takes(&request) {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        answer
    })
    .await;
    // The stock is taken too late for the order.
    let late_stock = before(&shop.products, |request, real| async move {
        if request_takes(&request) {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        request.pass_on(real).await
    })
    .await;
    // The stock is taken, and the first answer makes no sense.
    let is_garbled = Arc::new(AtomicBool::new(true));
    let garbled = before(&shop.products, move |request, real| {
        let garbles = request_takes(&request) && is_garbled.swap(false, Ordering::SeqCst);
        async move {
            let answer = request.pass_on(real).await;
            if garbles {
                return raw::json("200 OK", "", "{}");
            }
            answer
        }
    })
    .await;
    for (how, products) in [
        ("answers late", &late_answer),
        ("takes stock late", &late_stock),
        ("answers nonsense", &garbled),
    ] {
        let orders = shop::orders(&users, &products.url(), &notifications).await;
        let started = Instant::now();
        let got = orders.post("/api/orders", order("1", "1", 3)).await;
        assert!(
            started.elapsed() < PROMPT,
            "a product-service that {how} took {:?}",
            started.elapsed()
        );
        let sentence = got.expect_error(503, "dependency_unavailable");
        assert!(sentence.contains("product-service"), "{how}: {sentence}");
        assert_eq!(count(&orders, "/api/orders").await, "0");
        // A shutdown waits for stock changes in progress.
        orders.stop().await;
        assert_eq!(stock(&shop.products, "1").await, 10, "{how}");
        let seen = products.seen();
        let takes = seen.iter().filter(|seen| request_takes(seen));
        let keys: HashSet<_> = takes.map(|seen| seen.header("idempotency-key")).collect();
        assert_eq!(keys.len(), 1, "a product-service that {how}: one change");
    }
}

/// Whether this request takes stock rather than returning it.
fn request_takes(request: &raw::Request) -> bool {
    request.target.ends_with("/stock") && request.body().contains('-')
}

#[tokio::test]
async fn an_order_whose_client_hangs_up_is_placed_completely_or_not_at_all() {
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(1), 10).await;
    let slow = before(&shop.products, |request, real| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        request.pass_on(real).await
    })
    .await;
    let orders = shop::orders(
        &shop.users.upstream_url(),
        &slow.url(),
        &shop.notifications.upstream_url(),
    )
    .await;
    let short = orders
        .request(Method::POST, "/api/orders")
        .json(&order("1", "1", 3))
        .timeout(Duration::from_millis(150));
    assert!(short.send().await.is_err(), "the client has hung up");
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut placed = json!([]);
    while placed == json!([]) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
        placed = orders.get("/api/orders").await.expect(200);
    }
    let sold = placed
        .as_array()
        .expect("a list")
        .iter()
        .map(|order| order["quantity"].as_u64().expect("a number"))
        .sum::<u64>();
    assert_eq!(stock(&shop.products, "1").await + sold, 10, "{placed}");
}

#[tokio::test]
async fn a_cancellation_with_unknown_outcome_is_settled_once() {
    for (is_made, reason) in [(false, "the request is lost"), (true, "the answer is lost")] {
        let shop = Shop::start().await;
        add_user(&shop.users, "ada").await;
        add_product(&shop.products, json!(1), 10).await;
        let broken = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&broken);
        let products = before(&shop.products, move |request, real| {
            let is_broken = switch.load(Ordering::SeqCst);
            async move {
                if !is_broken {
                    return request.pass_on(real).await;
                }
                if is_made {
                    request.pass_on(real).await;
                }
                raw::json("503 Service Unavailable", "", "{}")
            }
        })
        .await;
        let (users, notifications) = (shop.users.upstream_url(), shop.notifications.upstream_url());
        let upstreams = [&users, &products.url(), &notifications];
        // So that nobody waits long for the circuit.
        let orders = shop::orders_that(upstreams, &[("CIRCUIT_OPEN_MS", "100")]).await;
        let placed = orders.post("/api/orders", order("1", "1", 4)).await;
        placed.expect(201);

        broken.store(true, Ordering::SeqCst);
        let accepted = orders.post("/api/orders/1/cancel", json!({})).await;
        assert_eq!(accepted.header("location"), "/api/orders/1", "{reason}");
        let unknown = accepted.expect(202);
        assert_eq!(unknown["status"], "confirmed", "{reason}: nobody knows yet");
        let left = stock(&shop.products, "1").await;
        assert_eq!(left, if is_made { 10 } else { 6 }, "{reason}");

        // order-service settles the change by itself; no client has to ask again.
        broken.store(false, Ordering::SeqCst);
        let status = async || orders.get("/api/orders/1").await.expect(200)["status"].take();
        let deadline = Instant::now() + Duration::from_secs(10);
        while status().await != "cancelled" && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(status().await, "cancelled", "{reason}");
        settles_at(&shop.products, 10).await;
        let again = orders.post("/api/orders/1/cancel", json!({})).await;
        again.expect_error(409, "conflict");
    }
}

#[tokio::test]
async fn an_order_whose_stock_was_refused_can_be_cancelled_once_it_fits() {
    const MOST: u64 = 1_000_000_000;
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(1), 10).await;
    let placed = shop.orders.post("/api/orders", order("1", "1", 4)).await;
    placed.expect(201);
    let set = async |stock: u64| {
        let stock = json!({"stock": stock});
        let set = shop.products.send("PUT", "/api/products/1", stock).await;
        set.expect(200);
    };
    let cancel = async || shop.orders.post("/api/orders/1/cancel", json!({})).await;

    set(MOST).await;
    for _ in 0..2 {
        let sentence = cancel().await.expect_error(409, "conflict");
        assert!(sentence.contains("1000000000"), "{sentence}");
    }
    let stands = shop.orders.get("/api/orders/1").await.expect(200);
    assert_eq!(stands["status"], "confirmed");
    assert_eq!(stock(&shop.products, "1").await, MOST);

    set(0).await;
    assert_eq!(cancel().await.expect(200)["status"], "cancelled");
    assert_eq!(stock(&shop.products, "1").await, 4);
    cancel().await.expect_error(409, "conflict");
    assert_eq!(stock(&shop.products, "1").await, 4, "once");
}

#[tokio::test]
async fn a_service_at_the_address_of_another_is_not_believed() {
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(1), 10).await;
    let (users, products, notifications) = (
        shop.users.upstream_url(),
        shop.products.upstream_url(),
        shop.notifications.upstream_url(),
    );
    let ready = async |server: &Server, name: &str| {
        let ready = server.get("/health/ready").await.json();
        let dependencies = ready["dependencies"].as_array().expect("a list");
        let found = dependencies.iter().find(|one| one["name"] == name);
        (
            ready["status"].clone(),
            found.expect("it is one")["status"].clone(),
        )
    };
    for (name, wrong) in [
        ("user-service", [&products, &products, &notifications]),
        ("product-service", [&users, &users, &notifications]),
        ("product-service", [&users, &notifications, &notifications]),
    ] {
        let [at_users, at_products, at_notifications] = wrong;
        let orders = shop::orders(at_users, at_products, at_notifications).await;
        let got = orders.post("/api/orders", order("1", "1", 1)).await;
        let sentence = got.expect_error(503, "dependency_unavailable");
        assert!(sentence.contains(name), "{sentence}");
        let told = ready(&orders, name).await;
        assert_eq!(told, (json!("unavailable"), json!("down")), "{name}");
        assert_eq!(count(&orders, "/api/orders").await, "0");
    }
    let orders = shop::orders(&users, &products, &users).await;
    let placed = orders.post("/api/orders", order("1", "1", 1)).await;
    assert_eq!(placed.expect(201)["notification"], "failed");
    let told = ready(&orders, "notification-service").await;
    assert_eq!(told, (json!("degraded"), json!("down")));

    let products_alone = shop::products(&products).await;
    let cup = json!({"name": "Cup", "price": 1, "sellerId": "1"});
    let got = products_alone.post("/api/products", cup).await;
    got.expect_error(503, "dependency_unavailable");
    let told = ready(&products_alone, "user-service").await;
    assert_eq!(told, (json!("degraded"), json!("down")));

    let analytics = shop::analytics(&products, &users, &notifications, &users).await;
    let summary = analytics.get("/api/analytics/summary").await.expect(200);
    let states = analytics.get("/api/analytics/services").await.expect(200);
    for services in [&summary["services"], &states] {
        for service in services.as_array().expect("a list") {
            assert_eq!(service["status"], "down", "{service}");
        }
    }
}

#[tokio::test]
async fn a_seller_is_looked_up_and_an_outage_is_not_an_unknown_seller() {
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    let kettle = |seller: &str| json!({"name": "Kettle", "price": 1, "sellerId": seller});
    shop.products
        .post("/api/products", kettle("1"))
        .await
        .expect(201);
    shop.products
        .post("/api/products", kettle("9"))
        .await
        .expect_error(400, "validation_failed");
    shop.products
        .send(
            "PUT",
            "/api/products/1",
            json!({"price": 2, "sellerId": "9"}),
        )
        .await
        .expect_error(400, "validation_failed");
    let unchanged = shop.products.get("/api/products/1").await.expect(200);
    assert_eq!(unchanged["price"], 1, "all of the change or none");
    for (how, stub) in useless().await {
        let products = shop::products(&stub.url()).await;
        let got = products.post("/api/products", kettle("1")).await;
        assert_eq!(got.status, 503, "a user-service that {how}: {}", got.json());
        assert!(!got.header("retry-after").is_empty());
        let sentence = got.expect_error(503, "dependency_unavailable");
        assert!(sentence.contains("user-service"), "{sentence}");
        assert_eq!(count(&products, "/api/products").await, "0");
        products
            .post("/api/products", json!({"name": "Cup", "price": 1}))
            .await
            .expect(201);
    }
}
