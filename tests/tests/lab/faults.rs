//! Faults: what a client sees of each kind, for whom, how often and for how long.

use std::time::{Duration, Instant};

use chassis::testkit::Server;
use futures_util::future::join_all;
use harness::TIMEOUT;
use harness::raw::{Connection, State, request};
use serde_json::{Value, json};
use shop_tests::faults::Faults;
use tokio::time::{sleep, timeout};

use crate::{Subject, World};

/// How long a hanging request is watched.
const SILENCE: Duration = Duration::from_millis(300);

async fn set(server: &Server, faults: Value) {
    server.send("PUT", "/lab/faults", faults).await.expect(200);
}

/// All that arrives for a GET of `path`, and the end of the connection.
async fn raw(server: &Server, path: &str) -> (String, State) {
    let mut connection = Connection::open(server.address()).await;
    let sent = connection.send(&request("GET", path, &[], b"")).await;
    sent.expect("it is sent");
    let state = connection.until_closed(TIMEOUT).await;
    let rest = connection.rest().await.unwrap_or_default();
    (String::from_utf8_lossy(&rest).into_owned(), state)
}

/// The number of requests to `path` that were answered with `status`, by the metrics.
async fn counted(subject: &Subject<'_>, status: u16) -> u64 {
    let metrics = harness::Got::from(
        subject
            .server
            .request("GET".parse().expect("a method"), "/metrics"),
    );
    let text = String::from_utf8(metrics.await.body).expect("text");
    let labels = [
        format!("route=\"{}\"", subject.path),
        format!("status=\"{status}\""),
    ];
    let line = text.lines().find(|line| {
        line.starts_with("http_requests_total") && labels.iter().all(|label| line.contains(label))
    });
    let number = line.and_then(|line| line.rsplit(' ').next());
    number.map_or(0, |number| number.parse().expect("a number"))
}

#[tokio::test]
async fn a_client_sees_what_each_kind_of_fault_says() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        let Subject {
            name,
            framework,
            server,
            path,
        } = subject;
        faults.of(name, framework);
        let one = async |mut fault: Value| {
            fault["route"] = json!(format!("GET {path}"));
            set(server, json!([fault])).await;
        };
        server.get(path).await.expect(200);

        one(json!({"kind": "latency", "ms": 300})).await;
        let begun = Instant::now();
        let got = server.get(path).await;
        faults.expect("latency", got.status, 200);
        faults.expect(
            "it took long",
            begun.elapsed() >= Duration::from_millis(300),
            true,
        );
        let begun = Instant::now();
        for never in ["/health", "/metrics", "/lab/faults"] {
            let request = server.request("GET".parse().expect("a method"), never);
            faults.expect(never, harness::Got::from(request).await.status, 200);
        }
        faults.expect(
            "not these",
            begun.elapsed() < Duration::from_millis(300),
            true,
        );

        one(json!({"kind": "status", "status": 503})).await;
        let before = counted(&subject, 503).await;
        let got = server.get(path).await;
        faults.expect(
            "retry-after",
            got.header("retry-after").to_owned(),
            "1".to_owned(),
        );
        let sentence = got.expect_error(503, "fault");
        faults.expect("it says so", sentence.contains("A fault of the lab"), true);
        faults.expect("in the metrics", counted(&subject, 503).await, before + 1);

        one(json!({"kind": "close"})).await;
        let (all, state) = raw(server, path).await;
        faults.expect("close: nothing comes", all, String::new());
        faults.expect("close: the end", state != State::Open, true);
        faults.expect("in the metrics", counted(&subject, 444).await, 1);

        one(json!({"kind": "close", "when": "middle"})).await;
        let (half, state) = raw(server, path).await;
        faults.expect("middle: the head", half.starts_with("HTTP/1.1 200"), true);
        let body = half.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        faults.expect(
            "middle: a part",
            !body.is_empty() && !body.ends_with("0\r\n\r\n"),
            true,
        );
        faults.expect("middle: the end", state != State::Open, true);

        one(json!({"kind": "garbage"})).await;
        let got = server.get(path).await;
        let kind = got.header("content-type").to_owned();
        faults.expect(
            "garbage",
            (got.status, kind),
            (200, "application/json".to_owned()),
        );
        let parsed = serde_json::from_slice::<Value>(&got.body);
        faults.expect("garbage is not JSON", parsed.is_err(), true);

        one(json!({"kind": "garbage", "body": "json"})).await;
        let got = server.get(path).await.expect(200);
        faults.expect("another shape", got["unexpected"].is_array(), true);

        one(json!({"kind": "truncate"})).await;
        let got = server.get(path).await;
        let parsed = serde_json::from_slice::<Value>(&got.body);
        faults.expect("truncated", (got.status, got.body.is_empty()), (200, false));
        faults.expect("truncated is not JSON", parsed.is_err(), true);

        one(json!({"kind": "hang"})).await;
        let mut hanging = Connection::open(server.address()).await;
        let sent = hanging.send(&request("GET", path, &[], b"")).await;
        sent.expect("it is sent");
        faults.expect("it hangs", hanging.until_closed(SILENCE).await, State::Open);
        let mended = server.send("DELETE", "/lab/faults", json!({})).await;
        faults.expect("mended", mended.expect(200), json!([]));
        let state = hanging.until_closed(TIMEOUT).await;
        faults.expect("it is let go", state != State::Open, true);
        let rest = hanging.rest().await.unwrap_or_default();
        faults.expect("without a response", rest.len(), 0);
        faults.expect("as before", server.get(path).await.status, 200);
    }
    faults.finish();
}

