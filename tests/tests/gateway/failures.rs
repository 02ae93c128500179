//! Services that fail in every way, and what a client is told: never more than is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chassis::testkit::{Server, Stub};
use harness::raw::{self, Connection, Request, State, request};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::{Played, gateway, gateway_with};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

async fn post(gateway: &Server) -> chassis::testkit::Got {
    gateway.post("/api/users", json!({"name": "Ada"})).await
}

#[tokio::test]
async fn a_service_that_is_down_is_named_and_nothing_was_changed() {
    let down = Stub::refusing().await;
    let gateway = gateway(&down.url()).await;
    for got in [gateway.get("/api/users/1").await, post(&gateway).await] {
        assert_eq!(got.header("retry-after"), "1");
        let sentence = got.expect_error(503, "dependency_unavailable");
        assert!(
            sentence.starts_with("user-service is not available"),
            "{sentence}"
        );
        assert!(sentence.contains("nothing was changed"), "{sentence}");
    }
    let order = gateway.get("/api/orders/1").await;
    let sentence = order.expect_error(503, "dependency_unavailable");
    assert!(sentence.starts_with("order-service"), "{sentence}");
}

#[tokio::test]
async fn a_response_that_does_not_begin_in_time_is_a_time_out() {
    let hanging = Stub::hanging().await;
    let gateway = gateway_with(&hanging.url(), &[("GATEWAY_TIMEOUT_MS", "300")]).await;
    for method in ["GET", "POST"] {
        let started = Instant::now();
        let got = gateway.send(method, "/api/users", json!({})).await;
        let sentence = got.expect_error(504, "gateway_timeout");
        assert!(
            sentence.contains("user-service") && sentence.contains("300 ms"),
            "{sentence}"
        );
        let taken = started.elapsed();
        assert!(
            taken >= Duration::from_millis(300) && taken < Duration::from_secs(3),
            "{taken:?}"
        );
    }
}

#[tokio::test]
async fn a_post_whose_outcome_is_unknown_is_not_sent_twice() {
    for (answer, reason) in [
        ("", "nothing"),
        ("HTTP/1.1 201 Crea", "half a status line"),
        ("HTTP/1.1 201 Created\r\ncontent-le", "half a head"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "another protocol"),
        ("HTTP/1.1 abc\r\n\r\n", "no status"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "two lengths",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            "an upgrade",
        ),
    ] {
        let played = Played::sending(answer).await;
        let gateway = gateway(&played.url).await;
        let sentence = post(&gateway).await.expect_error(502, "outcome_unknown");
        assert!(sentence.contains("user-service"), "{sentence}");
        assert!(sentence.contains("may have been done"), "{sentence}");
        assert_eq!(played.accepted(), 1, "{reason}");
    }
    // Nor is a GET, if the response is invalid: it would be the next time.
    let played = Played::sending("SSH-2.0-OpenSSH\r\n\r\n").await;
    let gateway = gateway(&played.url).await;
    let got = gateway.get("/api/users/1").await;
    got.expect_error(502, "outcome_unknown");
    assert_eq!(played.accepted(), 1);
}

#[tokio::test]
async fn a_get_is_sent_again_once_after_a_reset() {
    // Resets the first connections, and answers on the others.
    let resetting = |resets: usize| {
        Played::start(move |number, mut stream| async move {
            Request::read(&mut stream).await;
            if number >= resets {
                let _ = stream.write_all(OK).await;
                let _ = stream.read(&mut [0]).await;
            }
        })
    };
    for method in ["GET", "HEAD"] {
        for (resets, status, sent) in [(0, 200, 1), (1, 200, 2), (2, 502, 2)] {
            let played = resetting(resets).await;
            let gateway = gateway(&played.url).await;
            let get = request(method, "/api/users", &[], b"");
            let got = raw::exchange(gateway.address(), &get).await;
            let got = got.expect("an answer").status;
            assert_eq!(got, status, "{method}, {resets} resets");
            assert_eq!(played.accepted(), sent, "{method}, {resets} resets");
        }
    }
    // One with a body, which is gone.
    let played = resetting(1).await;
    let gateway = gateway(&played.url).await;
    let got = gateway.send("GET", "/api/users", json!({})).await;
    got.expect_error(502, "outcome_unknown");
    assert_eq!(played.accepted(), 1);
}

