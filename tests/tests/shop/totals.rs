//! The totals of analytics-service.

use std::time::{Duration, Instant};

use chassis::testkit::{Server, Stub};
use chassis::upstream::url::UpstreamUrl;
use futures_util::future::join_all;
use harness::TIMEOUT;
use serde_json::{Value, json};
use shop_tests::fake::Fake;
use shop_tests::shop::{self, Shop, add_product, add_user};

use super::outages::useless;
use super::{PROMPT, order};

#[tokio::test(flavor = "multi_thread")]
async fn a_total_includes_the_write_right_before_it() {
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
async fn concurrent_requests_share_a_poll() {
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
    for (name, upstream) in [
        ("user", &users),
        ("product", &products),
        ("order", &orders),
        ("notification", &notifications),
    ] {
        let asked = upstream.seen().len();
        assert!(
            (1..=20).contains(&asked),
            "{name}-service was asked {asked} times for 100 requests"
        );
    }
}

#[tokio::test]
async fn the_cost_of_a_poll_does_not_depend_on_the_number_of_records() {
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(1), 1000).await;
    let watched = async |server: &Server| {
        let real = server.address();
        Fake::start(move |request| async move { request.pass_on(real).await }).await
    };
    let upstreams = [
        watched(&shop.users).await,
        watched(&shop.products).await,
        watched(&shop.orders).await,
        watched(&shop.notifications).await,
    ];
    let [users, products, orders, notifications] = &upstreams;
    let analytics = shop::analytics(
        &users.url(),
        &products.url(),
        &orders.url(),
        &notifications.url(),
    )
    .await;
    let asked = async || {
        let before: usize = upstreams.iter().map(|one| one.seen().len()).sum();
        analytics.get("/api/analytics/summary").await.expect(200);
        upstreams.iter().map(|one| one.seen().len()).sum::<usize>() - before
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
    for seen in upstreams.iter().flat_map(Fake::seen) {
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
async fn while_a_service_is_down_its_last_known_total_stays() {
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
    assert_eq!(
        (&orders_before["status"], &orders_after["status"]),
        (&json!("up"), &json!("down"))
    );
    assert!(orders_after["as_of"].as_str() < orders_after["timestamp"].as_str());
    // Nothing else differs: these are the last known values, and the time they are from.
    for field in ["timestamp", "status"] {
        orders_after[field] = orders_before[field].clone();
    }
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
async fn analytics_reports_the_load_of_the_four() {
    let users = shop::users().await;
    let notifications = shop::notifications().await;
    // The seller cannot be checked, so product-service answers 503.
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
        assert!(started.elapsed() < TIMEOUT, "no sample");
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
        assert!(started.elapsed() < TIMEOUT, "not all is in {samples:?}");
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

    // Without requests all rates are 0: the polls of analytics do not count.
    let quiet = loop {
        let services = analytics.get("/api/analytics/services").await.expect(200);
        if (0..4).all(|n| services[n]["request_rate"] == 0.0) {
            break services;
        }
        assert!(started.elapsed() < TIMEOUT, "still busy: {services}");
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
