//! What the gateway does not forward: paths that could reach another service, requests that two
//! readers could understand in two ways, and bodies over the limit.

use std::net::SocketAddr;

use chassis::testkit::Server;
use harness::raw::{self, Connection, chunked, exchange, request};
use serde_json::json;
use shop_tests::fake::Fake;
use shop_tests::faults::Faults;
use shop_tests::shop;

use super::{Played, gateway};

const LIMIT: usize = 64 * 1024;

#[tokio::test]
async fn a_path_that_could_reach_another_service_is_not_forwarded() {
    let fake = Fake::start(|_| async { raw::json("200 OK", "", "{}") }).await;
    let gateway = gateway(&fake.url()).await;
    for target in [
        "/api/users/../orders",
        "/api/users/..",
        "/api/users/.",
        "/api/users/./1",
        "/api/users/%2e%2e/orders",
        "/api/users/%2E./orders",
        "/api/users/.%2e/orders",
        "/api/users/..%2forders",
        "/api/users/a%2Fb",
        "/api/users/a%5cb",
        "/api/users/a\\..\\orders",
        "/api/users/%00",
        "/api/users/",
        "/api/users//1",
        "/api//users/1",
        "//api/users/1",
        "/api/users/1/",
        "http://shop.test/api/users/../orders",
    ] {
        let got = exchange(gateway.address(), &request("GET", target, &[], b"")).await;
        let got = got.expect("an answer");
        assert!(matches!(got.status, 400 | 404), "{target}: {}", got.status);
    }
    assert!(fake.seen().is_empty(), "{:?}", fake.seen());
}

#[tokio::test]
async fn a_request_cannot_hide_another_one() {
    let users = shop::users().await;
    shop::add_user(&users, "ada").await;
    let gateway = gateway(&users.upstream_url()).await;
    nothing_hides(&users, &gateway, gateway.address()).await;
}

/// Sends requests that hide another one to a gateway at this address.
pub(crate) async fn nothing_hides(users: &Server, gateway: &Server, address: SocketAddr) {
    let mut faults = Faults::default();
    let hidden = "DELETE /api/users/1 HTTP/1.1\r\nhost: a\r\nx: ";
    let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let post = |headers: &str, body: &str| {
        format!(
            "POST /api/users HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{headers}\r\n{body}"
        )
    };
    let length = hidden.len();
    for (bytes, reason) in [
        (
            post("content-length: 4\r\ntransfer-encoding: chunked\r\n", &format!("0\r\n\r\n{hidden}")),
            "both framings, the chunks end first",
        ),
        (
            post(
                &format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", length + 5),
                &format!("0\r\n\r\n{hidden}"),
            ),
            "both framings, the length ends last",
        ),
        (
            post(&format!("content-length: 0\r\ncontent-length: {length}\r\n"), hidden),
            "two lengths",
        ),
        (post("content-length: 0\r\ncontent-length : 9\r\n", hidden), "a space before the colon"),
        (post("transfer-encoding: chunked\r\ntransfer-encoding: x\r\n", &chunk), "two codings"),
        (post("transfer-encoding: xchunked\r\n", &chunk), "an unknown coding"),
        (post("transfer-encoding:\x0bchunked\r\n", &chunk), "a vertical tab"),
        (post(" transfer-encoding: chunked\r\n", &chunk), "a folded line"),
        (post("x: a\r\n\ttransfer-encoding: chunked\r\n", &chunk), "another folded line"),
        (post("transfer-encoding: chunked\r\n", &format!("0;a\n\r\n{hidden}")), "a bare line feed"),
        (post("transfer-encoding: chunked\r\n", &format!("0\n\n{hidden}")), "only line feeds"),
        (post("transfer-encoding: chunked\r\n", &format!("00000000000000000\r\n\r\n{hidden}")), "many digits"),
        (post("transfer-encoding: chunked\r\n", &format!("-0\r\n\r\n{hidden}")), "a sign"),
        (
            post("connection: content-length\r\ncontent-length: 0\r\n", ""),
            "a length that is said to be about the connection",
        ),
        (
            post(
                &format!("connection: transfer-encoding, content-length\r\ncontent-length: {length}\r\n"),
                hidden,
            ),
            "the same with a body",
        ),
        (
            format!("GET /api/users/2 HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{hidden}"),
            "the body of a GET",
        ),
        (
            format!("GET /api/users/2 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"),
            "a GET in chunks",
        ),
        (
            format!("GET /api/users/2 HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n{hidden}"),
            "after an upgrade that is refused",
        ),
        (
            format!("GET /api/users/2\x20HTTP/1.1\r\nhost: a\r\nx: a\rb: {hidden}\r\n\r\n"),
            "a bare carriage return",
        ),
        (
            "GET /api/users/2%20HTTP/1.1%0d%0ahost:%20a%0d%0a%0d%0aDELETE%20/api/users/1 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            "line breaks in the path",
        ),
    ] {
        let mut connection = Connection::open(address).await;
        connection.send(bytes.as_bytes()).await.expect("sent");
        let first = connection.answer(false).await;
        faults.ensure(reason, matches!(&first, Ok(got) if got.status >= 400), || {
            format!("{first:?}")
        });
        // What is hidden is never complete, so nothing answers it.
        connection.finish_sending().await;
        drop(connection);
        let ada = users.get("/api/users/1").await.status;
        faults.expect(format!("{reason}: ada is there"), ada, 200);
        // Nor does it wait on a connection for the next request.
        let next = gateway.get("/api/users/1").await.status;
        faults.expect(format!("{reason}: the next request"), next, 200);
    }
    faults.finish();
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_without_being_read() {
    let played = Played::sending("").await;
    let gateway = gateway(&played.url).await;
    let json = ("content-type", "application/json");
    for length in [LIMIT + 1, 10 << 20] {
        let length = length.to_string();
        let head = request(
            "POST",
            "/api/users",
            &[json, ("content-length", &length)],
            b"",
        );
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(&head).await.expect("sent");
        let got = connection.answer(false).await.expect("an answer at once");
        assert_eq!(got.header("connection"), "close");
        got.expect_error(413, "payload_too_large");
    }
    assert_eq!(played.accepted(), 0, "nothing was forwarded");

    let chunks = chunked(&vec![b' '; 10 << 20], 5000);
    let head = request(
        "POST",
        "/api/users",
        &[json, ("transfer-encoding", "chunked")],
        b"",
    );
    let mut connection = Connection::open(gateway.address()).await;
    let bytes = [head, chunks].concat();
    let answers = connection.answers(&bytes, 1, harness::TIMEOUT).await;
    assert_eq!(answers.first().map(|got| got.status), Some(413));

    let users = shop::users().await;
    let gateway = super::gateway(&users.upstream_url()).await;
    let name = "x".repeat(LIMIT);
    let got = gateway
        .post(
            "/api/users",
            json!({"name": name, "email": "a@example.com"}),
        )
        .await;
    got.expect_error(413, "payload_too_large");
    let padded = format!(
        "{}{}",
        r#"{"name":"Ada","email":"a@example.com"}"#,
        " ".repeat(LIMIT - 38)
    );
    for (framing, body) in [
        (("content-length", "65536"), padded.clone().into_bytes()),
        (
            ("transfer-encoding", "chunked"),
            chunked(padded.replace("a@", "b@").as_bytes(), 999),
        ),
    ] {
        let whole = request("POST", "/api/users", &[json, framing], &body);
        let got = exchange(gateway.address(), &whole).await;
        got.expect("an answer").expect(201);
    }
}
