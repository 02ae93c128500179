//! The limits that every service has, at the gateway: on requests in flight, connections, heads and
//! silence. Those on bodies are in `refusals` and `slow`.

use std::time::Duration;

use chassis::testkit::{Server, Stub};
use harness::TIMEOUT;
use harness::raw::{Connection, State, request};
use tokio::time::{Instant, sleep};

use super::gateway_with;

const WHOLE_SHARE: (&str, &str) = ("CLIENT_SHARE_PERCENT", "100");

/// A gateway whose user-service never answers.
async fn hanging(setting: (&'static str, &str)) -> (Stub, Server) {
    let users = Stub::hanging().await;
    let gateway = gateway_with(&users.url(), &[WHOLE_SHARE, setting]).await;
    (users, gateway)
}

#[tokio::test]
async fn one_request_too_many_in_flight_is_refused_and_health_is_not() {
    let (_users, gateway) = hanging(("MAX_IN_FLIGHT", "1")).await;
    let mut first = Connection::open(gateway.address()).await;
    let get = request("GET", "/api/users/1", &[], b"");
    first.send(&get).await.expect("sent");
    let deadline = Instant::now() + TIMEOUT;
    // Until the first one is in flight.
    while gateway.get("/").await.status == 200 {
        assert!(Instant::now() < deadline, "nothing is refused");
    }
    let order = gateway.get("/api/orders/1").await;
    order.expect_error(503, "overloaded");
    gateway.get("/health").await.expect(200);
    drop(first);
}

#[tokio::test]
async fn a_connection_that_is_silent_or_sends_half_a_head_is_closed() {
    for (setting, sent) in [
        (("HEAD_TIMEOUT_MS", "300"), ""),
        (
            ("HEAD_TIMEOUT_MS", "300"),
            "GET /health HTTP/1.1\r\nhost: a\r\nx: ",
        ),
        (
            ("IDLE_TIMEOUT_MS", "300"),
            "GET /health HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
    ] {
        let (_users, gateway) = hanging(setting).await;
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(sent.as_bytes()).await.expect("sent");
        let state = connection.until_closed(TIMEOUT).await;
        assert_eq!(state, State::Closed, "{setting:?}: {sent:?}");
    }
}

#[tokio::test]
async fn for_one_connection_too_many_the_oldest_idle_one_is_closed() {
    let (_users, gateway) = hanging(("MAX_CONNECTIONS", "2")).await;
    let health = request("GET", "/health", &[], b"");
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(&health).await.expect("sent");
        let got = connection.answer(false).await.expect("an answer");
        assert_eq!(got.status, 200);
        open.push(connection);
        // The clock of a connection counts milliseconds.
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(open[0].until_closed(TIMEOUT).await, State::Closed);
    for connection in &mut open[1..] {
        connection.send(&health).await.expect("sent");
        let got = connection.answer(false).await.expect("an answer");
        assert_eq!(got.status, 200);
    }
}
