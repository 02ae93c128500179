//! Live answers match the documents.

use std::time::{Duration, Instant};

use harness::TIMEOUT;
use serde_json::json;
use shop_tests::document::Document;
use shop_tests::faults::Faults;
use shop_tests::shop::{self, Shop};

use super::{Checked, document};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one walk over every route")]
async fn answers_match_the_documents() {
    let shop = Shop::start().await;
    let checked = async |service: &shop_tests::shop::Named<'_>| {
        (service.name, document(service.server).await)
    };
    let mut documents = Vec::new();
    for service in shop.services() {
        documents.push(checked(&service).await);
    }
    let mut all = shop
        .services()
        .into_iter()
        .zip(documents)
        .map(|(service, (name, document))| Checked {
            name,
            server: service.server,
            document,
            faults: Faults::default(),
        });
    let mut next = || all.next().expect("five services");
    let (mut users, mut products, mut orders, mut notifications, mut analytics) =
        (next(), next(), next(), next(), next());

    // Users.
    let ada = json!({"name": "Ada", "email": "ada@example.com"});
    users
        .send("POST", "/api/users", Some(ada.clone()), 201)
        .await;
    users
        .send(
            "POST",
            "/api/users",
            Some(json!({"name": "Bob", "email": "bob@example.com"})),
            201,
        )
        .await;
    users
        .send("POST", "/api/users", Some(ada.clone()), 409)
        .await;
    users.send("POST", "/api/users", Some(json!({})), 400).await;
    users
        .send(
            "POST",
            "/api/users",
            Some(json!({"name": 1, "email": []})),
            400,
        )
        .await;
    users.blank("POST", "/api/users", &ada, "name").await;
    users.blank("PUT", "/api/users/1", &ada, "name").await;
    users.refused_bodies("POST", "/api/users").await;
    users.get("/api/users/1").await;
    users.send("GET", "/api/users/9", None, 404).await;
    users
        .send(
            "PUT",
            "/api/users/1",
            Some(json!({"name": "Ada L.", "email": "ada@example.com"})),
            200,
        )
        .await;
    users.send("PUT", "/api/users/2", Some(ada), 409).await;
    users
        .send("PUT", "/api/users/2", Some(json!({"name": ""})), 400)
        .await;
    users
        .send(
            "PUT",
            "/api/users/9",
            Some(json!({"name": "Eve", "email": "eve@example.com"})),
            404,
        )
        .await;
    users.refused_bodies("PUT", "/api/users/1").await;
    users.list("/api/users").await;

    products.products().await;

    // Orders.
    let order = |user: &str, product: &str, quantity: u32| {
        Some(json!({"userId": user, "productId": product, "quantity": quantity}))
    };
    orders.get("/api/orders/stats").await;
    orders
        .send("POST", "/api/orders", order("1", "1", 2), 201)
        .await;
    orders
        .send("POST", "/api/orders", order("1", "1", 1), 201)
        .await;
    orders
        .send("POST", "/api/orders", order("1", "1", 99), 409)
        .await;
    orders
        .send("POST", "/api/orders", order("9", "1", 1), 400)
        .await;
    orders
        .send("POST", "/api/orders", order("1", "9", 1), 400)
        .await;
    orders
        .send("POST", "/api/orders", Some(json!({"quantity": 0})), 400)
        .await;
    orders
        .send("POST", "/api/orders", Some(json!({"userId": 1})), 400)
        .await;
    orders.refused_bodies("POST", "/api/orders").await;
    orders.get("/api/orders/1").await;
    orders.send("GET", "/api/orders/9", None, 404).await;
    orders.send("POST", "/api/orders/1/cancel", None, 200).await;
    orders.send("POST", "/api/orders/1/cancel", None, 409).await;
    orders.send("POST", "/api/orders/9/cancel", None, 404).await;
    orders.get("/api/orders/stats").await;
    orders.list("/api/orders").await;
    orders.list("/api/orders/user/1").await;

    // Notifications.
    let sent = json!({"userId": "someone", "message": "Hello", "type": "greeting"});
    for field in ["userId", "message"] {
        notifications
            .blank("POST", "/api/notifications/send", &sent, field)
            .await;
    }
    notifications
        .send("POST", "/api/notifications/send", Some(sent), 201)
        .await;
    notifications
        .send(
            "POST",
            "/api/notifications/send",
            Some(json!({"userId": "1", "message": "Hello"})),
            201,
        )
        .await;
    notifications
        .send(
            "POST",
            "/api/notifications/send",
            Some(json!({"type": "No!"})),
            400,
        )
        .await;
    notifications
        .send(
            "POST",
            "/api/notifications/send",
            Some(json!({"message": 1})),
            400,
        )
        .await;
    notifications
        .refused_bodies("POST", "/api/notifications/send")
        .await;
    notifications.list("/api/notifications").await;
    notifications.list("/api/notifications/1").await;
    notifications.get("/api/notifications/nobody").await;
    notifications.list("/api/notifications/send").await;
    notifications
        .send("PATCH", "/api/notifications/1/read", None, 200)
        .await;
    notifications
        .send("PATCH", "/api/notifications/99/read", None, 404)
        .await;
    notifications
        .send("DELETE", "/api/notifications/1", None, 200)
        .await;
    notifications
        .send("DELETE", "/api/notifications/1", None, 404)
        .await;

    // Totals.
    let totals = [
        "/api/analytics/summary",
        "/api/analytics/users",
        "/api/analytics/products",
        "/api/analytics/orders",
        "/api/analytics/notifications",
        "/api/analytics/services",
        "/api/analytics/history",
        "/api/analytics/history?minutes=60",
    ];
    for path in totals {
        analytics.get(path).await;
    }
    analytics
        .send("GET", "/api/analytics/history?minutes=61", None, 400)
        .await;
    for service in [
        &mut users,
        &mut products,
        &mut orders,
        &mut notifications,
        &mut analytics,
    ] {
        service.about_itself().await;
    }

    // What is gone.
    products.send("DELETE", "/api/products/2", None, 200).await;
    products.send("DELETE", "/api/products/2", None, 404).await;
    users.send("DELETE", "/api/users/2", None, 200).await;
    users.send("DELETE", "/api/users/2", None, 404).await;

    for service in [users, products, orders, notifications, analytics] {
        service.faults.finish();
    }
}

