//! The five services together: the golden journey, races, and what happens when
//! one of them gives answers that are of no use.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use chassis::testkit::{Got, Server, Stub};
use chassis::upstream::url::UpstreamUrl;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::PATIENCE;
use shop_tests::fake::{self, Fake};
use shop_tests::faults::Faults;
use shop_tests::shop::{self, Shop, add_product, add_user, stock};

/// Long enough on a busy machine, and far less than a hang.
const PROMPT: Duration = Duration::from_secs(5);

fn order(user: &str, product: &str, quantity: u32) -> Value {
    json!({"userId": user, "productId": product, "quantity": quantity})
}

/// How many there are in a list.
async fn count(server: &Server, list: &str) -> String {
    server
        .get(&format!("{list}?limit=1"))
        .await
        .header("x-total-count")
        .to_owned()
}

/// What a body holds under `name`, digit by digit.
fn digits(got: &Got, name: &str) -> String {
    let body = String::from_utf8(got.body.clone()).expect("UTF-8");
    let start = body
        .find(&format!("\"{name}\":"))
        .unwrap_or_else(|| panic!("no {name} in {body}"));
    let rest = &body[start + name.len() + 3..];
    rest[..rest.find([',', '}']).expect("an end")].to_owned()
}

// The golden journey.

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one journey from start to end")]
async fn the_golden_journey() {
    let shop = Shop::start().await;
    for service in shop.services() {
        let health = service.server.get("/health").await.expect(200);
        assert_eq!(health["service"], service.name);
        assert_eq!(
            service.server.get("/health/ready").await.expect(200)["status"],
            "ready"
        );
    }

    // A user, who sells; a product; an order.
    let ada = shop
        .users
        .post(
            "/api/users",
            json!({"name": "Ada", "email": "ada@example.com"}),
        )
        .await
        .expect(201);
    let body = json!({"name": "Kettle", "price": 19.99, "stock": 10, "sellerId": ada["id"]});
    let kettle = shop.products.post("/api/products", body).await.expect(201);
    assert_eq!(kettle["sellerId"], "1");
    let placed = shop.orders.post("/api/orders", order("1", "1", 3)).await;
    assert_eq!(placed.header("location"), "/api/orders/1");
    assert_eq!(
        (digits(&placed, "unitPrice"), digits(&placed, "totalPrice")),
        ("19.99".to_owned(), "59.97".to_owned())
    );
    let placed = placed.expect(201);
    for (field, expected) in [
        ("id", "1"),
        ("userId", "1"),
        ("productId", "1"),
        ("status", "confirmed"),
        ("notification", "sent"),
    ] {
        assert_eq!(placed[field], expected, "{placed}");
    }
    assert_eq!(placed["quantity"], 3);

    // Each effect where it must show.
    assert_eq!(stock(&shop.products, "1").await, 7);
    let told = shop
        .notifications
        .get("/api/notifications/1")
        .await
        .expect(200);
    assert_eq!(told.as_array().map(Vec::len), Some(1), "{told}");
    for (field, expected) in [
        ("userId", "1"),
        ("message", "Your order #1 has been confirmed"),
        ("type", "order_confirmation"),
    ] {
        assert_eq!(told[0][field], expected, "{told}");
    }
    assert_eq!(told[0]["read"], false);
    assert_eq!(shop.orders.get("/api/orders/1").await.expect(200), placed);
    assert_eq!(
        shop.orders.get("/api/orders/user/1").await.expect(200),
        json!([placed])
    );
    assert_eq!(
        shop.orders.get("/api/orders/user/2").await.expect(200),
        json!([])
    );
    let summary = shop
        .analytics
        .get("/api/analytics/summary")
        .await
        .expect(200);
    for total in [
        "total_users",
        "total_products",
        "total_orders",
        "total_notifications",
    ] {
        assert_eq!(summary[total], 1, "{summary}");
    }
    let names: Vec<_> = summary["services"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            (
                one["name"].as_str(),
                one["status"].as_str(),
                one["as_of"].is_string(),
            )
        })
        .collect();
    let up = |name| (Some(name), Some("up"), true);
    assert_eq!(
        names,
        [
            up("user-service"),
            up("product-service"),
            up("order-service"),
            up("notification-service")
        ]
    );

    // Bad orders change nothing.
    for (body, sentences, reason) in [
        (order("9", "1", 1), &["User not found"][..], "nobody"),
        (order("1", "9", 1), &["Product not found"], "nothing"),
        (
            order("9", "9", 1),
            &["User not found", "Product not found"],
            "neither",
        ),
    ] {
        let got = shop
            .orders
            .post("/api/orders", body)
            .await
            .expect_error(400, "validation_failed");
        for sentence in sentences {
            assert!(got.contains(sentence), "{reason}: {got}");
        }
    }
    for quantity in [json!(0), json!(-1), json!(10_001), json!(1.5)] {
        let body = json!({"userId": "1", "productId": "1", "quantity": quantity});
        shop.orders
            .post("/api/orders", body)
            .await
            .expect_error(400, "validation_failed");
    }
    let sentence = shop
        .orders
        .post("/api/orders", order("1", "1", 8))
        .await
        .expect_error(409, "insufficient_stock");
    assert!(sentence.contains('7'), "how many are left: {sentence}");
    assert_eq!(stock(&shop.products, "1").await, 7);
    assert_eq!(count(&shop.orders, "/api/orders").await, "1");
    assert_eq!(count(&shop.notifications, "/api/notifications").await, "1");

    // Cancelled, the stock is back, and the revenue gone.
    let stats = shop.orders.get("/api/orders/stats").await;
    assert_eq!(digits(&stats, "revenue"), "59.97");
    let cancelled = shop
        .orders
        .post("/api/orders/1/cancel", json!({}))
        .await
        .expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(stock(&shop.products, "1").await, 10);
    shop.orders
        .post("/api/orders/1/cancel", json!({}))
        .await
        .expect_error(409, "conflict");
    assert_eq!(stock(&shop.products, "1").await, 10);
    let stats = shop.orders.get("/api/orders/stats").await.expect(200);
    for (field, expected) in [
        ("total", 1),
        ("confirmed", 0),
        ("cancelled", 1),
        ("revenue", 0),
    ] {
        assert_eq!(stats[field].as_f64(), Some(f64::from(expected)), "{stats}");
    }
}

