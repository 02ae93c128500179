//! The golden journey: everything works.

use serde_json::json;
use shop_tests::shop::{Shop, add_product, add_user, stock};

use super::{count, digits, order};

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

    // Each effect is visible.
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
        (
            order("9", "1", 1),
            &["User not found"][..],
            "an unknown user",
        ),
        (
            order("1", "9", 1),
            &["Product not found"],
            "an unknown product",
        ),
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