#[tokio::test]
async fn traces_match_their_document() {
    let shop = Shop::start_lab().await;
    shop::add_user(&shop.users, "ada").await;
    shop::add_product(&shop.products, json!(1), 1).await;
    let order = json!({"userId": "1", "productId": "1", "quantity": 1});
    shop.orders
        .post("/api/orders", order.clone())
        .await
        .expect(201);
    // One with calls that fail.
    let fault = json!([{"route": "*", "kind": "status", "status": 503}]);
    let users = &shop.users;
    users.send("PUT", "/lab/faults", fault).await.expect(200);
    shop.orders.post("/api/orders", order).await.expect(503);
    let mut analytics = Checked {
        name: "analytics-service",
        server: &shop.analytics,
        document: document(&shop.analytics).await,
        faults: Faults::default(),
    };
    let latest = analytics.get("/api/analytics/traces?limit=10").await;
    let traces = latest["traces"].as_array().expect("a list");
    assert!(traces.len() >= 2, "{latest}");
    for one in traces {
        let id = one["traceId"].as_str().expect("an id");
        analytics.get(&format!("/api/analytics/traces/{id}")).await;
    }
    for (path, status) in [
        ("/api/analytics/traces?limit=0", 400),
        ("/api/analytics/traces/nobody", 404),
    ] {
        analytics.send("GET", path, None, status).await;
    }
    analytics.faults.finish();
}

/// On Rocket they are tested with the rest of the shop.
#[tokio::test]
async fn the_product_api_matches_its_document_on_every_framework() {
    let users = shop::users().await;
    shop::add_user(&users, "ada").await;
    let rocket = shop::products(&users.upstream_url()).await;
    let expected = rocket.get("/openapi.json").await.expect(200);
    for (framework, server) in shop::products_on_other_frameworks(&users.upstream_url()).await {
        let name = framework.name;
        let mut document = server.get("/openapi.json").await.expect(200);
        let description = document["info"]["description"].take();
        assert_eq!(
            description,
            format!("Products of the shop and their stock. Built on {name}.")
        );
        document["info"]["description"] = expected["info"]["description"].clone();
        assert_eq!(document, expected, "{name}");

        let mut products = Checked {
            name,
            server: &server,
            document: Document::new(document),
            faults: Faults::default(),
        };
        products.products().await;
        products.about_itself().await;
        products.faults.finish();
    }
}

#[tokio::test]
async fn answers_in_an_outage_match_the_documents() {
    let refusing = chassis::testkit::Stub::refusing().await;
    let nobody = refusing.url();
    let users = shop::users().await;
    let products = shop::products(&nobody).await;
    let lonely = shop::orders(&users.upstream_url(), &nobody, &nobody).await;
    let analytics = shop::analytics(&nobody, &nobody, &nobody, &nobody).await;
    shop::add_user(&users, "ada").await;

    for (name, server, method, path, body, expected) in [
        (
            "product-service",
            &products,
            "POST",
            "/api/products",
            Some(json!({"name": "Cup", "price": 1, "sellerId": "1"})),
            503,
        ),
        (
            "order-service",
            &lonely,
            "POST",
            "/api/orders",
            Some(json!({"userId": "1", "productId": "1", "quantity": 1})),
            503,
        ),
        ("order-service", &lonely, "GET", "/health/ready", None, 503),
        (
            "analytics-service",
            &analytics,
            "GET",
            "/health/ready",
            None,
            200,
        ),
        (
            "analytics-service",
            &analytics,
            "GET",
            "/api/analytics/summary",
            None,
            200,
        ),
        (
            "analytics-service",
            &analytics,
            "GET",
            "/api/analytics/users",
            None,
            200,
        ),
        (
            "analytics-service",
            &analytics,
            "GET",
            "/api/analytics/orders",
            None,
            200,
        ),
        (
            "analytics-service",
            &analytics,
            "GET",
            "/api/analytics/services",
            None,
            200,
        ),
    ] {
        let mut checked = Checked {
            name,
            server,
            document: document(server).await,
            faults: Faults::default(),
        };
        checked.send(method, path, body, expected).await;
        checked.faults.finish();
    }
}

#[tokio::test]
async fn a_history_matches_the_document() {
    let refusing = chassis::testkit::Stub::refusing().await;
    let nobody = refusing.url();
    let users = shop::users().await;
    let upstreams = [&users.upstream_url(), &nobody, &nobody, &nobody];
    let analytics = shop::analytics_polling(upstreams, 500).await;
    let mut checked = Checked {
        name: "analytics-service",
        server: &analytics,
        document: document(&analytics).await,
        faults: Faults::default(),
    };
    // The second sample of the one that is up has rates.
    let since = Instant::now();
    while checked
        .get("/api/analytics/history")
        .await
        .as_array()
        .is_none_or(|samples| samples.len() < 2)
    {
        assert!(since.elapsed() < TIMEOUT, "no samples");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    checked.get("/api/analytics/services").await;
    checked.faults.finish();
}
