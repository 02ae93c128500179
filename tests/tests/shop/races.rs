//! Many clients change the same thing at once.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use shop_tests::fake::Fake;
use shop_tests::shop::{self, Shop, add_product, add_user, stock};

use super::{count, order};

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
    assert_eq!(stock(&shop.products, "1").await, 10, "returned once");
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
async fn stock_and_sold_quantities_add_up() {
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

/// More orders than there may be calls to one service at a time: all of them get their turn.
/// With a slow product-service, so that they are there at the same time on any machine.
///
/// The time-outs are longer than usual: all five services run without optimisation in this one
/// process, and share the machine with other tests. `.ci/lab_crowd.py` orders from the images
/// with the defaults.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_orders_at_once_all_succeed() {
    const ORDERS: usize = 200;
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(1), 1000).await;
    let real = shop.products.address();
    let products = Fake::start(move |request| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        request.pass_on(real).await
    })
    .await;
    let users = shop.users.upstream_url();
    let notifications = shop.notifications.upstream_url();
    let upstreams = [&users, &products.url(), &notifications];
    let orders = shop::orders_that(upstreams, &shop::GENEROUS).await;
    let placing = (0..ORDERS).map(|_| orders.post("/api/orders", order("1", "1", 1)));
    for got in join_all(placing).await {
        assert_eq!(got.expect(201)["notification"], "sent");
    }
    assert_eq!(stock(&shop.products, "1").await, 800);
}

/// A limit of this service is never reported as a failure of another one.
#[tokio::test(flavor = "multi_thread")]
async fn orders_beyond_the_limit_of_calls_are_told_that_order_service_is_overloaded() {
    const ORDERS: u64 = 40;
    let shop = Shop::start().await;
    add_user(&shop.users, "ada").await;
    add_product(&shop.products, json!(1), 1000).await;
    let real = shop.products.address();
    let products = Fake::start(move |request| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        request.pass_on(real).await
    })
    .await;
    let users = shop.users.upstream_url();
    let notifications = shop.notifications.upstream_url();
    let upstreams = [&users, &products.url(), &notifications];
    // Two at a time, forty look-ups take two seconds, and only the first of those who then take
    // stock get a place before the third is over. Each call has a second at least.
    let settings = [
        ("BULKHEAD", "2"),
        ("CALL_TIMEOUT_MS", "2000"),
        ("DEADLINE_MS", "4000"),
    ];
    let orders = shop::orders_that(upstreams, &settings).await;
    let placing = (0..ORDERS).map(|_| orders.post("/api/orders", order("1", "1", 1)));
    let mut overloaded = 0_u64;
    for got in join_all(placing).await {
        if got.status == 201 {
            continue;
        }
        assert_ne!(got.header("retry-after"), "");
        let sentence = got.expect_error(503, "overloaded");
        assert!(
            sentence.contains("This service is at its limit"),
            "{sentence}"
        );
        overloaded += 1;
    }
    assert!(overloaded > 0, "there is no time for all of them");
    let sold = ORDERS - overloaded;
    assert_eq!(count(&orders, "/api/orders").await, sold.to_string());
    assert_eq!(stock(&shop.products, "1").await, 1000 - sold);
}
