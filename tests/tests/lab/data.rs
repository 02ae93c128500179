//! Reset, seed and clock.

use std::time::{Duration, Instant};

use harness::TIMEOUT;
use harness::raw::{Connection, State, request};
use serde_json::{Value, json};
use shop_tests::faults::Faults;
use shop_tests::shop::Shop;

use tokio::time::sleep;

use crate::World;

const NOTHING: Duration = Duration::from_millis(300);

fn count(list: &Value) -> usize {
    list.as_array().expect("a list").len()
}

/// Seeds the services, in this order.
async fn seed(shop: &Shop) {
    for service in shop.services() {
        service
            .server
            .post("/lab/seed", json!({}))
            .await
            .expect(200);
    }
}

/// Every record of the shop, without its times.
async fn records(shop: &Shop) -> Vec<Value> {
    let mut all = Vec::new();
    for (server, path) in [
        (&shop.users, "/api/users"),
        (&shop.products, "/api/products"),
        (&shop.orders, "/api/orders"),
        (&shop.notifications, "/api/notifications"),
    ] {
        let mut list = server.get(path).await.expect(200);
        for record in list.as_array_mut().expect("a list") {
            let record = record.as_object_mut().expect("a record");
            record.retain(|field, _| !field.ends_with("At"));
        }
        all.push(list);
    }
    all
}

#[tokio::test]
async fn a_seed_is_always_the_same_and_its_ids_agree() {
    let shop = Shop::start_lab().await;
    seed(&shop).await;
    let first = records(&shop).await;
    let [users, products, orders, notifications] = &first[..] else {
        panic!("four lists");
    };
    assert_eq!(users[0]["name"], "Ada Lovelace", "{users}");
    assert_eq!(count(users), 3);
    for order in orders.as_array().expect("a list") {
        for (list, field) in [(users, "userId"), (products, "productId")] {
            let known = list.as_array().expect("a list").iter();
            let mut known = known.filter(|one| one["id"] == order[field]);
            let found = known.next().expect("a record that an order names");
            if field == "productId" {
                assert_eq!(found["price"], order["unitPrice"], "{order}");
            }
        }
        let of_order = format!("Your order #{} has", order["id"].as_str().expect("an id"));
        let mut told = notifications.as_array().expect("a list").iter();
        let told = told.find(|one| {
            one["message"]
                .as_str()
                .expect("text")
                .starts_with(&of_order)
        });
        assert_eq!(told.expect("its notification")["userId"], order["userId"]);
    }
    let sellers = products.as_array().expect("a list").iter();
    assert!(
        sellers
            .map(|one| &one["sellerId"])
            .all(|seller| *seller == users[0]["id"])
    );

    for service in &shop.services()[..4] {
        let again = service.server.post("/lab/seed", json!({})).await;
        again.expect_error(409, "conflict");
        service
            .server
            .post("/lab/reset", json!({}))
            .await
            .expect(200);
    }
    let empty = records(&shop).await;
    assert!(empty.iter().all(|list| *list == json!([])), "{empty:?}");
    seed(&shop).await;
    assert_eq!(records(&shop).await, first);
    let user = json!({"name": "Edsger", "email": "edsger@example.com"});
    let user = shop.users.post("/api/users", user).await.expect(201);
    assert_eq!(user["id"], "4", "ids go on after the seed");
    let stats = shop.orders.get("/api/orders/stats").await.expect(200);
    assert_eq!(stats["cancelled"], 1, "{stats}");
}

#[tokio::test]
async fn a_reset_makes_a_service_as_new() {
    let world = World::start().await;
    let users = &world.shop.users;
    let key = |n: u32| {
        let method = "POST".parse().expect("a method");
        let body = json!({"name": "Ada", "email": format!("ada-{n}@example.com")});
        let request = users.request(method, "/api/users").json(&body);
        harness::Got::from(request.header("idempotency-key", "one"))
    };
    assert_eq!(key(1).await.expect(201)["id"], "1");
    users
        .send("DELETE", "/api/users/1", json!({}))
        .await
        .expect(200);
    let fault = json!([{"route": "/api/users/{id}", "kind": "close"}]);
    users.send("PUT", "/lab/faults", fault).await.expect(200);
    users
        .post("/lab/clock", json!({"forward": "PT1H"}))
        .await
        .expect(200);

    users.post("/lab/reset", json!({})).await.expect(200);
    assert_eq!(users.get("/api/users").await.expect(200), json!([]));
    assert_eq!(users.get("/lab/faults").await.expect(200), json!([]));
    // The key is free for another change, and the ids begin again.
    let again = key(2).await;
    assert_eq!(again.header("idempotency-replayed"), "");
    assert_eq!(again.expect(201)["id"], "1");
    let clock = users.post("/lab/clock", json!({"forward": "PT1M"})).await;
    assert_eq!(
        clock.expect(200),
        json!({"ahead": "PT1M"}),
        "it was moved back"
    );
}