#[tokio::test]
async fn a_fault_that_says_so_loses_the_response_and_not_the_change() {
    let world = World::start().await;
    let users = &world.shop.users;
    for kind in [
        json!({"kind": "close", "when": "middle"}),
        json!({"kind": "truncate"}),
    ] {
        let mut fault = kind;
        fault["route"] = json!("POST /api/users");
        set(users, json!([fault])).await;
        let before = users.get("/api/users").await.expect(200);
        let body = json!({"name": "Ada", "email": format!("{}@example.com", fault["kind"].as_str().expect("text"))});
        let method = "POST".parse().expect("a method");
        let sent = users.request(method, "/api/users").json(&body).send().await;
        let lost = match sent {
            Ok(response) => response.json::<Value>().await.is_err(),
            Err(_) => true,
        };
        assert!(lost, "no whole response");
        let after = users.get("/api/users").await.expect(200);
        let count = |list: &Value| list.as_array().expect("a list").len();
        assert_eq!(count(&after), count(&before) + 1, "{fault}");
    }
}

#[tokio::test]
async fn a_route_is_one_a_method_of_one_or_all() {
    let world = World::start().await;
    let users = &world.shop.users;
    let body = |name: &str| json!({"name": name, "email": format!("{name}@example.com")});
    users.post("/api/users", body("ada")).await.expect(201);
    for (route, [list, one, post]) in [
        ("*", [503, 503, 503]),
        ("/api/users", [503, 200, 503]),
        ("GET /api/users", [503, 200, 201]),
        ("/api/users/{id}", [200, 503, 201]),
        ("GET /api/users/{id}", [200, 503, 201]),
        ("DELETE /api/users/{id}", [200, 200, 201]),
    ] {
        set(
            users,
            json!([{"route": route, "kind": "status", "status": 503}]),
        )
        .await;
        let got = [
            users.get("/api/users").await.status,
            users.get("/api/users/1").await.status,
            users
                .post(
                    "/api/users",
                    body(&route.replace([' ', '/', '*', '{', '}'], "x")),
                )
                .await
                .status,
        ];
        assert_eq!(got, [list, one, post], "{route}");
        let head = users.request("HEAD".parse().expect("a method"), "/api/users");
        assert_eq!(
            head.send().await.expect("an answer").status(),
            200,
            "HEAD is spared"
        );
    }
}

/// The statuses of so many requests, one after the other.
async fn sequence(server: &Server, path: &str, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(server.get(path).await.status);
    }
    statuses
}

