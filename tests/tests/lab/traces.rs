//! The X-ray of requests to a real shop.

use chassis::testkit::{Server, Stub};
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

    /// The same with a gateway that takes turns between the instances of user-service at `urls`.
    async fn with_users_at(self, urls: &str) -> Self {
        let settings = [
            ("LAB_MODE", "on"),
            ("USER_SERVICE_URL", urls),
            ("BALANCE", "round_robin"),
            ("CACHE_TTL_MS", "60000"),
        ];
        let gateway = self.shop.gateway_that(&settings).await;
        Self { gateway, ..self }
    }
}

/// The URLs of these instances of a service.
fn urls(servers: [&Server; 2]) -> String {
    let urls = servers.map(|server| server.upstream_url().as_str().to_owned());
    urls.join(",")
}

/// Sends a GET with this id.
async fn get_as(gateway: &Server, path: &str, request_id: &str) -> harness::Got {
    let method = "GET".parse().expect("a method");
    let request = gateway.request(method, path);
    harness::Got::from(request.header("x-request-id", request_id)).await
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

/// The calls of the gateway in an X-ray, each with the service, the status and the kind of what is
/// below it.
fn forwarded(spans: &[Value]) -> Vec<(Value, Vec<Value>)> {
    let calls = spans
        .iter()
        .filter(|span| (&span["service"], &span["kind"]) == (&json!("gateway"), &json!("client")));
    let below = |call: &Value| {
        let below = spans.iter().filter(|one| one["parentId"] == call["spanId"]);
        let shown = below.map(|one| json!([one["service"], one["kind"], one["status"]]));
        shown.collect()
    };
    calls.map(|call| (call.clone(), below(call))).collect()
}

#[tokio::test]
async fn the_xray_tells_each_attempt_of_what_the_gateway_forwards() {
    let world = World::start().await;
    let other = shop::users_with_lab().await;
    for users in [&world.shop.users, &other] {
        shop::add_user(users, "ada").await;
    }
    let both = urls([&world.shop.users, &other]);
    let world = world.with_users_at(&both).await;
    let analytics = world.analytics().await;
    let fault = json!([{"route": "GET /api/users/{id}", "kind": "close"}]);
    other.send("PUT", "/lab/faults", fault).await.expect(200);
    let mut repeated = Vec::new();
    for number in 0..2 {
        let id = format!("forwarded-{number}");
        get_as(&world.gateway, "/api/users/1", &id)
            .await
            .expect(200);
        let calls = forwarded(&spans(&analytics, &id).await);
        if calls.len() > 1 {
            repeated.push(calls);
        }
    }
    assert_eq!(repeated.len(), 1, "they take turns: {repeated:#?}");
    let [(first, at_first), (second, at_second)] = &repeated[0][..] else {
        panic!("{repeated:#?}");
    };
    let attributes = |attempt: u32| json!({"dependency": "user-service", "attempt": attempt});
    let mut broken = attributes(1);
    broken["failure"] = json!("broken");
    assert_eq!(
        (&first["attributes"], &first["status"]),
        (&broken, &json!(null))
    );
    assert_eq!(
        (&second["attributes"], &second["status"]),
        (&attributes(2), &json!(200))
    );
    // Without a response: its connection was closed.
    assert_eq!(*at_first, [json!(["user-service", "server", 444])]);
    assert_eq!(*at_second, [json!(["user-service", "server", 200])]);
    let end = number(first, "offsetMs") + number(first, "durationMs");
    assert!(end <= number(second, "offsetMs") + 0.02, "one by one");

    // Nobody is there.
    let refusing = Stub::refusing().await;
    let world = world.with_users_at(refusing.url().as_str()).await;
    let analytics = world.analytics().await;
    get_as(&world.gateway, "/api/users/1", "refused")
        .await
        .expect(503);
    let calls = forwarded(&spans(&analytics, "refused").await);
    assert_eq!(calls.len(), 2, "{calls:#?}");
    for ((call, below), attempt) in calls.iter().zip(1..) {
        let mut unreachable = attributes(attempt);
        unreachable["failure"] = json!("unreachable");
        assert_eq!(call["attributes"], unreachable);
        assert!(below.is_empty(), "{below:?}");
    }
}

#[tokio::test]
async fn an_answer_from_the_cache_is_no_call() {
    let world = World::start().await;
    let users = world.shop.users.upstream_url();
    let world = world.with_users_at(users.as_str()).await;
    let analytics = world.analytics().await;
    for (id, calls) in [("missed", 1), ("hit", 0)] {
        get_as(&world.gateway, "/api/products", id)
            .await
            .expect(200);
        let found = forwarded(&spans(&analytics, id).await);
        assert_eq!(found.len(), calls, "{id}: {found:#?}");
    }
}

#[tokio::test]
async fn the_xray_has_the_spans_of_every_instance_and_names_those_that_are_missing() {
    let world = World::start().await;
    let other = shop::users_with_lab().await;
    let both = urls([&world.shop.users, &other]);
    let world = world.with_users_at(&both).await;
    let analytics = world.analytics().await;
    for users in [&world.shop.users, &other] {
        shop::add_user(users, "ada").await;
    }
    shop::add_product(&world.shop.products, json!(1), 5).await;
    let ids: Vec<_> = (0..6).map(|number| format!("get-{number}")).collect();
    for id in &ids {
        get_as(&world.gateway, "/api/users/1", id).await.expect(200);
    }
    world.order("order-1").await.expect(201);

    let mut at_other = Vec::new();
    for id in &ids {
        let calls = forwarded(&spans(&analytics, id).await);
        let below: Vec<_> = calls.into_iter().map(|(_, below)| below).collect();
        assert_eq!(below, [[json!(["user-service", "server", 200])]], "{id}");
        let path = format!("/lab/spans?trace={id}");
        let there = other.get(&path).await.expect(200);
        at_other.extend((there != json!([])).then_some(id));
    }
    assert_eq!(at_other.len(), 3, "they take turns");
    assert_eq!(spans(&analytics, "order-1").await.len(), 11);
    let list = analytics.get("/api/analytics/traces").await.expect(200);
    assert_eq!(list["unavailable"], json!([]));
    for one in list["traces"].as_array().expect("a list") {
        if one["name"] == "GET /api/users/{id}" {
            assert_eq!(one["spans"], 3, "{one}");
        }
    }

    let place = other.address();
    other.stop().await;
    let missing = json!([format!("user-service ({place})")]);
    let path = format!("/api/analytics/traces/{}", at_other[0]);
    let trace = analytics.get(&path).await.expect(200);
    assert_eq!(trace["unavailable"], missing);
    assert_eq!(trace["spans"].as_array().map(Vec::len), Some(2), "{trace}");
    let list = analytics.get("/api/analytics/traces").await.expect(200);
    assert_eq!(list["unavailable"], missing);
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
