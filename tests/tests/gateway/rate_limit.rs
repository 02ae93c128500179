//! How many requests a second one client may send.

use std::time::Duration;

use chassis::testkit::Server;
use futures_util::future::join_all;
use harness::Got;
use harness::raw::{self, Connection, request};
use shop_tests::fake::Fake;
use shop_tests::program;
use tokio::time::sleep;

use super::gateway_with;

async fn limited_to(limit: &str, trusted: &str) -> (Fake, Server) {
    let users = Fake::start(|_| async { raw::json("200 OK", "", "{}") }).await;
    let settings = [("RATE_LIMIT", limit), ("TRUSTED_PROXIES", trusted)];
    let gateway = gateway_with(&users.url(), &settings).await;
    (users, gateway)
}

/// The statuses of `count` requests, one after the other.
async fn statuses(gateway: &Server, path: &str, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(gateway.get(path).await.status);
    }
    statuses
}

async fn get_for(gateway: &Server, client: &str) -> Got {
    let get = gateway.request(reqwest::Method::GET, "/api/users/1");
    Got::from(get.header("x-forwarded-for", client)).await
}

#[tokio::test]
async fn a_client_over_the_limit_is_told_so_until_it_has_waited() {
    let (users, gateway) = limited_to("1", "").await;
    let first = gateway.get("/api/users/1").await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("ratelimit-policy"), r#""default";q=2;w=2"#);
    assert_eq!(first.header("ratelimit"), r#""default";r=1;t=1"#);
    let second = gateway.get("/api/users/1").await;
    assert_eq!(second.header("ratelimit"), r#""default";r=0;t=2"#);
    for path in [
        "/api/users/1",
        "/%61pi/users/1",
        "/api/users/1/dashboard",
        "/api/nothing",
    ] {
        let refused = gateway.get(path).await;
        assert_eq!(refused.header("retry-after"), "1", "{path}");
        assert_eq!(refused.header("ratelimit"), r#""default";r=0;t=1"#);
        assert_eq!(refused.header("ratelimit-policy"), r#""default";q=2;w=2"#);
        let sentence = refused.expect_error(429, "rate_limited");
        assert!(sentence.contains("the 1 requests a second"), "{sentence}");
    }
    let status = gateway.get("/status").await.expect(200);
    assert_eq!(status["limitedClients"], 1);
    sleep(Duration::from_millis(1050)).await;
    let statuses = statuses(&gateway, "/api/users/1", 2).await;
    assert_eq!(statuses, [200, 429], "one came back");
    let forwarded = users.seen();
    let forwarded = forwarded.iter().filter(|one| one.target == "/api/users/1");
    assert_eq!(forwarded.count(), 3);
    sleep(Duration::from_millis(2050)).await;
    let status = gateway.get("/status").await.expect(200);
    assert_eq!(status["limitedClients"], 0);
}

#[tokio::test]
async fn only_the_api_counts_and_a_preflight_does_not() {
    let (_users, gateway) = limited_to("1", "").await;
    assert_eq!(statuses(&gateway, "/api/users/1", 3).await, [200, 200, 429]);
    for path in [
        "/",
        "/health",
        "/health/ready",
        "/metrics",
        "/status",
        "/docs",
        "/openapi.json",
    ] {
        let got = gateway.get(path).await;
        assert_eq!(got.status, 200, "{path}");
        assert_eq!(got.header("ratelimit"), "", "{path}");
    }
    let preflight = gateway.request(reqwest::Method::OPTIONS, "/api/users");
    let preflight = preflight.header("origin", "http://shop.test");
    let preflight = preflight.header("access-control-request-method", "POST");
    let preflight = Got::from(preflight).await;
    assert_ne!(preflight.status, 429);
    let options = gateway.request(reqwest::Method::OPTIONS, "/api/users");
    assert_eq!(Got::from(options).await.status, 429, "no preflight");
}

/// A refused request is refused before its body is read, and the connection goes on if it can.
#[tokio::test]
async fn a_refused_request_with_a_body_does_not_disturb_the_next() {
    let (users, gateway) = limited_to("1", "").await;
    assert_eq!(statuses(&gateway, "/api/users/1", 2).await, [200, 200]);
    let mut connection = Connection::open(gateway.address()).await;
    let post = request("POST", "/api/users", &[], &[b'x'; 1000]);
    let health = request("GET", "/health", &[], b"");
    connection
        .send(&[post, health].concat())
        .await
        .expect("sent");
    for expected in [429, 200] {
        let got = connection.answer(false).await.expect("an answer");
        assert_eq!(got.status, expected);
    }
    assert_eq!(users.seen().len(), 2);
}

#[tokio::test]
async fn each_client_behind_a_trusted_proxy_has_its_own_allowance() {
    let (_users, gateway) = limited_to("1", "127.0.0.1").await;
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"] {
        for expected in [200, 200, 429] {
            assert_eq!(get_for(&gateway, client).await.status, expected, "{client}");
        }
    }
    for same in ["9.9.9.9, 192.0.2.1", "2001:db8::2"] {
        assert_eq!(get_for(&gateway, same).await.status, 429, "{same}");
    }
}

#[tokio::test]
async fn a_client_cannot_get_another_allowance_by_what_it_says() {
    let (_users, gateway) = limited_to("1", "10.0.0.1").await;
    let mut statuses = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        statuses.push(get_for(&gateway, client).await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn without_a_limit_nothing_is_refused_and_by_default_a_burst_is_not() {
    let (_users, unlimited) = limited_to("off", "").await;
    let got = unlimited.get("/api/users/1").await;
    assert_eq!(got.header("ratelimit"), "");
    assert_eq!(got.header("ratelimit-policy"), "");
    let users = Fake::start(|_| async { raw::json("200 OK", "", "{}") }).await;
    let default = super::gateway(&users.url()).await;
    let got = default.get("/api/users/1").await;
    assert_eq!(got.header("ratelimit-policy"), r#""default";q=400;w=2"#);
    for (gateway, may_refuse) in [(unlimited, false), (default, true)] {
        let crowd = (0..500).map(|_| gateway.get("/api/nothing"));
        let got = join_all(crowd).await;
        let refused = got.iter().filter(|got| got.status == 429).count();
        // While they are sent some of the allowance comes back.
        assert!(refused <= 100, "{refused}");
        assert!(may_refuse || refused == 0, "{refused}");
    }
}

#[test]
fn an_invalid_limit_is_refused_in_one_sentence() {
    let ended = program::run("gateway", &[("RATE_LIMIT", "0")]);
    let text = format!("{ended:?}");
    assert!(
        text.contains(
            r#"RATE_LIMIT is \"0\", expected off, or requests a second from 1 to 1000000"#
        ),
        "{text}"
    );
}