#[tokio::test]
async fn which_requests_are_hit_follows_from_the_seed_and_their_number_alone() {
    const COUNT: usize = 40;
    let world = World::start().await;
    let fault = |seed: u32| json!([{"route": "/api/users", "kind": "status", "status": 500, "share": 0.3, "seed": seed}]);
    let users = &world.shop.users;
    set(users, fault(7)).await;
    let first = sequence(users, "/api/users", COUNT).await;
    let hits = first.iter().filter(|status| **status == 500).count();
    assert!((5..=20).contains(&hits), "30 % of 40 are about 12: {hits}");

    // Other requests, and another fault, change nothing.
    let mut two = fault(7);
    let other = json!({"route": "/api/users/{id}", "kind": "status", "status": 500, "share": 0.5});
    two.as_array_mut().expect("a list").insert(0, other);
    set(users, two).await;
    let mut second = Vec::new();
    for _ in 0..COUNT {
        users.get("/api/users/1").await;
        users.get("/health").await.expect(200);
        second.push(users.get("/api/users").await.status);
    }
    assert_eq!(first, second);

    // Nor does the service, or its framework.
    let orders = &world.shop.orders;
    let mut same = fault(7);
    same[0]["route"] = json!("/api/orders");
    set(orders, same).await;
    assert_eq!(sequence(orders, "/api/orders", COUNT).await, first);

    set(users, fault(8)).await;
    assert_ne!(
        sequence(users, "/api/users", COUNT).await,
        first,
        "another seed"
    );

    // Who of many concurrent requests is which is open; how many are hit is not.
    set(users, fault(7)).await;
    let all = join_all((0..COUNT).map(|_| users.get("/api/users"))).await;
    let concurrent = all.iter().filter(|got| got.status == 500).count();
    assert_eq!(concurrent, hits);
    let shown = users.get("/lab/faults").await.expect(200);
    assert_eq!(shown[0]["matched"], COUNT, "{shown}");
    assert_eq!(shown[0]["hit"], hits, "{shown}");
}

#[tokio::test]
async fn a_latency_is_within_its_range() {
    let world = World::start().await;
    let users = &world.shop.users;
    let fault = json!([{"route": "/api/users", "kind": "latency", "from": 20, "to": 120}]);
    set(users, fault).await;
    let mut shortest = TIMEOUT;
    let mut longest = Duration::ZERO;
    for _ in 0..10 {
        let begun = Instant::now();
        users.get("/api/users").await.expect(200);
        shortest = shortest.min(begun.elapsed());
        longest = longest.max(begun.elapsed());
    }
    assert!(shortest >= Duration::from_millis(20), "{shortest:?}");
    assert!(longest >= Duration::from_millis(70), "{longest:?}");
}

#[tokio::test]
async fn a_fault_ends_by_itself() {
    let world = World::start().await;
    let users = &world.shop.users;
    let fault = |kind: &str, seconds: u32| json!([{"route": "/api/users", "kind": kind, "seconds": seconds}]);
    set(users, fault("close", 1)).await;
    let deadline = Instant::now() + TIMEOUT;
    while users.get("/lab/faults").await.expect(200) != json!([]) {
        assert!(Instant::now() < deadline, "it does not end");
        sleep(Duration::from_millis(20)).await;
    }
    users.get("/api/users").await.expect(200);

    // What hangs by it is let go too.
    set(users, fault("hang", 4)).await;
    let (all, _) = timeout(TIMEOUT, raw(users, "/api/users"))
        .await
        .expect("it ends");
    assert_eq!(all, "");
}