#[tokio::test]
async fn money_is_exact_all_the_way_to_the_totals() {
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    let dime = add_product(&shop.products, json!(0.1), 100).await;
    let two = add_product(&shop.products, json!(0.2), 100).await;
    let dear = add_product(&shop.products, json!(999_999_999.99), 10_000).await;
    let placed = shop.orders.post("/api/orders", order("1", &dime, 3)).await;
    assert_eq!(
        digits(&placed, "totalPrice"),
        "0.3",
        "not 0.30000000000000004"
    );
    shop.orders
        .post("/api/orders", order("1", &two, 1))
        .await
        .expect(201);
    assert_eq!(
        digits(&shop.orders.get("/api/orders/stats").await, "revenue"),
        "0.5"
    );
    let placed = shop
        .orders
        .post("/api/orders", order("1", &dear, 10_000))
        .await;
    assert_eq!(
        digits(&placed, "totalPrice"),
        "9999999999900",
        "as many digits as it takes"
    );
    let stats = shop.orders.get("/api/orders/stats").await;
    assert_eq!(digits(&stats, "revenue"), "9999999999900.5");
    let totals = shop.analytics.get("/api/analytics/orders").await;
    assert_eq!(digits(&totals, "revenue"), "9999999999900.5");
    assert_eq!(
        digits(&totals, "average_order_value"),
        "3333333333300.17",
        "rounded to the cent"
    );
}

