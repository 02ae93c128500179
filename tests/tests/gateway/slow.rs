//! Slow clients cannot hold what the services need. Crowds of them are in `tests/limits`.

use std::time::Duration;

use chassis::testkit::Stub;
use chassis::upstream::url::UpstreamUrl;
use futures_util::future::join_all;
use harness::raw::{Connection, Request, request};
use shop_tests::shop;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::{Played, gateway_with};

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection_to_the_service() {
    let (closed, mut was_closed) = mpsc::channel(1);
    let played = Played::start(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            Request::read(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            // Until it is closed.
            while stream.write_all(&[b'x'; 8 * 1024]).await.is_ok() {}
            let _ = closed.send(()).await;
        }
    })
    .await;
    let gateway = gateway_with(&played.url, &[("BODY_TIMEOUT_MS", "400")]).await;
    let mut connection = Connection::open(gateway.address()).await;
    let get = request("GET", "/api/users/1", &[], b"");
    connection.send(&get).await.expect("sent");
    let closed = timeout(Duration::from_secs(5), was_closed.recv()).await;
    closed.expect("soon after the time-out");
}

#[tokio::test]
async fn a_client_that_does_not_send_its_body_loses_its_connection_to_the_service() {
    let (closed, mut was_closed) = mpsc::channel(1);
    let played = Played::start(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes).await;
            let _ = closed
                .send(String::from_utf8_lossy(&bytes).into_owned())
                .await;
        }
    })
    .await;
    let gateway = gateway_with(&played.url, &[("BODY_TIMEOUT_MS", "400")]).await;
    let mut connection = Connection::open(gateway.address()).await;
    let head = request("POST", "/api/users", &[("content-length", "20")], b"");
    connection
        .send(&[&head[..], b"{\"name\":"].concat())
        .await
        .expect("sent");
    let got = connection.answer(false).await.expect("an answer");
    got.expect_error(408, "request_timeout");
    let seen = timeout(Duration::from_secs(5), was_closed.recv()).await;
    let seen = seen.expect("closed").expect("a request");
    assert!(seen.ends_with("{\"name\":"), "as far as it came: {seen}");
}

#[tokio::test]
async fn a_slow_service_does_not_slow_down_the_others() {
    let users = shop::users().await;
    let hanging = Stub::hanging().await;
    let down = UpstreamUrl::local(1);
    let urls = [&users.upstream_url(), &hanging.url(), &down, &down, &down];
    let gateway = shop::gateway(urls, &[]).await;
    let address = gateway.address();
    let waiting = join_all((0..200).map(|_| async move {
        let mut connection = Connection::open(address).await;
        let get = request("GET", "/api/products/1", &[], b"");
        connection.send(&get).await.expect("sent");
        connection
    }))
    .await;
    let started = Instant::now();
    gateway
        .get("/api/users/1")
        .await
        .expect_error(404, "not_found");
    assert!(started.elapsed() < Duration::from_secs(1));
    drop(waiting);
}