#[tokio::test]
async fn an_invalid_fault_is_refused_with_one_sentence() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let ok = json!({"route": "*", "kind": "close"});
    set(&world.shop.users, json!([ok])).await;
    for (body, expected) in [
        (
            json!({}),
            "The body is not a JSON list; it must start with [",
        ),
        (
            json!([7]),
            "[0] is not a fault; send an object with route and kind",
        ),
        (json!([{"kind": "hang"}]), "[0].route is required"),
        (json!([{"route": "*"}]), "[0].kind is required"),
        (
            json!([ok, {"route": "*", "kind": "explode"}]),
            "[1].kind is \"explode\"; it must be latency, status, hang, close, garbage or truncate",
        ),
        (
            json!([{"route": "/api/things", "kind": "hang"}]),
            "[0].route is \"/api/things\"; it must be *, or a route of GET /openapi.json such as \
             /api/things/{id} or GET /api/things/{id}",
        ),
        (
            json!([{"route": "/api/users/1", "kind": "hang"}]),
            "[0].route is \"/api/users/1\"; it must be *, or a route of GET /openapi.json such as \
             /api/things/{id} or GET /api/things/{id}",
        ),
        (
            json!([{"route": "/health", "kind": "hang"}]),
            "[0].route is /health, which no fault affects",
        ),
        (
            json!([{"route": "PATCH /api/users", "kind": "hang"}]),
            "[0].route has the method PATCH, which no fault of /api/users can have; \
             the route has GET, HEAD, POST, OPTIONS",
        ),
        (
            json!([{"route": "*", "kind": "latency"}]),
            "[0].ms is required for latency, or from and to instead of it",
        ),
        (
            json!([{"route": "*", "kind": "latency", "ms": 60_001}]),
            "[0].ms must be a whole number from 0 to 60000",
        ),
        (
            json!([{"route": "*", "kind": "latency", "from": 2, "to": 1}]),
            "[0].to must not be less than from, 2",
        ),
        (
            json!([{"route": "*", "kind": "status"}]),
            "[0].status is required",
        ),
        (
            json!([{"route": "*", "kind": "status", "status": 200}]),
            "[0].status must be a whole number from 400 to 599",
        ),
        (
            json!([{"route": "*", "kind": "close", "when": "later"}]),
            "[0].when must be \"before\" or \"middle\"",
        ),
        (
            json!([{"route": "*", "kind": "garbage", "body": "xml"}]),
            "[0].body must be \"text\" or \"json\"",
        ),
        (
            json!([{"route": "*", "kind": "hang", "ms": 7}]),
            "[0].ms is no field of the kind hang",
        ),
        (
            json!([{"route": "*", "kind": "hang", "share": 1.5}]),
            "[0].share must be a number from 0 to 1",
        ),
        (
            json!([{"route": "*", "kind": "hang", "seed": -1}]),
            "[0].seed must be a whole number from 0",
        ),
        (
            json!([{"route": "*", "kind": "hang", "seconds": 3601}]),
            "[0].seconds must be a whole number from 1 to 3600",
        ),
        (
            Value::from(vec![ok.clone(); 65]),
            "The body has 65 faults; 64 is the most",
        ),
    ] {
        let got = world
            .shop
            .users
            .send("PUT", "/lab/faults", body.clone())
            .await;
        let sentence = got.json()["error"].as_str().unwrap_or_default().to_owned();
        faults.expect(&body, (got.status, sentence), (400, expected.to_owned()));
    }
    let shown = world.shop.users.get("/lab/faults").await.expect(200);
    faults.expect(
        "the old fault stays",
        shown[0]["kind"].clone(),
        json!("close"),
    );
    let most = Value::from(vec![ok; 64]);
    set(&world.shop.users, most).await;
    // What it shows can be sent again.
    let shown = world.shop.users.get("/lab/faults").await.expect(200);
    set(&world.shop.users, shown).await;
    faults.finish();
}

#[tokio::test]
async fn the_example_of_the_docs_is_valid() {
    let world = World::start().await;
    let docs = include_str!("../../../docs/faults.md");
    let (_, example) = docs.split_once("-d '").expect("a command with a body");
    let (example, _) = example.split_once('\'').expect("its end");
    let example = serde_json::from_str(example).expect("JSON");
    set(&world.shop.users, example).await;
}

#[tokio::test]
async fn callers_see_the_fault_of_a_service() {
    let world = World::start().await;
    let shop = &world.shop;
    shop.users.post("/lab/seed", json!({})).await.expect(200);
    shop.products.post("/lab/seed", json!({})).await.expect(200);
    let fault = json!([{"route": "*", "kind": "status", "status": 500}]);
    set(&shop.notifications, fault.clone()).await;
    let order = || json!({"userId": "1", "productId": "1", "quantity": 1});
    let placed = shop.orders.post("/api/orders", order()).await.expect(201);
    assert_eq!(placed["notification"], "failed", "{placed}");
    set(&shop.users, fault).await;
    let refused = shop.orders.post("/api/orders", order()).await;
    refused.expect_error(503, "dependency_unavailable");
}

#[tokio::test]
async fn a_service_stops_while_requests_hang() {
    let World { shop, gateway } = World::start().await;
    let names = shop.services().map(|one| one.name);
    let servers = [
        gateway,
        shop.users,
        shop.products,
        shop.orders,
        shop.notifications,
        shop.analytics,
    ];
    for (server, name) in servers
        .into_iter()
        .zip(["gateway"].into_iter().chain(names))
    {
        let path = match name {
            "gateway" => "/status",
            _ => "/docs",
        };
        set(&server, json!([{"route": "*", "kind": "hang"}])).await;
        let mut hanging = Connection::open(server.address()).await;
        let sent = hanging.send(&request("GET", path, &[], b"")).await;
        sent.expect("it is sent");
        assert_eq!(hanging.until_closed(SILENCE).await, State::Open, "{name}");
        let begun = Instant::now();
        server.stop().await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "{name} took {took:?}");
    }
}