#[tokio::test]
async fn an_order_keeps_the_price_it_was_placed_at() {
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(2), 10).await;
    shop.orders
        .post("/api/orders", order("1", "1", 2))
        .await
        .expect(201);
    shop.products
        .send("PUT", "/api/products/1", json!({"price": 3}))
        .await
        .expect(200);
    assert_eq!(
        digits(&shop.orders.get("/api/orders/1").await, "totalPrice"),
        "4"
    );
    shop.orders
        .post("/api/orders", order("1", "1", 2))
        .await
        .expect(201);
    assert_eq!(
        digits(&shop.orders.get("/api/orders/stats").await, "revenue"),
        "10"
    );
}

// Races.

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_for_the_last_five() {
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(1), 5).await;
    let tries = (0..50).map(|_| shop.orders.post("/api/orders", order("1", "1", 1)));
    let got = join_all(tries).await;
    let sold = got.iter().filter(|got| got.status == 201).count();
    assert_eq!(
        sold,
        5,
        "{:?}",
        got.iter().map(|got| got.status).collect::<Vec<_>>()
    );
    let ids: BTreeSet<String> = got
        .iter()
        .filter(|got| got.status == 201)
        .map(|got| shop::id(&got.json()))
        .collect();
    assert_eq!(ids.len(), 5, "each order has an id of its own");
    for got in got.into_iter().filter(|got| got.status != 201) {
        got.expect_error(409, "insufficient_stock");
    }
    assert_eq!(stock(&shop.products, "1").await, 0);
    assert_eq!(count(&shop.orders, "/api/orders").await, "5");
    assert_eq!(count(&shop.notifications, "/api/notifications").await, "5");
    let summary = shop
        .analytics
        .get("/api/analytics/summary")
        .await
        .expect(200);
    assert_eq!(
        (&summary["total_orders"], &summary["total_notifications"]),
        (&json!(5), &json!(5))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_cancelled_eight_times_at_once() {
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(1), 10).await;
    shop.orders
        .post("/api/orders", order("1", "1", 4))
        .await
        .expect(201);
    let tries = (0..8).map(|_| shop.orders.post("/api/orders/1/cancel", json!({})));
    let mut done = 0;
    for got in join_all(tries).await {
        if got.status == 200 {
            done += 1;
            assert_eq!(got.expect(200)["status"], "cancelled");
        } else {
            got.expect_error(409, "conflict");
        }
    }
    assert_eq!(done, 1);
    assert_eq!(stock(&shop.products, "1").await, 10, "given back once");
    let stats = shop.orders.get("/api/orders/stats").await.expect(200);
    assert_eq!(
        (&stats["confirmed"], &stats["cancelled"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_email_eight_times_at_once() {
    let shop = Shop::start().await;
    let tries = (0..8).map(|n| {
        shop.users.post(
            "/api/users",
            json!({"name": format!("Ada {n}"), "email": "ada@example.com"}),
        )
    });
    let mut statuses: Vec<_> = join_all(tries).await.iter().map(|got| got.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_stock_and_what_is_sold_stay_the_same_together() {
    const ALL: u64 = 60;
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(1), 60).await;
    // Orders of 1 to 4, of which every third is cancelled while others are
    // still being placed; together they ask for more than there is.
    let customers = (0..40_u32).map(|n| {
        let shop = &shop;
        async move {
            let got = shop
                .orders
                .post("/api/orders", order("1", "1", n % 4 + 1))
                .await;
            if got.status != 201 {
                got.expect_error(409, "insufficient_stock");
            } else if n % 3 == 0 {
                let id = shop::id(&got.json());
                shop.orders
                    .post(&format!("/api/orders/{id}/cancel"), json!({}))
                    .await
                    .expect(200);
            }
        }
    });
    join_all(customers).await;
    let orders = shop.orders.get("/api/orders?limit=1000").await.expect(200);
    let orders = orders.as_array().expect("a list");
    let quantity = |order: &&Value| order["quantity"].as_u64().expect("a number");
    let (confirmed, cancelled): (Vec<_>, Vec<_>) = orders
        .iter()
        .partition(|order| order["status"] == "confirmed");
    let sold: u64 = confirmed.iter().map(quantity).sum();
    assert_eq!(stock(&shop.products, "1").await + sold, ALL);
    let stats = shop.orders.get("/api/orders/stats").await.expect(200);
    assert_eq!(stats["total"], orders.len());
    assert_eq!(stats["confirmed"], confirmed.len());
    assert_eq!(stats["cancelled"], cancelled.len());
    assert_eq!(stats["revenue"].as_u64(), Some(sold), "at a price of 1");
}

// Outages.

/// A neighbour that answers, and whose answers are of no use. What becomes of one
/// that dies, hangs or breaks off is in `faults.rs`.
async fn useless() -> Vec<(&'static str, Stub)> {
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
async fn an_order_stands_whatever_becomes_of_its_notification() {
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

/// A product-service in front of the real one that does to stock requests what
/// `answer` says.
async fn before<F>(
    products: &Server,
    answer: impl Fn(fake::Seen, std::net::SocketAddr) -> F + Clone + Send + Sync + 'static,
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
async fn stock_that_was_taken_for_no_order_is_given_back() {
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
    // The stock is taken, and the answer makes no sense.
    let garbled = before(&shop.products, |request, real| async move {
        let answer = request.pass_on(real).await;
        if request_takes(&request) {
            return fake::json("200 OK", "", "{}");
        }
        answer
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
        // Stopping waits for stock that is on its way.
        orders.stop().await;
        assert_eq!(stock(&shop.products, "1").await, 10, "{how}");
        let seen = products.seen();
        let takes = seen.iter().filter(|seen| request_takes(seen));
        let keys: HashSet<_> = takes.map(|seen| seen.header("idempotency-key")).collect();
        assert_eq!(keys.len(), 1, "a product-service that {how}: one change");
    }
}

/// Whether this takes stock, rather than giving it back.
fn request_takes(request: &fake::Seen) -> bool {
    request.target.ends_with("/stock") && request.body().contains('-')
}

#[tokio::test]
async fn an_order_whose_client_hangs_up_is_placed_whole_or_not_at_all() {
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
    let impatient = orders
        .request(Method::POST, "/api/orders")
        .json(&order("1", "1", 3))
        .timeout(Duration::from_millis(150));
    assert!(impatient.send().await.is_err(), "the client has hung up");
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
async fn a_cancellation_in_doubt_is_found_out_and_done_once() {
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(1), 10).await;
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = std::sync::Arc::clone(&broken);
    let products = before(&shop.products, move |request, real| {
        let down = switch.load(std::sync::atomic::Ordering::SeqCst);
        async move {
            if down {
                return fake::json("503 Service Unavailable", "", "{}");
            }
            request.pass_on(real).await
        }
    })
    .await;
    let orders = shop::orders(
        &shop.users.upstream_url(),
        &products.url(),
        &shop.notifications.upstream_url(),
    )
    .await;
    orders
        .post("/api/orders", order("1", "1", 4))
        .await
        .expect(201);

    broken.store(true, std::sync::atomic::Ordering::SeqCst);
    let sentence = orders
        .post("/api/orders/1/cancel", json!({}))
        .await
        .expect_error(503, "dependency_unavailable");
    assert!(sentence.contains("product-service"), "{sentence}");
    assert_eq!(
        orders.get("/api/orders/1").await.expect(200)["status"],
        "confirmed",
        "nothing was changed"
    );
    assert_eq!(stock(&shop.products, "1").await, 6);

    // It is being found out whether the stock is back; nobody has to ask again.
    broken.store(false, std::sync::atomic::Ordering::SeqCst);
    settles_at(&shop.products, 10).await;
    assert_eq!(
        orders.get("/api/orders/1").await.expect(200)["status"],
        "cancelled"
    );
    orders
        .post("/api/orders/1/cancel", json!({}))
        .await
        .expect_error(409, "conflict");
}

#[tokio::test]
async fn a_seller_is_looked_up_and_an_outage_is_no_stranger() {
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

// What goes along to a neighbour, and what never does.

/// A neighbour that knows everybody and sells everything.
async fn agreeable() -> Fake {
    Fake::start(|request| async move {
        let body = json!({
            "id": "1", "name": "Ada", "email": "ada@example.com", "price": 1, "stock": 5, "sellerId": null,
            "userId": "1", "message": "Hello", "type": "info", "read": false,
            "createdAt": "2026-01-01T12:00:00.000Z", "updatedAt": "2026-01-01T12:00:00.000Z",
        });
        let status = if request.method == "POST" { "201 Created" } else { "200 OK" };
        fake::json(status, "", &body.to_string())
    })
    .await
}

#[tokio::test]
async fn the_request_id_and_the_trace_go_along_on_every_call() {
    let neighbour = agreeable().await;
    let orders = shop::orders(&neighbour.url(), &neighbour.url(), &neighbour.url()).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = orders
        .request(Method::POST, "/api/orders")
        .header("x-request-id", "demo-1")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .json(&order("1", "1", 2));
    Got::from(request).await.expect(201);

    let products = shop::products(&neighbour.url()).await;
    let request = products
        .request(Method::POST, "/api/products")
        .header("x-request-id", "demo-1")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .json(&json!({"name": "Cup", "price": 1, "sellerId": "1"}));
    Got::from(request).await.expect(201);

    let seen = neighbour.seen();
    let asked: Vec<_> = seen
        .iter()
        .map(|seen| format!("{} {}", seen.method, seen.target))
        .collect();
    for expected in [
        "GET /api/users/1",
        "GET /api/products/1",
        "PATCH /api/products/1/stock",
        "POST /api/notifications/send",
    ] {
        assert!(
            asked.iter().any(|one| one == expected),
            "no {expected} in {asked:?}"
        );
    }
    for seen in &seen {
        assert_eq!(
            seen.header("x-request-id"),
            "demo-1",
            "{} {}",
            seen.method,
            seen.target
        );
        let sent = seen.header("traceparent");
        let parts: Vec<_> = sent.split('-').collect();
        assert_eq!(
            (parts.len(), parts[0], parts[1], parts[3]),
            (4, "00", trace, "01"),
            "{sent}"
        );
        assert_ne!(parts[2], "00f067aa0ba902b7", "a span of its own");
        assert_eq!(parts[2].len(), 16);
    }
}

#[tokio::test]
async fn a_call_without_ids_gets_new_ones() {
    let neighbour = agreeable().await;
    let orders = shop::orders(&neighbour.url(), &neighbour.url(), &neighbour.url()).await;
    let got = orders.post("/api/orders", order("1", "1", 1)).await;
    let id = got.header("x-request-id").to_owned();
    got.expect(201);
    let seen = neighbour.seen();
    assert!(
        seen.iter().all(|seen| seen.header("x-request-id") == id),
        "the same on all calls of one request"
    );
    let traces: BTreeSet<_> = seen
        .iter()
        .map(|seen| {
            seen.header("traceparent")
                .get(3..35)
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    assert_eq!(traces.len(), 1, "one trace: {traces:?}");
}

#[tokio::test]
async fn an_id_that_is_none_never_reaches_a_url() {
    let neighbour = agreeable().await;
    let orders = shop::orders(&neighbour.url(), &neighbour.url(), &neighbour.url()).await;
    let products = shop::products(&neighbour.url()).await;
    for (id, reason) in [
        ("../users/1", "a way to another resource"),
        ("..", "a way up"),
        ("1/stock", "a way to another route"),
        ("1?x", "a query"),
        ("1#x", "a fragment"),
        ("1%2F..", "an encoded slash"),
        ("%31", "an encoded digit"),
        ("1\r\nx-evil: 1", "another header"),
        ("1 ", "white space"),
        ("", "nothing"),
        ("01", "another spelling of 1"),
        ("-1", "a sign"),
        ("1@evil", "another host"),
        ("١", "a digit, but not an ASCII one"),
        ("99999999999999999999999", "too long"),
    ] {
        for body in [order(id, "1", 1), order("1", id, 1), order(id, id, 1)] {
            let got = orders.post("/api/orders", body.clone()).await;
            // Surrounding white space is trimmed.
            if id == "1 " && got.status == 201 {
                continue;
            }
            assert_eq!(got.status, 400, "{reason}: {body} got {}", got.json());
        }
        let got = products
            .post(
                "/api/products",
                json!({"name": "Cup", "price": 1, "sellerId": id}),
            )
            .await;
        if id == "1 " && got.status == 201 {
            continue;
        }
        assert_eq!(got.status, 400, "{reason}: got {}", got.json());
    }
    let good = [
        "/api/users/1",
        "/api/products/1",
        "/api/products/1/stock",
        "/api/notifications/send",
    ];
    for seen in neighbour.seen() {
        assert!(
            good.contains(&seen.target.as_str()),
            "{} {} was asked for",
            seen.method,
            seen.target
        );
        assert_eq!(seen.header("x-evil"), "");
    }
}

// Totals.

#[tokio::test(flavor = "multi_thread")]
async fn a_total_asked_for_right_after_a_write_counts_it() {
    let shop = Shop::start().await;
    let writers = (0..24_u64).map(|n| {
        let shop = &shop;
        async move {
            for round in 0..3 {
                let added: u64 = add_user(&shop.users, &format!("ada{n}-{round}"))
                    .await
                    .parse()
                    .expect("a number");
                let path = if round == 1 {
                    "/api/analytics/users"
                } else {
                    "/api/analytics/summary"
                };
                let got = shop.analytics.get(path).await.expect(200);
                let total = got
                    .get("total_users")
                    .or(got.get("total"))
                    .and_then(Value::as_u64);
                assert!(total >= Some(added), "user {added} is not counted in {got}");
            }
        }
    });
    join_all(writers).await;
    assert_eq!(
        shop.analytics.get("/api/analytics/users").await.expect(200)["total"],
        72
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_arrive_together_share_a_poll() {
    let shop = Shop::start().await;
    let slowly = async |server: &Server| {
        let real = server.address();
        Fake::start(move |request| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            request.pass_on(real).await
        })
        .await
    };
    let (users, products) = (slowly(&shop.users).await, slowly(&shop.products).await);
    let (orders, notifications) = (
        slowly(&shop.orders).await,
        slowly(&shop.notifications).await,
    );
    let analytics = shop::analytics(
        &users.url(),
        &products.url(),
        &orders.url(),
        &notifications.url(),
    )
    .await;
    let got = join_all((0..100).map(|_| analytics.get("/api/analytics/summary"))).await;
    assert!(got.iter().all(|got| got.status == 200));
    for (name, neighbour) in [
        ("user", &users),
        ("product", &products),
        ("order", &orders),
        ("notification", &notifications),
    ] {
        let asked = neighbour.seen().len();
        assert!(
            (1..=20).contains(&asked),
            "{name}-service was asked {asked} times for 100 requests"
        );
    }
}

#[tokio::test]
async fn a_poll_costs_the_same_whatever_the_shop_holds() {
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(1), 1000).await;
    let watched = async |server: &Server| {
        let real = server.address();
        Fake::start(move |request| async move { request.pass_on(real).await }).await
    };
    let neighbours = [
        watched(&shop.users).await,
        watched(&shop.products).await,
        watched(&shop.orders).await,
        watched(&shop.notifications).await,
    ];
    let [users, products, orders, notifications] = &neighbours;
    let analytics = shop::analytics(
        &users.url(),
        &products.url(),
        &orders.url(),
        &notifications.url(),
    )
    .await;
    let asked = async || {
        let before: usize = neighbours.iter().map(|one| one.seen().len()).sum();
        analytics.get("/api/analytics/summary").await.expect(200);
        neighbours.iter().map(|one| one.seen().len()).sum::<usize>() - before
    };
    let empty = asked().await;
    for n in 0..120 {
        add_user(&shop.users, &format!("more{n}")).await;
        shop.orders
            .post("/api/orders", order("1", "1", 1))
            .await
            .expect(201);
    }
    assert_eq!(asked().await, empty, "as many calls as before");
    for seen in neighbours.iter().flat_map(Fake::seen) {
        let small = seen.method == "HEAD"
            || seen.target.contains("limit=1")
            || ["/api/orders/stats", "/health"].contains(&seen.target.as_str());
        assert!(
            small,
            "{} {} brings more than a total",
            seen.method, seen.target
        );
    }
}

fn source<'a>(summary: &'a Value, name: &str) -> &'a Value {
    let services = summary["services"].as_array().expect("a list");
    services
        .iter()
        .find(|one| one["name"] == name)
        .expect("all four are there")
}

#[tokio::test]
async fn while_a_service_is_down_the_last_total_known_stands() {
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(2.5), 10).await;
    shop.orders
        .post("/api/orders", order("1", "1", 2))
        .await
        .expect(201);
    let before = shop
        .analytics
        .get("/api/analytics/summary")
        .await
        .expect(200);
    let orders_before = shop
        .analytics
        .get("/api/analytics/orders")
        .await
        .expect(200);

    let Shop {
        users,
        orders,
        notifications,
        products,
        analytics,
    } = shop;
    notifications.stop().await;
    orders.stop().await;
    add_user(&users, "bob").await;
    let started = Instant::now();
    let after = analytics.get("/api/analytics/summary").await.expect(200);
    assert!(started.elapsed() < PROMPT, "took {:?}", started.elapsed());
    for (total, expected) in [
        ("total_users", 2),
        ("total_products", 1),
        ("total_orders", 1),
        ("total_notifications", 1),
    ] {
        assert_eq!(after[total], expected, "{after}");
    }
    for name in ["user-service", "product-service"] {
        assert_eq!(source(&after, name)["status"], "up");
    }
    for name in ["order-service", "notification-service"] {
        let (was, is) = (source(&before, name), source(&after, name));
        assert_eq!(is["status"], "down");
        assert!(
            is["as_of"].as_str() >= was["as_of"].as_str()
                && is["as_of"].as_str() < after["timestamp"].as_str(),
            "{is}: the time the total is from, {was} before"
        );
    }
    assert_eq!(
        analytics
            .get("/api/analytics/notifications")
            .await
            .expect(200)["total"],
        1
    );
    let mut orders_after = analytics.get("/api/analytics/orders").await.expect(200);
    orders_after["timestamp"] = orders_before["timestamp"].clone();
    assert_eq!(orders_after, orders_before);
    drop(products);
}

#[tokio::test]
async fn a_total_that_was_never_known_is_null() {
    let users = shop::users().await;
    add_user(&users, "ada").await;
    for (how, stub) in useless().await {
        let nobody: UpstreamUrl = stub.url();
        let analytics = shop::analytics(&users.upstream_url(), &nobody, &nobody, &nobody).await;
        let started = Instant::now();
        let summary = analytics.get("/api/analytics/summary").await.expect(200);
        assert!(
            started.elapsed() < PROMPT,
            "services that {how} took {:?}",
            started.elapsed()
        );
        assert_eq!(summary["total_users"], 1, "{how}");
        for total in ["total_products", "total_orders", "total_notifications"] {
            assert_eq!(summary[total], Value::Null, "{how}: {summary}");
        }
        for name in ["product-service", "order-service", "notification-service"] {
            let source = source(&summary, name);
            assert_eq!(
                (&source["status"], &source["as_of"]),
                (&json!("down"), &Value::Null),
                "{how}"
            );
        }
        assert_eq!(
            analytics.get("/api/analytics/products").await.expect(200)["total"],
            Value::Null,
            "{how}"
        );
        let orders = analytics.get("/api/analytics/orders").await.expect(200);
        for field in [
            "total",
            "confirmed",
            "cancelled",
            "revenue",
            "average_order_value",
        ] {
            assert_eq!(orders[field], Value::Null, "{how}: {orders}");
        }
    }
}

/// What the samples have of a service under `name`, where they have something.
fn measured(samples: &[Value], n: usize, name: &str) -> Vec<f64> {
    let of_it = samples.iter().map(|sample| &sample["services"][n][name]);
    of_it.filter_map(Value::as_f64).collect()
}

#[tokio::test]
async fn what_the_four_do_shows_in_what_analytics_tells_of_them() {
    let users = shop::users().await;
    let notifications = shop::notifications().await;
    // Nobody can say whether a seller exists: product-service answers 503.
    let refusing = Stub::refusing().await;
    let products = shop::products(&refusing.url()).await;
    let urls = [&users, &products, &notifications].map(Server::upstream_url);
    let orders = shop::orders(&urls[0], &urls[1], &urls[2]).await;
    let four = [&urls[0], &urls[1], &orders.upstream_url(), &urls[2]];
    let analytics = shop::analytics_polling(four, 500).await;
    let history = async || {
        let answer = analytics.get("/api/analytics/history").await.expect(200);
        answer.as_array().expect("a list").clone()
    };
    let started = Instant::now();
    while history().await.is_empty() {
        assert!(started.elapsed() < PATIENCE, "no sample");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    add_user(&users, "ada").await;
    add_product(&products, json!(1), 1000).await;
    for _ in 0..20 {
        orders
            .post("/api/orders", order("1", "1", 1))
            .await
            .expect(201);
    }
    let sold_by = json!({"name": "Cup", "price": 1, "sellerId": "1"});
    for _ in 0..5 {
        let refused = products.post("/api/products", sold_by.clone()).await;
        refused.expect_error(503, "dependency_unavailable");
    }

    // Each request lies between two samples; the errors came last.
    let samples = loop {
        let samples = history().await;
        let seen = |n, name| measured(&samples, n, name).iter().sum::<f64>() > 0.0;
        if seen(1, "error_rate") && (0..4).all(|n| seen(n, "request_rate")) {
            break samples;
        }
        assert!(started.elapsed() < PATIENCE, "not all is in {samples:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    // A user is asked for with every order; a product too, and its stock taken.
    for (n, requests, name) in [
        (0, 21.0, "user"),
        (1, 46.0, "product"),
        (2, 20.0, "order"),
        (3, 20.0, "notification"),
    ] {
        // The samples are half a second apart, or more on a busy machine.
        let rates = measured(&samples, n, "request_rate");
        let all: f64 = rates.iter().sum();
        assert!(
            (requests * 0.1..=requests * 10.0).contains(&all),
            "{name}: {rates:?}"
        );
        let (half, most) = (
            measured(&samples, n, "p50_ms"),
            measured(&samples, n, "p99_ms"),
        );
        assert!(!half.is_empty() && half.len() == most.len(), "{name}");
        for (half, most) in half.iter().zip(&most) {
            assert!(
                0.0 < *half && half <= most && *most <= 10_000.0,
                "{name}: {half} {most}"
            );
        }
        let errors: f64 = measured(&samples, n, "error_rate").iter().sum();
        assert_eq!(errors > 0.0, name == "product", "{name}: {errors}");
    }

    // Left alone, all is quiet: what analytics asks is not counted.
    let quiet = loop {
        let services = analytics.get("/api/analytics/services").await.expect(200);
        if (0..4).all(|n| services[n]["request_rate"] == 0.0) {
            break services;
        }
        assert!(started.elapsed() < PATIENCE, "still busy: {services}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for (n, framework) in ["axum", "rocket", "poem", "warp"].into_iter().enumerate() {
        let service = &quiet[n];
        assert_eq!(service["status"], "up", "{service}");
        assert_eq!(service["framework"], framework, "{service}");
        assert_eq!(service["error_rate"], 0.0, "{service}");
        assert_eq!(service["p50_ms"], Value::Null, "{service}");
        assert!(service["uptime_seconds"].is_u64(), "{service}");
        assert!(
            service["polls"].as_u64() >= service["polls_answered"].as_u64(),
            "{service}"
        );
        assert!(service["polls_answered"].as_u64() > Some(0), "{service}");
    }
}

#[tokio::test]
async fn all_five_stop_cleanly() {
    let Shop {
        users,
        products,
        orders,
        notifications,
        analytics,
    } = Shop::start().await;
    add_user(&users, "ada").await;
    for server in [analytics, orders, notifications, products, users] {
        server.stop().await;
    }
}