#[tokio::test]
async fn a_reset_waits_for_what_is_in_flight_and_ends_what_hangs() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let (server, path) = (subject.server, subject.path);
        let fault = json!([{"route": path, "kind": "hang"}]);
        server.send("PUT", "/lab/faults", fault).await.expect(200);
        let mut hanging = Connection::open(server.address()).await;
        let sent = hanging.send(&request("GET", path, &[], b"")).await;
        sent.expect("it is sent");
        faults.expect("it hangs", hanging.until_closed(NOTHING).await, State::Open);
        let begun = Instant::now();
        server.post("/lab/reset", json!({})).await.expect(200);
        faults.expect("at once", begun.elapsed() < Duration::from_secs(4), true);
        let state = hanging.until_closed(TIMEOUT).await;
        faults.expect("it is ended", state != State::Open, true);
    }
    faults.finish();

    // The order calls a slow service. Its reset waits, and then the order is gone with the rest.
    let shop = &world.shop;
    for service in [&shop.users, &shop.products, &shop.orders] {
        service.post("/lab/reset", json!({})).await.expect(200);
        service.post("/lab/seed", json!({})).await.expect(200);
    }
    let slow = json!([{"route": "*", "kind": "latency", "ms": 1000}]);
    shop.users
        .send("PUT", "/lab/faults", slow)
        .await
        .expect(200);
    let body = br#"{"userId":"1","productId":"1","quantity":1}"#;
    let headers = [("content-type", "application/json")];
    let mut client = Connection::open(shop.orders.address()).await;
    let sent = client
        .send(&request("POST", "/api/orders", &headers, body))
        .await;
    sent.expect("it is sent");
    let deadline = Instant::now() + TIMEOUT;
    while shop.users.get("/lab/faults").await.expect(200)[0]["hit"] != 1 {
        assert!(Instant::now() < deadline, "the order does not arrive");
    }
    // It goes on without its client, and the reset waits for it.
    drop(client);
    let begun = Instant::now();
    shop.orders.post("/lab/reset", json!({})).await.expect(200);
    assert!(begun.elapsed() >= NOTHING, "{:?}", begun.elapsed());
    assert_eq!(shop.orders.get("/api/orders").await.expect(200), json!([]));
    shop.orders.post("/lab/seed", json!({})).await.expect(200);
}

#[tokio::test]
async fn a_reset_gives_up_waiting_after_five_seconds() {
    let world = World::start().await;
    let users = &world.shop.users;
    let body = json!({"name": "Ada", "email": "ada@example.com"});
    users.post("/api/users", body).await.expect(201);
    // A body that does not arrive keeps its request in flight.
    let mut slow = Connection::open(users.address()).await;
    let headers = [
        ("content-type", "application/json"),
        ("content-length", "100"),
    ];
    let sent = slow
        .send(&request("POST", "/api/users", &headers, b"{"))
        .await;
    sent.expect("it is sent");
    let text = async || {
        let metrics = users.request("GET".parse().expect("a method"), "/metrics");
        String::from_utf8(harness::Got::from(metrics).await.body).expect("text")
    };
    let deadline = Instant::now() + TIMEOUT;
    // This request and the slow one.
    while !text()
        .await
        .lines()
        .any(|line| line.starts_with("http_requests_in_flight") && line.ends_with(" 2"))
    {
        assert!(
            Instant::now() < deadline,
            "the slow request does not arrive"
        );
        sleep(Duration::from_millis(20)).await;
    }
    let begun = Instant::now();
    users.post("/lab/reset", json!({})).await.expect(200);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(4_500), "{took:?}");
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert_eq!(users.get("/api/users").await.expect(200), json!([]));
}

#[tokio::test]
async fn the_clock_makes_keys_expire_and_changes_no_timestamp() {
    let world = World::start().await;
    let users = &world.shop.users;
    let create = || {
        let method = "POST".parse().expect("a method");
        let body = json!({"name": "Ada", "email": "ada@example.com"});
        let request = users.request(method, "/api/users").json(&body);
        harness::Got::from(request.header("idempotency-key", "one"))
    };
    create().await.expect(201);
    users
        .post("/lab/clock", json!({"forward": "PT5M"}))
        .await
        .expect(200);
    assert_eq!(create().await.header("idempotency-replayed"), "true");
    let ahead = users.post("/lab/clock", json!({"forward": "PT10M"})).await;
    assert_eq!(ahead.expect(200), json!({"ahead": "PT15M"}));
    // The key is forgotten, so the change is made again: the email is taken.
    create().await.expect_error(409, "conflict");
    let health = users.get("/health").await.expect(200);
    let created = users.get("/api/users/1").await.expect(200);
    let minute = |text: &Value| text.as_str().expect("a time")[..13].to_owned();
    assert_eq!(minute(&health["time"]), minute(&created["createdAt"]));

    for bad in ["", "15", "PT0S", "-PT1M", "P1Y", "yesterday"] {
        let got = users.post("/lab/clock", json!({"forward": bad})).await;
        let sentence = got.expect_error(400, "validation_failed");
        assert!(
            sentence.starts_with("forward must be a time such as PT15M"),
            "{bad}: {sentence}"
        );
    }
    users
        .post("/lab/clock", json!({}))
        .await
        .expect_error(400, "validation_failed");
    let far = users
        .post("/lab/clock", json!({"forward": "PT9000H"}))
        .await;
    far.expect_error(409, "conflict");
}

