//! The data that is lost, or has an unknown outcome, when a service dies.

use std::sync::{Arc, Mutex};

use harness::process::signal;
use harness::raw;
use serde_json::json;
use shop_tests::ask::{all, place, stock};
use shop_tests::fake::Fake;
use shop_tests::program::{Program, upstream_variables};
use tokio::task::block_in_place;

use super::{STOCK, stock_up};

/// The one gap of a store in memory: order-service has taken the stock and dies, and with it the
/// knowledge of the order.
#[tokio::test(flavor = "multi_thread")]
async fn stock_is_lost_only_with_an_order_service_that_dies_between_taking_it_and_its_answer() {
    for (dies_at, is_done, lost, told) in [
        ("/api/users/1", true, 0, 1),
        ("/api/products/1", true, 0, 1),
        ("/api/products/1/stock", false, 0, 1),
        // From here on the stock is taken. Asked again, it is taken again, and
        // the first order is known to nobody.
        ("/api/products/1/stock", true, 3, 1),
        ("/api/notifications/send", false, 3, 1),
        ("/api/notifications/send", true, 3, 2),
    ] {
        let reason = format!("it dies at {dies_at}, {is_done}");
        let names = ["user-service", "product-service", "notification-service"];
        let real = names.map(|name| block_in_place(|| Program::start(name, &[])));
        let addresses = real.each_ref().map(Program::address);
        for (name, address) in names.into_iter().zip(addresses) {
            stock_up(name, address).await.expect(name);
        }
        let doomed = Arc::new(Mutex::new(None));
        let to_kill = Arc::clone(&doomed);
        let gate = Fake::start(move |request| {
            let place = names.iter().position(|name| {
                let list = name.replace("-service", "s");
                request.target.starts_with(&format!("/api/{list}"))
            });
            let real = addresses[place.expect("one of the three")];
            let is_it = request.target == dies_at;
            let doomed = is_it.then(|| to_kill.lock().expect("no panic").take());
            async move {
                let Some(process) = doomed.flatten() else {
                    return request.pass_on(real).await;
                };
                if is_done {
                    request.pass_on(real).await;
                }
                block_in_place(|| signal(process, "KILL")).expect("it runs");
                Vec::new()
            }
        })
        .await;
        let url = gate.url();
        let urls = upstream_variables("order-service").iter();
        let urls: Vec<_> = urls.map(|variable| (*variable, url.as_str())).collect();
        let mut orders = block_in_place(|| Program::start_to_come_back("order-service", &urls));
        *doomed.lock().expect("no panic") = Some(orders.id());

        let key = [("idempotency-key", "k")];
        let broken = place(orders.address(), 1, 3, &key).await;
        assert!(broken.is_err(), "{reason}: {broken:?}");
        block_in_place(|| orders.come_back());
        let left = all(orders.address(), "/api/orders").await;
        assert_eq!(left, Ok(Vec::new()), "{reason}");
        assert_eq!(stock(addresses[1], 1).await, Ok(STOCK - lost), "{reason}");

        let again = place(orders.address(), 1, 3, &key)
            .await
            .expect("an answer");
        assert_eq!(again.header("idempotency-replayed"), "", "{reason}");
        assert_eq!(again.expect(201)["id"], "1", "{reason}");
        assert_eq!(
            stock(addresses[1], 1).await,
            Ok(STOCK - lost - 3),
            "{reason}"
        );
        let messages = all(addresses[2], "/api/notifications").await;
        let messages = messages.expect("a list");
        let confirmed = "Your order #1 has been confirmed";
        let confirmed = messages.iter().filter(|one| one["message"] == confirmed);
        assert_eq!(confirmed.count(), told, "{reason}: {messages:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_the_five_loses_its_records_when_it_dies() {
    let start = |name, urls: &[_]| block_in_place(|| Program::start_to_come_back(name, urls));
    let mut users = start("user-service", &[]);
    let mut products = start("product-service", &[]);
    let mut notifications = start("notification-service", &[]);
    let (users_url, products_url, notifications_url) =
        (users.url(), products.url(), notifications.url());
    let mut urls = vec![
        ("USER_SERVICE_URL", users_url.as_str()),
        ("PRODUCT_SERVICE_URL", &products_url),
        ("NOTIFICATION_SERVICE_URL", &notifications_url),
    ];
    let mut orders = start("order-service", &urls);
    let orders_url = orders.url();
    urls.extend([
        ("ORDER_SERVICE_URL", orders_url.as_str()),
        ("POLL_INTERVAL_MS", "60000"),
    ]);
    let mut analytics = start("analytics-service", &urls);
    // A service that is back is where it was.
    let at = orders.address();
    let totals = async |analytics: &Program| {
        let summary = raw::get(analytics.address(), "/api/analytics/summary").await;
        let summary = summary.expect("an answer").expect(200);
        ["users", "products", "orders", "notifications"]
            .map(|name| summary[format!("total_{name}")].as_u64().expect("a number"))
    };
    let buy = async || place(at, 1, 2, &[]).await.expect("an answer");
    for (name, program) in [("user-service", &users), ("product-service", &products)] {
        stock_up(name, program.address()).await.expect(name);
    }
    assert_eq!(buy().await.expect(201)["notification"], "sent");
    assert_eq!(totals(&analytics).await, [1, 1, 1, 1]);

    block_in_place(|| notifications.come_back());
    let order = raw::get(at, "/api/orders/1").await.expect("an answer");
    assert_eq!(order.expect(200)["notification"], "sent", "it was");
    assert_eq!(totals(&analytics).await, [1, 1, 1, 0]);

    block_in_place(|| users.come_back());
    let sentence = buy().await.expect_error(400, "validation_failed");
    assert!(sentence.contains("User not found"), "{sentence}");
    assert_eq!(stock(products.address(), 1).await, Ok(STOCK - 2));
    let again = stock_up("user-service", users.address()).await;
    again.expect("the same user");
    assert_eq!(buy().await.expect(201)["id"], "2");
    assert_eq!(totals(&analytics).await, [1, 1, 2, 1]);

    block_in_place(|| products.come_back());
    let sentence = buy().await.expect_error(400, "validation_failed");
    assert!(sentence.contains("Product not found"), "{sentence}");
    let again = stock_up("product-service", products.address()).await;
    again.expect("another product of the same id");
    // Nobody can tell that it is another one.
    let cancelled = raw::post(at, "/api/orders/1/cancel", &[], &json!({})).await;
    cancelled.expect("an answer").expect(200);
    assert_eq!(stock(products.address(), 1).await, Ok(STOCK + 2));

    block_in_place(|| orders.come_back());
    assert_eq!(totals(&analytics).await, [1, 1, 0, 1]);
    assert_eq!(
        stock(products.address(), 1).await,
        Ok(STOCK + 2),
        "as it was"
    );
    assert_eq!(buy().await.expect(201)["id"], "1", "another first one");

    block_in_place(|| analytics.come_back());
    assert_eq!(totals(&analytics).await, [1, 1, 1, 2], "asked afresh");
    let history = all(analytics.address(), "/api/analytics/history").await;
    assert_eq!(history, Ok(Vec::new()), "only what it has seen itself");
}
