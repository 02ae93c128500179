//! Two instances of a service, of which one dies, fails or shuts down.

use std::time::{Duration, Instant};

use chassis::testkit::{Server, Stub};
use chassis::upstream::url::UpstreamUrl;
use harness::raw;
use serde_json::{Value, json};
use shop_tests::fake::Fake;
use shop_tests::program::Program;
use shop_tests::shop;
use tokio::time::sleep;

const LIST: &str = "/api/notifications";
const SEND: &str = "/api/notifications/send";

/// A gateway in front of two instances of notification-service.
async fn of(one: &str, other: &str, settings: &[(&'static str, &str)]) -> Server {
    let down = UpstreamUrl::local(1);
    let urls = format!("{one},{other}");
    let mut all = vec![("NOTIFICATION_SERVICE_URL", &*urls), ("RATE_LIMIT", "off")];
    all.extend(settings);
    shop::gateway([&down; 5], &all).await
}

/// Sends a read and a change. Their status codes.
async fn both(gateway: &Server) -> [u16; 2] {
    let body = json!({"userId": "1", "message": "You have mail"});
    let (read, change) = (gateway.get(LIST).await, gateway.post(SEND, body).await);
    [read.status, change.status]
}

/// Sends so many of both, none of which may fail.
async fn no_error_in(gateway: &Server, count: usize) {
    for number in 0..count {
        assert_eq!(both(gateway).await, [200, 201], "number {number}");
    }
}

/// What the gateway knows about the two.
async fn instances(gateway: &Server) -> [Value; 2] {
    let status = gateway.get("/status").await.expect(200);
    let service = &status["services"][3];
    assert_eq!(service["name"], "notification-service");
    [0, 1].map(|place| service["instances"][place].clone())
}

/// Waits until the gateway says so of the first one.
async fn until_first_is(gateway: &Server, states: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let [first, other] = instances(gateway).await;
        assert_eq!(other["state"], "up", "{other}");
        if states.iter().any(|state| first["state"] == *state) {
            return;
        }
        assert!(Instant::now() < deadline, "never {states:?}: {first}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn requests(instance: &Value) -> u64 {
    instance["requests"].as_u64().expect("a number")
}

#[tokio::test]
async fn requests_are_spread_as_the_setting_says() {
    let (one, other) = (shop::notifications().await, shop::notifications().await);
    let urls = [&one, &other].map(Server::upstream_url);
    let balance = [("BALANCE", "round_robin")];
    let gateway = of(urls[0].as_str(), urls[1].as_str(), &balance).await;
    no_error_in(&gateway, 10).await;
    for (instance, url) in instances(&gateway).await.iter().zip(urls) {
        assert_eq!(requests(instance), 10, "{instance}");
        assert_eq!(instance["failures"], 0, "{instance}");
        assert_eq!(instance["url"], url.as_str());
    }
}

#[tokio::test]
async fn an_instance_that_is_killed_is_not_missed_and_gets_requests_when_it_is_back() {
    let start = || Program::start_to_come_back("notification-service", &[]);
    let (mut one, other) = (start(), start());
    let gateway = of(&one.url(), &other.url(), &[("BALANCE", "round_robin")]).await;
    no_error_in(&gateway, 10).await;
    one.kill();
    // So that the gateway has seen that its connections are closed: a change that is sent on one
    // that dies has an unknown outcome.
    sleep(Duration::from_millis(100)).await;
    no_error_in(&gateway, 50).await;
    until_first_is(&gateway, &["down"]).await;
    let [before, _] = instances(&gateway).await;
    no_error_in(&gateway, 10).await;
    let [after, _] = instances(&gateway).await;
    assert_eq!(requests(&before), requests(&after), "it gets none");
    one.come_back();
    until_first_is(&gateway, &["up", "ejected"]).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while requests(&instances(&gateway).await[0]) < requests(&after) + 10 {
        assert!(Instant::now() < deadline, "it gets no requests");
        no_error_in(&gateway, 5).await;
    }
}

#[tokio::test]
async fn an_instance_that_cannot_be_reached_costs_no_request() {
    let (down, other) = (Stub::refusing().await, shop::notifications().await);
    let (down, other) = (down.url(), other.upstream_url());
    // By chance, the next choice is often the same one. After three times it is ejected.
    let balance = [("BALANCE", "random")];
    for _ in 0..10 {
        let gateway = of(down.as_str(), other.as_str(), &balance).await;
        no_error_in(&gateway, 10).await;
        let [down, up] = instances(&gateway).await;
        assert_eq!((&up["state"], &up["failures"]), (&json!("up"), &json!(0)));
        assert_eq!(down["requests"], down["failures"], "{down}");
    }
}

#[tokio::test]
async fn an_instance_that_answers_with_errors_gets_no_more_than_five_requests() {
    let failing = Fake::start(|_| async { raw::json("500 Internal Server Error", "", "{}") });
    let (failing, other) = (failing.await, shop::notifications().await);
    let other = other.upstream_url();
    let balance = [("BALANCE", "round_robin")];
    let gateway = of(failing.url().as_str(), other.as_str(), &balance).await;
    let mut errors = 0;
    for _ in 0..50 {
        let failed = both(&gateway).await.into_iter().filter(|code| *code >= 500);
        errors += failed.count();
    }
    // What the service says is passed on: nobody knows whether it was done.
    assert_eq!(errors, 5);
    assert_eq!(failing.seen().len(), 5);
    let [first, _] = instances(&gateway).await;
    assert_eq!(
        (&first["state"], &first["failures"]),
        (&json!("ejected"), &json!(5))
    );
}

#[tokio::test]
async fn an_instance_that_hangs_is_left_alone() {
    let (hanging, other) = (Stub::hanging().await, shop::notifications().await);
    let other = other.upstream_url();
    let timeout = [("GATEWAY_TIMEOUT_MS", "300")];
    let gateway = of(hanging.url().as_str(), other.as_str(), &timeout).await;
    let mut late = 0;
    for _ in 0..50 {
        let codes = both(&gateway).await;
        late += codes.into_iter().filter(|code| *code == 504).count();
    }
    assert!(late <= 3, "{late} of 100 requests were sent to it");
    until_first_is(&gateway, &["down"]).await;
    no_error_in(&gateway, 20).await;
}

#[tokio::test]
async fn the_time_in_which_a_client_sends_is_not_latency() {
    const UPLOAD: Duration = Duration::from_secs(2);
    let (users, down) = (shop::users().await, UpstreamUrl::local(1));
    let services = [&users.upstream_url(), &down, &down, &down, &down];
    let gateway = shop::gateway(services, &[]).await;
    let body = json!({"name": "Ada", "email": "ada@example.com"}).to_string();
    let headers = [("content-type", "application/json")];
    let whole = raw::request("POST", "/api/users", &headers, body.as_bytes());
    let (first, rest) = whole.split_at(whole.len() - 10);
    let mut client = raw::Connection::open(gateway.address()).await;
    client.send(first).await.expect("sent");
    sleep(UPLOAD).await;
    client.send(rest).await.expect("sent");
    client.answer(false).await.expect("an answer").expect(201);
    let status = gateway.get("/status").await.expect(200);
    let instance = &status["services"][0]["instances"][0];
    let latency = instance["latencyMs"].as_f64().expect("a number");
    assert!(latency < 1000.0 * UPLOAD.as_secs_f64() / 2.0, "{instance}");
}

#[tokio::test]
async fn the_addresses_of_a_name_are_the_instances() {
    let users = shop::users().await;
    shop::add_user(&users, "ada").await;
    let url = format!("dns+http://localhost:{}", users.address().port());
    let down = UpstreamUrl::local(1);
    let settings = [("USER_SERVICE_URL", &*url)];
    let gateway = shop::gateway([&down; 5], &settings).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        gateway.get("/api/users/1").await.expect(200);
        let status = gateway.get("/status").await.expect(200);
        let instances = status["services"][0]["instances"].as_array();
        let mut instances = instances.expect("instances").iter();
        let expected = json!(users.upstream_url().as_str());
        if instances.any(|one| one["url"] == expected && one["source"] == "dns") {
            return;
        }
        assert!(Instant::now() < deadline, "{status}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_instance_that_shuts_down_is_not_missed() {
    let (one, other) = (shop::notifications().await, shop::notifications().await);
    let urls = [&one, &other].map(Server::upstream_url);
    let gateway = of(urls[0].as_str(), urls[1].as_str(), &[]).await;
    no_error_in(&gateway, 10).await;
    one.request_shutdown();
    no_error_in(&gateway, 50).await;
    until_first_is(&gateway, &["draining", "down"]).await;
    let [before, _] = instances(&gateway).await;
    no_error_in(&gateway, 10).await;
    let [after, _] = instances(&gateway).await;
    assert_eq!(requests(&before), requests(&after), "it gets none");
}

#[tokio::test]
async fn the_gateways_own_calls_go_to_the_same_instances() {
    let (down, other) = (Stub::refusing().await, shop::notifications().await);
    let users = shop::users().await;
    shop::add_user(&users, "ada").await;
    let urls = [down.url(), other.upstream_url()];
    let urls = format!("{},{}", urls[0].as_str(), urls[1].as_str());
    let (none, users) = (UpstreamUrl::local(1), users.upstream_url());
    let settings = [("NOTIFICATION_SERVICE_URL", &*urls)];
    let gateway = shop::gateway([&users, &none, &none, &none, &none], &settings).await;
    for _ in 0..10 {
        let dashboard = gateway.get("/api/users/1/dashboard").await.expect(200);
        assert_eq!(dashboard["notifications"], json!([]));
        assert_eq!(dashboard["unavailable"], json!(["order-service"]));
    }
    let ready = gateway.get("/health/ready").await.expect(200);
    assert_eq!(ready["dependencies"][3]["status"], "up", "{ready}");
}