#[tokio::test]
async fn the_gateway_reaches_the_lab_of_one_instance() {
    let world = World::start().await;
    let other = Shop::start_lab().await;
    let servers = [&world.shop.analytics, &other.analytics];
    let places = servers.map(|server| server.address().to_string());
    let urls = servers.map(|server| server.upstream_url().as_str().to_owned());
    let both = urls.join(",");
    let settings = [("LAB_MODE", "on"), ("ANALYTICS_SERVICE_URL", &*both)];
    let gateway = world.shop.gateway_that(&settings).await;
    let fault = json!([{"route": "*", "kind": "status", "status": 500}]);
    for (n, place) in places.iter().enumerate() {
        let path = format!("/lab/analytics-service/{place}/faults");
        let set = gateway.send("PUT", &path, fault.clone()).await;
        set.expect(200);
        for (m, server) in servers.into_iter().enumerate() {
            let faults = server.get("/lab/faults").await.expect(200);
            assert_eq!(count(&faults), usize::from(m == n), "{place}");
        }
        assert_eq!(count(&gateway.get(&path).await.expect(200)), 1);
        let spans = format!("/lab/analytics-service/{place}/spans?limit=1");
        gateway.get(&spans).await.expect(200);
        let reset = format!("/lab/analytics-service/{place}/reset");
        gateway.post(&reset, json!({})).await.expect(200);
        assert_eq!(gateway.get(&path).await.expect(200), json!([]));
    }
    for unknown in ["127.0.0.1:1", "fault"] {
        let path = format!("/lab/analytics-service/{unknown}/faults");
        let sentence = gateway.get(&path).await.expect_error(404, "not_found");
        for place in &places {
            assert!(sentence.contains(place.as_str()), "{sentence}");
        }
    }
    let lost = gateway.get("/lab/user-service/127.0.0.1:1/faults").await;
    let sentence = lost.expect_error(404, "not_found");
    let there = world.shop.users.address();
    let expected = format!("user-service has no instance \"127.0.0.1:1\"; there are {there}");
    assert_eq!(sentence, expected);
    // An instance has no routes but those of its lab.
    for place in [there.to_string(), format!("{there}/users")] {
        let path = format!("/lab/user-service/{place}");
        gateway.get(&path).await.expect_error(404, "not_found");
    }
}

#[tokio::test]
async fn a_read_of_a_lab_is_never_from_the_cache() {
    let world = World::start().await;
    let path = "/lab/product-service/faults";
    assert_eq!(world.gateway.get(path).await.expect(200), json!([]));
    let fault = json!([{"route": "*", "kind": "status", "status": 500}]);
    let set = world.shop.products.send("PUT", "/lab/faults", fault).await;
    set.expect(200);
    assert_eq!(count(&world.gateway.get(path).await.expect(200)), 1);
}

#[tokio::test]
async fn the_gateway_reaches_the_lab_of_each_service() {
    let world = World::start().await;
    let World { shop, gateway } = &world;
    for service in shop.services() {
        let path = format!("/lab/{}/seed", service.name);
        gateway.post(&path, json!({})).await.expect(200);
        let path = format!("/lab/{}/faults", service.name);
        let fault = json!([{"route": "*", "kind": "status", "status": 500}]);
        gateway.send("PUT", &path, fault).await.expect(200);
        let shown = gateway.get(&path).await.expect(200);
        assert_eq!(shown[0]["status"], 500, "{}", service.name);
        assert_eq!(
            count(&service.server.get("/lab/faults").await.expect(200)),
            1
        );
        // The gateway's own faults do not keep anybody from mending a service.
        let all = json!([{"route": "*", "kind": "status", "status": 503}]);
        gateway.send("PUT", "/lab/faults", all).await.expect(200);
        gateway.send("DELETE", &path, json!({})).await.expect(200);
        gateway
            .send("DELETE", "/lab/faults", json!({}))
            .await
            .expect(200);
        assert_eq!(
            service.server.get("/lab/faults").await.expect(200),
            json!([])
        );
    }
    for unknown in [
        "/lab/payment-service/faults",
        "/lab/user-service",
        "/lab/user-servicex/faults",
    ] {
        gateway.get(unknown).await.expect_error(404, "not_found");
    }

    // A reset through the gateway is seen through the gateway.
    assert_eq!(count(&gateway.get("/api/products").await.expect(200)), 3);
    gateway
        .post("/lab/product-service/reset", json!({}))
        .await
        .expect(200);
    assert_eq!(gateway.get("/api/products").await.expect(200), json!([]));
    // One that passes the gateway by is seen after its own reset.
    shop.products.post("/lab/seed", json!({})).await.expect(200);
    gateway.post("/lab/reset", json!({})).await.expect(200);
    assert_eq!(count(&gateway.get("/api/products").await.expect(200)), 3);
}
