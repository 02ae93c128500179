//! The X-ray of requests to a real shop.

use chassis::testkit::Server;
use serde_json::{Value, json};
use shop_tests::shop;

use crate::World;

impl World {
    /// An analytics-service that knows the gateway. That of the shop started before it.
    async fn analytics(&self) -> Server {
        self.shop.analytics_beside(&self.gateway).await
    }

    /// Orders one of product 1 for user 1, through the gateway.
    async fn order(&self, request_id: &str) -> harness::Got {
        let method = "POST".parse().expect("a method");
        let order = json!({"userId": "1", "productId": "1", "quantity": 1});
        let request = self.gateway.request(method, "/api/orders").json(&order);
        harness::Got::from(request.header("x-request-id", request_id)).await
    }
}

/// The spans of the trace of a request.
async fn spans(analytics: &Server, id: &str) -> Vec<Value> {
    let trace = analytics.get(&format!("/api/analytics/traces/{id}")).await;
    let trace = trace.expect(200);
    assert_eq!(trace["unavailable"], json!([]), "{trace}");
    assert_eq!(trace["requestId"], id, "{trace}");
    trace["spans"].as_array().expect("a list").clone()
}

fn number(span: &Value, field: &str) -> f64 {
    span[field]
        .as_f64()
        .unwrap_or_else(|| panic!("{field} of {span}"))
}

#[tokio::test]
async fn the_xray_of_an_order_has_every_call_where_it_belongs() {
    let world = World::start().await;
    let analytics = world.analytics().await;
    shop::add_user(&world.shop.users, "ada").await;
    shop::add_product(&world.shop.products, json!(1), 5).await;
    world.order("xray-1").await.expect(201);
    let spans = spans(&analytics, "xray-1").await;

    let shape: Vec<_> = spans
        .iter()
        .map(|span| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (
                span["depth"].as_u64(),
                text(&span["service"]),
                text(&span["name"]),
            )
        })
        .collect();
    assert_eq!(spans.len(), 11, "{shape:#?}");
    let row =
        |depth: u64, service: &str, name: &str| (Some(depth), service.to_owned(), name.to_owned());
    assert_eq!(shape[0], row(0, "gateway", "POST /api/orders"));
    assert_eq!(shape[1], row(1, "gateway", "call order-service"));
    assert_eq!(shape[2], row(2, "order-service", "POST /api/orders"));
    assert_eq!(spans[2]["attributes"]["created"], "/api/orders/1");
    // The first two run at the same time, in any order.
    for (service, name, concurrent) in [
        ("user-service", "GET /api/users/{id}", Some(true)),
        ("product-service", "GET /api/products/{id}", Some(true)),
        (
            "product-service",
            "PATCH /api/products/{id}/stock",
            Some(false),
        ),
        (
            "notification-service",
            "POST /api/notifications/send",
            Some(false),
        ),
    ] {
        let at = shape.iter().position(|one| *one == row(4, service, name));
        let at = at.unwrap_or_else(|| panic!("{service} {name}: {shape:#?}"));
        let (call, request) = (&spans[at - 1], &spans[at]);
        assert_eq!(
            shape[at - 1],
            row(3, "order-service", &format!("call {service}"))
        );
        assert_eq!(call["concurrent"].as_bool(), concurrent, "{call}");
        assert_eq!(request["parentId"], call["spanId"]);
        let gap = number(request, "gapMs");
        let outside = number(call, "durationMs") - number(request, "durationMs");
        assert!(
            gap >= 0.0 && (gap - outside).abs() < 5.0,
            "{gap} of {call} and {request}"
        );
    }
    let mut above: Vec<f64> = Vec::new();
    for span in &spans {
        let depth = usize::try_from(span["depth"].as_u64().expect("a depth")).expect("few");
        above.truncate(depth);
        let start = number(span, "offsetMs");
        assert!(above.last().is_none_or(|parent| *parent <= start), "{span}");
        assert_eq!(span["shiftedMs"], 0.0, "one machine has one clock: {span}");
        above.push(start);
    }
}

#[tokio::test]
async fn the_xray_tells_retries_and_calls_that_were_not_made() {
    let world = World::start().await;
    let analytics = world.analytics().await;
    shop::add_user(&world.shop.users, "ada").await;
    shop::add_product(&world.shop.products, json!(1), 5).await;
    let fault = json!([{"route": "GET /api/users/{id}", "kind": "status", "status": 503}]);
    let users = &world.shop.users;
    users.send("PUT", "/lab/faults", fault).await.expect(200);
    let calls = async |id: &str| -> Vec<Value> {
        let spans = spans(&analytics, id).await.into_iter();
        spans
            .filter(|span| span["attributes"]["dependency"] == "user-service")
            .collect()
    };
    world.order("retried").await.expect(503);
    let attempts = calls("retried").await;
    let numbers: Vec<_> = attempts
        .iter()
        .map(|call| call["attributes"]["attempt"].as_u64().expect("a number"))
        .collect();
    assert_eq!(numbers, [1, 2, 3], "{attempts:#?}");
    for two in attempts.windows(2) {
        let end = number(&two[0], "offsetMs") + number(&two[0], "durationMs");
        assert!(
            end <= number(&two[1], "offsetMs") + 0.02,
            "one by one: {two:?}"
        );
    }
    // Until its circuit is open.
    for _ in 0..3 {
        world.order("more").await;
    }
    world.order("not-made").await.expect(503);
    let not_made = calls("not-made").await;
    assert_eq!(not_made.len(), 1, "{not_made:#?}");
    assert_eq!(not_made[0]["attributes"]["notMade"], "circuit_open");
    assert_eq!(not_made[0]["attributes"]["circuit"], "open");
}

#[tokio::test]
async fn the_latest_requests_are_listed_without_those_that_look() {
    let world = World::start().await;
    let analytics = world.analytics().await;
    let gateway = &world.gateway;
    gateway.get("/api/users").await.expect(200);
    gateway.get("/api/products").await.expect(200);
    for _ in 0..2 {
        // Neither leaves a trace, nor do health checks with the calls that they make.
        analytics.get("/api/analytics/traces").await.expect(200);
        world.shop.orders.get("/health/ready").await.expect(200);
    }
    let list = analytics
        .get("/api/analytics/traces?limit=10")
        .await
        .expect(200);
    assert_eq!(list["unavailable"], json!([]));
    let traces = list["traces"].as_array().expect("a list").iter();
    let shown: Vec<_> = traces
        .map(|one| {
            assert_eq!(
                (&one["service"], &one["errors"]),
                (&json!("gateway"), &json!(0))
            );
            (
                one["name"].clone(),
                one["spans"].clone(),
                one["services"].clone(),
            )
        })
        .collect();
    let row = |path: &str, service: &str| {
        let services = json!(["gateway", service]);
        (json!(format!("GET {path}")), json!(3), services)
    };
    assert_eq!(
        shown,
        [
            row("/api/products", "product-service"),
            row("/api/users", "user-service")
        ]
    );
    // That of the shop does not know the gateway.
    let list = world.shop.analytics.get("/api/analytics/traces").await;
    let list = list.expect(200);
    assert_eq!(list["traces"][0]["service"], "product-service", "{list}");
}