#[tokio::test]
async fn a_pooled_connection_that_dies_does_not_repeat_a_post() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    // Answers the first request of a connection, and closes it in response to the second.
    let played = Played::start(move |_, mut stream| {
        let count = Arc::clone(&count);
        async move {
            for number in 0..2 {
                if Request::read(&mut stream).await.is_none() {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                if number == 0 {
                    let _ = stream.write_all(OK).await;
                }
            }
        }
    })
    .await;
    let gateway = gateway(&played.url).await;
    post(&gateway).await.expect(200);
    post(&gateway).await.expect_error(502, "outcome_unknown");
    assert_eq!(requests.load(Ordering::SeqCst), 2);
    assert_eq!(played.accepted(), 1);
    // A GET is sent again, on a new connection.
    gateway.get("/api/users/1").await.expect(200);
    gateway.get("/api/users/1").await.expect(200);
    assert_eq!(requests.load(Ordering::SeqCst), 5);
    assert_eq!(played.accepted(), 3);
}

#[tokio::test]
async fn a_pooled_connection_that_has_died_costs_no_request() {
    let played = Played::start(|_, mut stream| async move {
        Request::read(&mut stream).await;
        let _ = stream.write_all(OK).await;
    })
    .await;
    let gateway = gateway(&played.url).await;
    for number in 1..=50 {
        // The service closes after each response, at about the time of the next request.
        post(&gateway).await.expect(200);
        assert_eq!(played.accepted(), number);
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_broken_off() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n";
    for (rest, reason) in [
        (
            "content-length: 10\r\n\r\nhello",
            "in a body of known length",
        ),
        ("content-length: 10\r\n\r\n", "before the body"),
        (
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "between two chunks",
        ),
        ("transfer-encoding: chunked\r\n\r\nA\r\nhello", "in a chunk"),
        (
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            "before the last line",
        ),
        (
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n",
            "with something that is no chunk",
        ),
    ] {
        let played = Played::sending(format!("{head}{rest}")).await;
        let gateway = gateway(&played.url).await;
        let mut connection = Connection::open(gateway.address()).await;
        let sent = request("GET", "/api/users/1", &[], b"");
        connection.send(&sent).await.expect("sent");
        connection.until_closed(harness::TIMEOUT).await;
        assert_ne!(connection.state(), State::Open, "{reason}");
        let got = connection.take_answer(false);
        assert!(
            matches!(got, Ok(None)),
            "{reason}: a whole response: {got:?}"
        );
    }
}

#[tokio::test]
async fn a_response_that_does_not_wait_for_the_body_is_passed_on() {
    let played = Played::start(|_, mut stream| async move {
        let mut head = [0; 64];
        let _ = stream.read(&mut head).await;
        let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        let _ = stream.write_all(refusal).await;
        sleep(harness::TIMEOUT).await;
    })
    .await;
    let gateway = gateway(&played.url).await;
    let head = request("POST", "/api/users", &[("content-length", "60000")], b"");
    let mut connection = Connection::open(gateway.address()).await;
    connection.send(&head).await.expect("sent");
    let got = connection.answer(false).await.expect("an answer");
    assert_eq!(got.status, 403);
}

#[tokio::test]
async fn a_service_learns_that_the_client_has_gone() {
    let (closed, mut was_closed) = mpsc::channel(1);
    let played = Played::start(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            Request::read(&mut stream).await;
            let ended = stream.read(&mut [0]).await;
            let _ = closed.send(ended.map_or(0, |bytes| bytes)).await;
        }
    })
    .await;
    let gateway = gateway_with(&played.url, &[("BODY_TIMEOUT_MS", "300")]).await;
    let mut connection = Connection::open(gateway.address()).await;
    let sent = request("GET", "/api/users/1", &[], b"");
    connection.send(&sent).await.expect("sent");
    while played.accepted() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    drop(connection);
    let closed = timeout(Duration::from_secs(5), was_closed.recv()).await;
    assert_eq!(closed.expect("soon"), Some(0));
}

#[tokio::test]
async fn a_service_that_comes_back_is_used_at_once() {
    let down = Stub::refusing().await;
    let address = down.url().as_str().trim_start_matches("http://").to_owned();
    let gateway = gateway(&down.url()).await;
    post(&gateway)
        .await
        .expect_error(503, "dependency_unavailable");
    drop(down);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .expect("its port");
    let _service = Played::on(listener, |_, mut stream| async move {
        Request::read(&mut stream).await;
        let _ = stream.write_all(OK).await;
    });
    post(&gateway).await.expect(200);
}
