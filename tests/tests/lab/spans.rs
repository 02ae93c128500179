//! Spans: what a service remembers of its requests and calls.

use serde_json::{Value, json};
use shop_tests::faults::Faults;

use crate::World;

#[tokio::test]
async fn an_order_is_in_the_spans_of_each_service_that_it_touches() {
    let world = World::start().await;
    let shop = &world.shop;
    for service in shop.services() {
        service
            .server
            .post("/lab/seed", json!({}))
            .await
            .expect(200);
    }
    let method = "POST".parse().expect("a method");
    let order = json!({"userId": "1", "productId": "1", "quantity": 1});
    let request = world.gateway.request(method, "/api/orders").json(&order);
    let request = request.header("x-request-id", "lab-order-1");
    harness::Got::from(request).await.expect(201);

    let spans = async |server: &chassis::testkit::Server| -> Vec<Value> {
        let list = server.get("/lab/spans?trace=lab-order-1").await.expect(200);
        list.as_array().expect("a list").clone()
    };
    let of_orders = spans(&shop.orders).await;
    let served = of_orders.iter().find(|span| span["kind"] == "server");
    let served = served.expect("the request");
    assert_eq!(served["name"], "POST /api/orders", "{served}");
    assert_eq!(served["attributes"]["route"], "/api/orders", "{served}");
    assert_eq!(
        (&served["status"], &served["service"]),
        (&json!(201), &json!("order-service"))
    );
    let calls: Vec<_> = of_orders
        .iter()
        .filter(|span| span["kind"] == "client")
        .collect();
    assert_eq!(calls.len(), 4, "{of_orders:?}");
    for call in &calls {
        assert_eq!(call["parentId"], served["spanId"], "{call}");
        assert_eq!(call["traceId"], served["traceId"], "{call}");
        assert_eq!(call["attributes"]["attempt"], 1, "{call}");
        assert_eq!(call["attributes"]["circuit"], "closed", "{call}");
        assert!(
            call["durationMs"].as_f64() <= served["durationMs"].as_f64(),
            "{call}"
        );
    }
    for (server, name) in [
        (&shop.users, "user-service"),
        (&shop.products, "product-service"),
        (&shop.notifications, "notification-service"),
    ] {
        let spans = spans(server).await;
        let parents = calls
            .iter()
            .filter(|call| call["attributes"]["dependency"] == name);
        let parents: Vec<_> = parents.map(|call| &call["spanId"]).collect();
        assert_eq!(spans.len(), parents.len(), "{name}: {spans:?}");
        for span in &spans {
            assert!(parents.contains(&&span["parentId"]), "{name}: {span}");
        }
    }
    let of_gateway = spans(&world.gateway).await;
    assert_eq!(of_gateway.len(), 2, "{of_gateway:?}");
    // The call ends first.
    let (call, asked) = (&of_gateway[0], &of_gateway[1]);
    assert_eq!(call["spanId"], served["parentId"]);
    assert_eq!(call["parentId"], asked["spanId"]);
    let attributes = json!({"dependency": "order-service", "attempt": 1});
    assert_eq!(
        call["attributes"], attributes,
        "what is forwarded has no circuit"
    );

    // By the id of the trace, too.
    let trace = served["traceId"].as_str().expect("an id");
    let path = format!("/lab/spans?trace={trace}");
    assert_eq!(
        shop.orders.get(&path).await.expect(200),
        Value::from(of_orders)
    );
}

#[tokio::test]
async fn a_span_tells_why_a_call_failed_or_was_not_made() {
    let world = World::start().await;
    let shop = &world.shop;
    let fault = json!([{"route": "*", "kind": "close"}]);
    shop.users
        .send("PUT", "/lab/faults", fault)
        .await
        .expect(200);
    let order = json!({"userId": "1", "productId": "1", "quantity": 1});
    for _ in 0..4 {
        shop.orders.post("/api/orders", order.clone()).await;
    }
    let spans = shop.orders.get("/lab/spans").await.expect(200);
    let calls = spans.as_array().expect("a list").iter();
    let calls: Vec<_> = calls
        .filter(|span| span["attributes"]["dependency"] == "user-service")
        .collect();
    let any = |test: &dyn Fn(&Value) -> bool| calls.iter().any(|call| test(call));
    assert!(any(
        &|call| call["attributes"]["failure"] == "broken" && call["status"].is_null()
    ));
    assert!(any(&|call| call["attributes"]["attempt"] == 2), "a retry");
    assert!(
        any(&|call| call["attributes"]["notMade"] == "circuit_open" && call["status"].is_null()),
        "{calls:?}"
    );
}

#[tokio::test]
async fn spans_can_be_read_on_from_a_number() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let server = subject.server;
        let numbers = async |query: &str| -> Vec<u64> {
            let list = server.get(&format!("/lab/spans{query}")).await.expect(200);
            let spans = list.as_array().expect("a list").iter();
            spans
                .map(|span| span["number"].as_u64().expect("a number"))
                .collect()
        };
        let before = numbers("").await.last().copied().unwrap_or(0);
        for _ in 0..3 {
            server.get(subject.path).await.expect(200);
            // None of these.
            server.get("/health").await.expect(200);
            server.get("/health/ready").await.expect(200);
        }
        let after = |count: usize| -> Vec<u64> { (before + 1..).take(count).collect() };
        // The gateway calls a service for what it forwards.
        let is_forwarded = subject.name == "gateway" && subject.path != "/";
        let all = if is_forwarded { 6 } else { 3 };
        faults.expect(
            "all",
            numbers(&format!("?after={before}")).await,
            after(all),
        );
        faults.expect(
            "two",
            numbers(&format!("?after={before}&limit=2")).await,
            after(2),
        );
        for bad in ["?limit=0", "?limit=4097", "?after=x"] {
            let got = server.get(&format!("/lab/spans{bad}")).await;
            faults.expect(bad, got.status, 400);
        }
    }
    faults.finish();
}

#[tokio::test]
async fn the_span_of_a_request_that_created_a_record_says_where_it_is() {
    let world = World::start().await;
    let shop = &world.shop;
    let user = json!({"name": "Ada", "email": "ada@example.com"});
    let product = json!({"name": "Kettle", "price": 1, "stock": 5});
    let order = json!({"userId": "1", "productId": "1", "quantity": 1});
    let notification = json!({"userId": "1", "type": "email", "message": "Hello"});
    let mut faults = Faults::default();
    for (server, path, body) in [
        (&shop.users, "/api/users", user.clone()),
        (&shop.products, "/api/products", product),
        (&shop.orders, "/api/orders", order),
        (&shop.notifications, "/api/notifications/send", notification),
        (
            &world.gateway,
            "/api/users",
            json!({"name": "Bo", "email": "bo@example.com"}),
        ),
    ] {
        let got = server.post(path, body).await;
        let location = got.header("location").to_owned();
        got.expect(201);
        // One that creates nothing, and one that is refused.
        server.get("/api/users").await;
        server.post(path, json!({})).await;
        let spans = server.get("/lab/spans").await.expect(200);
        let spans = spans.as_array().expect("a list").iter();
        let created: Vec<_> = spans
            .filter_map(|span| span["attributes"]["created"].as_str())
            .map(ToOwned::to_owned)
            .collect();
        faults.expect(path, created.last().cloned(), Some(location));
    }
    faults.finish();
}
