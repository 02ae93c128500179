//! Instances that register: they come and go, the registry is away, full, or told lies.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chassis::testkit::{Got, Server, Stub};
use chassis::upstream::url::UpstreamUrl;
use futures_util::future::join_all;
use harness::{TIMEOUT, raw};
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::program::Program;
use shop_tests::shop;
use tokio::time::sleep;

const SUMMARY: &str = "/api/analytics/summary";
const ANALYTICS: &str = "analytics-service";
const SENDER: &str = "/registry/analytics-service/test-1";
const TOKEN: &str = "a-token-of-the-tests";

/// A gateway that finds analytics-service and notification-service in its registry. The others are
/// down.
async fn gateway(settings: &[(&'static str, &str)]) -> Server {
    let down = UpstreamUrl::local(1);
    let mut all = vec![
        ("ANALYTICS_SERVICE_URL", "registry"),
        ("NOTIFICATION_SERVICE_URL", "registry"),
        ("RATE_LIMIT", "off"),
    ];
    all.extend(settings);
    shop::gateway([&down; 5], &all).await
}

fn url(gateway: &Server) -> String {
    gateway.upstream_url().as_str().to_owned()
}

/// Starts a service that registers there, on any free port.
fn start(service: &str, registry: &str) -> Program {
    Program::start(service, &[("REGISTRY_URL", registry)])
}

/// The registered addresses of a service.
async fn registered(gateway: SocketAddr, service: &str) -> Vec<SocketAddr> {
    let got = raw::get(gateway, "/registry").await.expect("an answer");
    let listing: Value = got.expect(200);
    let all = listing["instances"].as_array().expect("a list").iter();
    let ours = all.filter(|one| one["service"] == service);
    let addresses = ours.map(|one| one["address"].as_str().expect("text").parse());
    addresses
        .map(|address| address.expect("an address"))
        .collect()
}

/// Waits until these are registered, in any order.
async fn until_registered(gateway: SocketAddr, service: &str, expected: &[SocketAddr]) {
    let mut expected = expected.to_owned();
    expected.sort_unstable();
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let mut there = registered(gateway, service).await;
        there.sort_unstable();
        if there == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{there:?}, not {expected:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// What the gateway knows about the instances of the service at this place.
async fn instances(gateway: &Server, place: usize) -> Vec<Value> {
    let status = gateway.get("/status").await.expect(200);
    let instances = status["services"][place]["instances"].as_array();
    instances.expect("a list").clone()
}

/// Registers with this body and these headers.
async fn put(gateway: &Server, path: &str, body: Value, headers: &[(&str, &str)]) -> Got {
    let mut request = gateway.request(Method::PUT, path).json(&body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Got::from(request).await
}

fn at(address: SocketAddr) -> Value {
    json!({ "address": address })
}

#[tokio::test]
async fn a_service_registers_where_it_listens_and_deregisters_before_it_stops() {
    let gateway = gateway(&[]).await;
    let early = gateway.get(SUMMARY).await;
    early.expect_error(503, "dependency_unavailable");
    let service = start(ANALYTICS, &url(&gateway));
    until_registered(gateway.address(), ANALYTICS, &[service.address()]).await;
    gateway.get(SUMMARY).await.expect(200);
    let known = instances(&gateway, 4).await;
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!(known[0]["url"], service.url());
    assert_eq!(known[0]["source"], "registry");
    assert_eq!(known[0]["state"], "up");

    service.signal("TERM");
    assert_eq!(service.exited(TIMEOUT), Some(0));
    let left = registered(gateway.address(), ANALYTICS).await;
    assert!(left.is_empty(), "{left:?} was not deregistered");
    gateway
        .get(SUMMARY)
        .await
        .expect_error(503, "dependency_unavailable");
    assert!(instances(&gateway, 4).await.is_empty());
}

#[tokio::test]
async fn one_that_is_killed_is_forgotten_and_one_that_renews_is_not() {
    let gateway = gateway(&[]).await;
    let [mut killed, stays] = [(); 2].map(|()| start(ANALYTICS, &url(&gateway)));
    let both = [killed.address(), stays.address()];
    until_registered(gateway.address(), ANALYTICS, &both).await;
    killed.kill();
    let began = Instant::now();
    until_registered(gateway.address(), ANALYTICS, &both[1..]).await;
    let taken = began.elapsed();
    // It has renewed up to two seconds before.
    assert!(taken > Duration::from_secs(3), "forgotten after {taken:?}");
    gateway.get(SUMMARY).await.expect(200);
}

/// Sends reads and changes until it is over. How many, and those that failed.
async fn requests(gateway: SocketAddr, is_over: &AtomicBool) -> (u32, Vec<String>) {
    let (mut sent, mut failed) = (0, Vec::new());
    let note = json!({"userId": "1", "message": "You have mail"});
    while !is_over.load(Ordering::Relaxed) {
        let read = raw::get(gateway, "/api/notifications?limit=1").await;
        let change = raw::post(gateway, "/api/notifications/send", &[], &note).await;
        for (got, expected) in [(read, 200), (change, 201)] {
            sent += 1;
            match got {
                Ok(got) if got.status == expected => {}
                other => failed.push(format!("{other:?}")),
            }
        }
    }
    (sent, failed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_three_under_load_is_not_noticed() {
    const SERVICE: &str = "notification-service";
    let gateway = gateway(&[]).await;
    let (address, registry) = (gateway.address(), url(&gateway));
    let mut three: Vec<_> = (0..3).map(|_| start(SERVICE, &registry)).collect();
    let addresses = |three: &[Program]| three.iter().map(Program::address).collect::<Vec<_>>();
    until_registered(address, SERVICE, &addresses(&three)).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let clients = (0..8).map(|_| {
        let is_over = Arc::clone(&is_over);
        tokio::spawn(async move { requests(address, &is_over).await })
    });
    let clients: Vec<_> = clients.collect();
    for number in 0..3 {
        // So that it has requests in flight.
        sleep(Duration::from_millis(300)).await;
        let mut one = three.remove(number);
        let one = tokio::task::spawn_blocking(move || {
            one.signal("TERM");
            assert_eq!(one.exited(TIMEOUT), Some(0));
            one.come_back_elsewhere();
            one
        });
        three.insert(number, one.await.expect("it came back"));
        until_registered(address, SERVICE, &addresses(&three)).await;
    }
    sleep(Duration::from_millis(300)).await;
    is_over.store(true, Ordering::Relaxed);
    let results = join_all(clients).await;
    let (mut sent, mut failed) = (0, Vec::new());
    for result in results {
        let (more, failures) = result.expect("no panic");
        sent += more;
        failed.extend(failures);
    }
    assert!(sent > 200, "only {sent} requests");
    assert!(failed.is_empty(), "{} of {sent}: {failed:?}", failed.len());
    for instance in instances(&gateway, 3).await {
        assert!(instance["requests"].as_u64() > Some(0), "{instance}");
    }
}

#[tokio::test]
async fn while_the_registry_is_away_the_last_known_instances_stay_in_use() {
    let settings = [("ANALYTICS_SERVICE_URL", "registry")];
    let mut gateway = Program::start_to_come_back("gateway", &settings);
    let registry = gateway.url();
    let users = start("user-service", &registry);
    let products = Program::start(
        "product-service",
        &[
            ("REGISTRY_URL", &registry),
            ("USER_SERVICE_URL", "registry"),
        ],
    );
    until_registered(gateway.address(), "user-service", &[users.address()]).await;
    let user = json!({"name": "Ada", "email": "ada@example.com"});
    let created = raw::post(users.address(), "/api/users", &[], &user).await;
    created.expect("an answer").expect(201);
    // It looks the seller up at user-service.
    let sell = async || {
        let product = json!({"name": "Kettle", "price": 1, "stock": 1, "sellerId": "1"});
        let sold = raw::post(products.address(), "/api/products", &[], &product).await;
        sold.expect("an answer").status
    };
    let deadline = Instant::now() + TIMEOUT;
    while sell().await != 201 {
        assert!(Instant::now() < deadline, "it does not find user-service");
        sleep(Duration::from_millis(50)).await;
    }
    gateway.kill();
    // Longer than an instance is known that does not renew.
    let until = Instant::now() + Duration::from_secs(7);
    while Instant::now() < until {
        assert_eq!(sell().await, 201);
        sleep(Duration::from_millis(100)).await;
    }
    gateway.come_back();
    let got = raw::get(gateway.address(), "/registry").await;
    let listing = got.expect("an answer").expect(200);
    assert_eq!(listing["complete"], false, "{listing}");
    until_registered(gateway.address(), "user-service", &[users.address()]).await;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(sell().await, 201);
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_service_stops_in_time_although_the_registry_hangs() {
    let hanging = Stub::hanging().await;
    let service = start(ANALYTICS, hanging.url().as_str());
    let health = raw::get(service.address(), "/health").await;
    health.expect("an answer").expect(200);
    let began = Instant::now();
    service.signal("TERM");
    assert_eq!(service.exited(TIMEOUT), Some(0));
    let taken = began.elapsed();
    assert!(taken < Duration::from_secs(5), "after {taken:?}");
}

#[tokio::test]
async fn a_lie_is_refused() {
    let gateway = gateway(&[]).await;
    let true_one = json!({"address": "127.0.0.1:8005"});
    for (path, body, status, part) in [
        (
            "/registry/payment-service/1",
            &true_one,
            404,
            "no service payment-service",
        ),
        ("/registry/gateway/1", &true_one, 404, "no service gateway"),
        (
            "/registry/analytics-service/a%20b",
            &true_one,
            404,
            "1 to 64 letters",
        ),
        (
            "/registry/analytics-service/%2e%2e%2fx",
            &true_one,
            404,
            "1 to 64 letters",
        ),
        (SENDER, &json!({"address": "127.0.0.1:0"}), 400, "not 0"),
        (
            SENDER,
            &json!({"address": "10.0.0.1:8005"}),
            400,
            "which is 127.0.0.1",
        ),
        (
            SENDER,
            &json!({"address": "127.0.0.2:8005"}),
            400,
            "which is 127.0.0.1",
        ),
        (
            SENDER,
            &json!({"address": "0.0.0.0:8005"}),
            400,
            "which is 127.0.0.1",
        ),
        (
            SENDER,
            &json!({"address": "localhost:8005"}),
            400,
            "an IP address and a port",
        ),
        (SENDER, &json!({"address": 8005}), 400, "must be a string"),
        (SENDER, &json!({}), 400, "address is required"),
        (
            SENDER,
            &json!({"address": "x".repeat(70_000)}),
            413,
            "65536 bytes",
        ),
    ] {
        let got = put(&gateway, path, body.clone(), &[]).await;
        assert_eq!(got.status, status, "{path}: {got:?}");
        let error = got.json()["error"].to_string();
        assert!(error.contains(part), "{path}: {error}");
    }
    // What the client says of itself is no proof.
    let forwarded = [("x-forwarded-for", "10.0.0.1")];
    let other = json!({"address": "10.0.0.1:8005"});
    let got = put(&gateway, SENDER, other, &forwarded).await;
    got.expect_error(400, "validation_failed");
    let page = [("origin", "https://example.com")];
    let got = put(&gateway, SENDER, true_one, &page).await;
    got.expect_error(403, "forbidden");
    let got = gateway.send("POST", SENDER, json!({})).await;
    got.expect_error(405, "method_not_allowed");
    assert!(registered(gateway.address(), ANALYTICS).await.is_empty());
}

// It waits for lines, while another thread is the gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_renewal_does_not_revive_what_was_deregistered() {
    let gateway = gateway(&[]).await;
    let address = "127.0.0.1:8005".parse().expect("an address");
    let created = put(&gateway, SENDER, at(address), &[]).await;
    assert_eq!(created.header("location"), SENDER);
    assert_eq!(created.expect(201)["address"], "127.0.0.1:8005");
    put(&gateway, SENDER, at(address), &[]).await.expect(200);
    let elsewhere = json!({"address": "127.0.0.1:8006"});
    let moved = put(&gateway, SENDER, elsewhere, &[]).await;
    moved.expect_error(409, "conflict");
    let deleted = Got::from(gateway.request(Method::DELETE, SENDER)).await;
    assert_eq!(deleted.status, 204);
    let late = put(&gateway, SENDER, at(address), &[]).await;
    late.expect_error(410, "gone");
    assert!(registered(gateway.address(), ANALYTICS).await.is_empty());
    // Twice is as good as once.
    let deleted = Got::from(gateway.request(Method::DELETE, SENDER)).await;
    assert_eq!(deleted.status, 204);

    // A service that somebody deregisters does not come back by itself.
    let service = start(ANALYTICS, &url(&gateway));
    until_registered(gateway.address(), ANALYTICS, &[service.address()]).await;
    let listing = gateway.get("/registry").await.expect(200);
    let id = listing["instances"][0]["instance"].as_str().expect("an id");
    let path = format!("/registry/{ANALYTICS}/{id}");
    Got::from(gateway.request(Method::DELETE, &path)).await;
    let deadline = Instant::now() + TIMEOUT;
    while let Some(line) = service.line(TIMEOUT) {
        if line.contains("somebody has deregistered this instance") {
            break;
        }
        assert!(Instant::now() < deadline, "it says nothing");
    }
    assert!(registered(gateway.address(), ANALYTICS).await.is_empty());
    service.signal("TERM");
    assert_eq!(service.exited(TIMEOUT), Some(0));
}

#[tokio::test]
async fn a_full_registry_refuses_one_more() {
    let gateway = gateway(&[]).await;
    for number in 1..=65_u16 {
        let path = format!("/registry/{ANALYTICS}/{number}");
        let got = put(&gateway, &path, at(([127, 0, 0, 1], number).into()), &[]).await;
        if number <= 64 {
            got.expect(201);
        } else {
            let sentence = got.expect_error(507, "store_full");
            assert!(sentence.contains("64 instances"), "{sentence}");
        }
    }
    let renewed = format!("/registry/{ANALYTICS}/1");
    let first = at(([127, 0, 0, 1], 1).into());
    put(&gateway, &renewed, first, &[]).await.expect(200);
    assert_eq!(registered(gateway.address(), ANALYTICS).await.len(), 64);
    assert!(instances(&gateway, 4).await.len() <= 64);
}

#[tokio::test]
async fn another_service_at_the_address_of_an_instance_gets_no_request() {
    let gateway = gateway(&[]).await;
    let (orders, path) = (shop::users().await, "/registry/notification-service/lie");
    put(&gateway, path, at(orders.address()), &[])
        .await
        .expect(201);
    let deadline = Instant::now() + TIMEOUT;
    while instances(&gateway, 3).await[0]["state"] != "down" {
        assert!(Instant::now() < deadline, "it is not found out");
        sleep(Duration::from_millis(10)).await;
    }
    let got = gateway.get("/api/notifications").await;
    got.expect_error(503, "dependency_unavailable");
    // One that tells the truth.
    let registry = url(&gateway);
    let true_one = start("notification-service", &registry);
    let both = [orders.address(), true_one.address()];
    until_registered(gateway.address(), "notification-service", &both).await;
    for _ in 0..20 {
        gateway.get("/api/notifications").await.expect(200);
    }
}

// It waits for lines, while another thread is the gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_token_only_those_who_have_it_register() {
    let gateway = gateway(&[("REGISTRY_TOKEN", TOKEN)]).await;
    let body = at("127.0.0.1:8005".parse().expect("an address"));
    for (headers, status) in [
        (&[][..], 401),
        (&[("authorization", "Bearer a-token-of-the-TESTS")], 401),
        (&[("authorization", TOKEN)], 401),
        (&[("authorization", "Bearer a-token-of-the-tests")], 201),
    ] {
        let got = put(&gateway, SENDER, body.clone(), headers).await;
        assert_eq!(got.status, status, "{headers:?}");
        if status == 401 {
            assert_eq!(got.header("www-authenticate"), "Bearer");
            got.expect_error(401, "unauthenticated");
        }
    }
    let unknown = Got::from(gateway.request(Method::DELETE, SENDER)).await;
    unknown.expect_error(401, "unauthenticated");

    let registry = url(&gateway);
    let of = |token: &str| {
        let variables = [("REGISTRY_URL", &*registry), ("REGISTRY_TOKEN", token)];
        Program::start("notification-service", &variables)
    };
    let (trusted, stranger) = (of(TOKEN), of("the-token-of-another"));
    let told = loop {
        let line = stranger.line(TIMEOUT).expect("it says why");
        // A busy machine may be late with the first answer.
        if line.contains("not registered") && !line.contains("no answer within") {
            break line;
        }
    };
    assert!(told.contains("401: The token is not"), "{told}");
    assert!(!told.contains("the-token-of-another"), "{told}");
    until_registered(
        gateway.address(),
        "notification-service",
        &[trusted.address()],
    )
    .await;
}

#[tokio::test]
async fn beyond_this_machine_a_token_is_required() {
    let everywhere = [("HOST", "0.0.0.0"), ("ANALYTICS_SERVICE_URL", "registry")];
    let open = Program::start("gateway", &everywhere);
    let body = json!({"address": "127.0.0.1:8005"}).to_string();
    let headers = [("content-type", "application/json")];
    let put = raw::request("PUT", SENDER, &headers, body.as_bytes());
    let got = raw::exchange(open.address(), &put).await;
    let sentence = got.expect("an answer").expect_error(403, "forbidden");
    assert!(sentence.contains("REGISTRY_TOKEN"), "{sentence}");

    let [host, analytics] = everywhere;
    let closed = Program::start("gateway", &[host, analytics, ("REGISTRY_TOKEN", TOKEN)]);
    let registry = closed.url();
    let variables = [host, ("REGISTRY_URL", &registry), ("REGISTRY_TOKEN", TOKEN)];
    // It listens on all addresses, and registers the one that the registry sees.
    let service = Program::start(ANALYTICS, &variables);
    until_registered(closed.address(), ANALYTICS, &[service.address()]).await;
    let got = raw::get(closed.address(), SUMMARY).await;
    got.expect("an answer").expect(200);
}

#[tokio::test]
async fn a_second_gateway_reads_the_registry_of_the_first() {
    let first = gateway(&[]).await;
    let registry = url(&first);
    let second = gateway(&[("REGISTRY_URL", &registry)]).await;
    let service = start(ANALYTICS, &registry);
    let deadline = Instant::now() + TIMEOUT;
    while second.get(SUMMARY).await.status != 200 {
        assert!(Instant::now() < deadline, "it does not find the service");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(instances(&second, 4).await[0]["url"], service.url());
}
