//! HTTP/2: the same answers as on HTTP/1.1, and the limits of each request.

#![allow(
    clippy::too_many_lines,
    reason = "a table of cases is one list, however long"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chassis::testkit::Stub;
use futures_util::future::join_all;
use harness::TIMEOUT;
use harness::raw::{self, Request};
use http_body_util::BodyExt;
use shop_tests::fake::Fake;
use shop_tests::faults::Faults;
use shop_tests::shop;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::Played;
use super::secure::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, RST_STREAM,
    Raw, SETTINGS, block, frame, head, request, secure,
};

// Numbers of settings.
const INITIAL_WINDOW_SIZE: u16 = 4;

// Errors.
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;

const JSON: (&str, &str) = ("content-type", "application/json");

async fn echo() -> Fake {
    Fake::start(|_| async { raw::json("200 OK", "", "{}") }).await
}

/// A service that sends a response of this many bytes to each request.
async fn sending(bytes: usize) -> Played {
    Played::start(move |_, mut stream| async move {
        while Request::read(&mut stream).await.is_some() {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            let sent = [head.as_bytes(), &vec![b'x'; bytes]].concat();
            if stream.write_all(&sent).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_answers_are_those_of_http_1() {
    const OWN: [&str; 4] = ["date", "x-request-id", "ratelimit", "ratelimit-policy"];
    let users = shop::users().await;
    shop::add_user(&users, "ada").await;
    let secure = secure(&users.upstream_url(), &[]).await;
    let tunnel = secure.port.tunnel().await;
    let mut client = secure.port.client().await;
    let user = r#"{"name":"Ada","email":"ada@example.com"}"#;
    for (method, path, headers, body) in [
        ("GET", "/api/users/1", [].as_slice(), ""),
        ("HEAD", "/api/users/1", &[], ""),
        ("GET", "/api/users/9", &[], ""),
        ("HEAD", "/api/users/9", &[], ""),
        ("POST", "/api/users", &[JSON], user),
        ("POST", "/api/users", &[JSON], "{"),
        ("PUT", "/api/users", &[], ""),
        ("OPTIONS", "/api/users", &[], ""),
        ("GET", "/api/users/../orders", &[], ""),
        ("GET", "/api/orders/1", &[], ""),
        ("GET", "/docs", &[("accept-encoding", "gzip")], ""),
        ("HEAD", "/docs", &[], ""),
        ("GET", "/nothing", &[], ""),
        ("DELETE", "/health", &[], ""),
    ] {
        let http2 = client.send(request(method, path, headers, body)).await;
        let http2 = http2.unwrap_or_else(|cause| panic!("{method} {path}: {cause}"));
        let http1 = raw::request(method, path, headers, body.as_bytes());
        let http1 = raw::exchange(tunnel, &http1).await.expect("an answer");
        assert_eq!(http2.status, http1.status, "{method} {path}");
        let names = http1.headers.keys().filter(|name| {
            let name = name.as_str();
            !OWN.contains(&name) && !["connection", "transfer-encoding"].contains(&name)
        });
        for name in names {
            let name = name.as_str();
            assert_eq!(
                http2.header(name),
                http1.header(name),
                "{method} {path}: {name}"
            );
        }
        for name in OWN.iter().filter(|name| http1.headers.contains_key(**name)) {
            assert_ne!(http2.header(name), "", "{method} {path}: {name}");
        }
        assert_eq!(http2.header("connection"), "", "{method} {path}");
        let without_id = |body: &[u8]| {
            let text = String::from_utf8_lossy(body).into_owned();
            text.split("\"requestId\"")
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(
            without_id(&http2.body),
            without_id(&http1.body),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn what_was_read_before_is_not_sent_again() {
    let products = Fake::start(|_| async { raw::json("200 OK", "", r#"{"id":"1"}"#) }).await;
    let users = echo().await;
    let products = products.url().as_str().to_owned();
    let settings = [("PRODUCT_SERVICE_URL", &*products)];
    let secure = secure(&users.url(), &settings).await;
    let mut client = secure.port.client().await;
    let first = client.get("/api/products/1").await;
    let tag = first.header("etag").to_owned();
    assert_ne!(tag, "", "{first:?}");
    let again = request("GET", "/api/products/1", &[("if-none-match", &tag)], "");
    let again = client.send(again).await.expect("an answer");
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(again.header("etag"), tag);
}

#[tokio::test]
async fn a_request_arrives_as_one_of_http_1() {
    let users = echo().await;
    let secure = secure(&users.url(), &[]).await;
    let mut client = secure.port.client().await;
    let cookies = [
        ("cookie", "a=1"),
        ("cookie", "b=2; c=3"),
        ("cookie", "d=4"),
        ("te", "trailers"),
        ("expect", "100-continue"),
    ];
    let post = request("POST", "/api/users?a=%20", &cookies, "the body");
    client.send(post).await.expect("an answer").expect(200);
    let seen = &users.seen()[0];
    let text = seen.text();
    assert!(
        text.starts_with("POST /api/users?a=%20 HTTP/1.1\r\n"),
        "{text}"
    );
    assert_eq!(seen.header("cookie"), "a=1; b=2; c=3; d=4");
    assert_eq!(text.matches("cookie:").count(), 1, "{text}");
    assert_eq!(seen.header("host"), "shop.test");
    assert_eq!(seen.header("x-forwarded-host"), "shop.test");
    assert_eq!(seen.header("content-length"), "8");
    assert_eq!(seen.header("te"), "");
    assert_eq!(seen.header("expect"), "");
    assert_eq!(seen.body(), "the body");
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    const REQUESTS: usize = 80;
    let (all, mut are_there) = mpsc::channel(REQUESTS);
    // Nobody is answered before all are there.
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let users = Fake::start(move |request| {
        let (all, gate) = (all.clone(), Arc::clone(&gate));
        async move {
            all.send(()).await.expect("the test");
            let _pass = gate.acquire().await.expect("open");
            let body = format!("\"{}\"", request.target);
            raw::json("200 OK", "", &body)
        }
    })
    .await;
    let secure = secure(&users.url(), &[]).await;
    let client = secure.port.client().await;
    let asking = join_all((0..REQUESTS).map(|n| {
        let mut client = client.clone();
        async move {
            let path = format!("/api/users/{n}");
            let got = client.get(&path).await.expect(200);
            assert_eq!(got.as_str(), Some(&*path), "each gets its own");
        }
    }));
    let opening = async {
        for _ in 0..REQUESTS {
            are_there.recv().await;
        }
        opened.add_permits(REQUESTS);
    };
    tokio::join!(asking, opening);
}

#[tokio::test]
async fn one_request_too_many_is_refused_so_that_a_client_may_repeat_it() {
    let hanging = Stub::hanging().await;
    let secure = secure(&hanging.url(), &[]).await;
    let mut raw = Raw::open(&secure.port, &[]).await;
    let streams = (0..101).map(|n| 2 * n + 1);
    for stream in streams {
        raw.get(stream, "/api/users/1").await;
    }
    let refused = raw.until(RST_STREAM).await;
    assert_eq!((refused.stream, refused.error()), (201, REFUSED_STREAM));
}

#[tokio::test]
async fn each_request_needs_a_permit() {
    let hanging = Stub::hanging().await;
    let settings = [("MAX_IN_FLIGHT", "3"), ("CLIENT_SHARE_PERCENT", "100")];
    let secure = secure(&hanging.url(), &settings).await;
    let mut raw = Raw::open(&secure.port, &[]).await;
    for stream in [1, 3, 5] {
        raw.get(stream, "/api/users/1").await;
    }
    let mut client = secure.port.client().await;
    // The three may be on their way.
    let started = Instant::now();
    let refused = loop {
        let got = client.get("/api/users/1").await;
        if got.status == 503 || started.elapsed() > TIMEOUT {
            break got;
        }
    };
    refused.expect_error(503, "overloaded");
    // Operators can still look.
    client.get("/health").await.expect(200);
    // One is given back with its request.
    let cancel = 8_u32.to_be_bytes();
    raw.send(&frame(RST_STREAM, 0, 1, &cancel))
        .await
        .expect("sent");
    let waiting = client.get("/api/users/1");
    let waited = timeout(Duration::from_millis(1500), waiting).await;
    assert!(waited.is_err(), "it waits for the service: {waited:?}");
}

#[tokio::test]
async fn one_address_has_so_many_requests_at_a_time() {
    let hanging = Stub::hanging().await;
    // Each of the connections may have one; together they may have eight more.
    let secure = secure(&hanging.url(), &[("MAX_CONNECTIONS", "10")]).await;
    let mut raw = Raw::open(&secure.port, &[]).await;
    for n in 0..12 {
        raw.get(2 * n + 1, "/api/users/1").await;
    }
    for expected in [19, 21, 23] {
        let refused = raw.until(RST_STREAM).await;
        assert_eq!(
            (refused.stream, refused.error()),
            (expected, REFUSED_STREAM)
        );
    }
    // Another connection may have one.
    secure.port.client().await.get("/health").await.expect(200);
}

/// What happened to a request: its status as the first byte of its head tells, or its error.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    /// 400 to 499.
    Refused,
    Reset(u32),
    Ended(u32),
}

impl Outcome {
    async fn of(raw: &mut Raw, stream: u32) -> Self {
        loop {
            let frame = raw.next().await.expect("an answer");
            match frame.kind {
                HEADERS if frame.stream == stream => {
                    return match frame.payload[0] {
                        // The statuses that have numbers: 200, 400 and 404.
                        0x88 => Self::Ok,
                        0x8c | 0x8d => Self::Refused,
                        // Digits in the code of Huffman: 4 is 011010, 5 is 011011.
                        0x48 if frame.payload[2] >> 2 == 0b01_1010 => Self::Refused,
                        other => panic!("status {other:x}: {:?}", frame.payload),
                    };
                }
                RST_STREAM if frame.stream == stream => return Self::Reset(frame.error()),
                GOAWAY => return Self::Ended(frame.error()),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_head_that_could_be_understood_in_two_ways_is_refused() {
    const METHOD: (&str, &str) = (":method", "GET");
    const SCHEME: (&str, &str) = (":scheme", "https");
    const HOST: (&str, &str) = (":authority", "shop.test");
    const PATH: (&str, &str) = (":path", "/api/users/1");
    let users = echo().await;
    let secure = secure(&users.url(), &[]).await;
    let good = [METHOD, SCHEME, HOST, PATH];
    let with = |more: &[(&'static str, &'static str)]| [&good, more].concat();
    let path = |path: &'static str| vec![METHOD, SCHEME, HOST, (":path", path)];
    let host = |host: &'static str| vec![METHOD, SCHEME, (":authority", host), PATH];
    let many: Vec<_> = (0..97).map(|_| ("x", "1")).collect();
    let long: &'static str = Box::leak("x".repeat(14_000).into_boxed_str());
    let malformed = Outcome::Reset(PROTOCOL_ERROR);
    let mut faults = Faults::default();
    for (headers, expected, reason) in [
        (with(&[]), &Outcome::Ok, "nothing wrong"),
        (
            with(&[("host", "shop.test")]),
            &Outcome::Ok,
            "the same host twice",
        ),
        (
            vec![METHOD, SCHEME, PATH, ("host", "shop.test")],
            &Outcome::Ok,
            "only Host",
        ),
        (
            with(&[("host", "other.test")]),
            &Outcome::Refused,
            "two hosts",
        ),
        (
            with(&[("host", "shop.test"), ("host", "shop.test")]),
            &Outcome::Refused,
            "Host twice",
        ),
        (vec![METHOD, SCHEME, PATH], &Outcome::Refused, "no host"),
        (host("a@shop.test"), &Outcome::Refused, "a user in the host"),
        (host("shop.test/x"), &malformed, "a path in the host"),
        (host(""), &malformed, "an empty host"),
        (
            vec![METHOD, (":scheme", "http"), HOST, PATH],
            &Outcome::Refused,
            "another scheme",
        ),
        (path("api/users/1"), &malformed, "a path without a slash"),
        (path("*"), &Outcome::Refused, "an asterisk"),
        (
            path("/api/users/\u{fc}"),
            &Outcome::Refused,
            "a path that is not ASCII",
        ),
        (
            path("/api/users/../orders"),
            &Outcome::Refused,
            "a path upwards",
        ),
        (
            path("/api/users/a%2fb"),
            &Outcome::Refused,
            "a slash within a segment",
        ),
        (path("//api/users/1"), &Outcome::Refused, "an empty segment"),
        (
            path("/api/users/1 HTTP/1.1"),
            &malformed,
            "a space in the path",
        ),
        (path(""), &malformed, "an empty path"),
        (vec![SCHEME, HOST, PATH], &malformed, "no method"),
        (vec![METHOD, HOST, PATH], &malformed, "no scheme"),
        (vec![METHOD, SCHEME, HOST], &malformed, "no path"),
        (with(&[PATH]), &malformed, "two paths"),
        (
            with(&[("x", "1"), (":protocol", "websocket")]),
            &malformed,
            "a late pseudo header",
        ),
        (with(&[("X-Upper", "1")]), &malformed, "upper case"),
        (
            with(&[("connection", "close")]),
            &malformed,
            "a header of a connection",
        ),
        (
            with(&[("transfer-encoding", "chunked")]),
            &malformed,
            "a coding",
        ),
        (with(&[("upgrade", "websocket")]), &malformed, "an upgrade"),
        (
            with(&[("te", "gzip")]),
            &malformed,
            "a TE that is not trailers",
        ),
        (with(&[("x", "a\r\nb: c")]), &malformed, "a line break"),
        (with(&[("x", "a\0")]), &malformed, "a NUL"),
        (
            with(&[("content-length", "0"), ("content-length", "0")]),
            &Outcome::Refused,
            "two lengths",
        ),
        (
            with(&[("content-length", "-1")]),
            &malformed,
            "a negative length",
        ),
        (with(&[("content-length", "+0")]), &malformed, "a sign"),
        (
            with(&[("content-length", "5")]),
            &malformed,
            "a length without a body",
        ),
        (
            vec![(":method", "CONNECT"), (":authority", "a:80")],
            &Outcome::Refused,
            "CONNECT",
        ),
        (
            vec![
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                SCHEME,
                HOST,
                PATH,
            ],
            &malformed,
            "the extended CONNECT",
        ),
        (with(&many), &Outcome::Refused, "97 headers"),
        (with(&[("x", long)]), &Outcome::Ok, "a long header"),
    ] {
        let mut raw = Raw::open(&secure.port, &[]).await;
        let sent = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&headers));
        raw.send(&sent).await.expect("sent");
        let outcome = Outcome::of(&mut raw, 1).await;
        let is_ended = outcome == Outcome::Ended(PROTOCOL_ERROR);
        let is_good = outcome == *expected || *expected == malformed && is_ended;
        faults.ensure(reason, is_good, || format!("{outcome:?}"));
    }
    faults.expect("only the good ones are passed on", users.seen().len(), 4);
    faults.finish();
}

#[tokio::test]
async fn a_body_that_does_not_have_its_length_is_never_complete() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let played = Played::start(move |_, mut stream| {
        let record = Arc::clone(&record);
        async move {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes).await;
            record.lock().expect("no panic").push(bytes);
        }
    })
    .await;
    let secure = secure(&played.url, &[]).await;
    let head = head("POST", "/api/users", &[JSON, ("content-length", "10")]);
    for (body, reason) in [
        ("{\"name\":1", "too short"),
        ("{\"name\":\"x\"", "too long"),
    ] {
        let mut raw = Raw::open(&secure.port, &[]).await;
        let sent = [
            frame(HEADERS, END_HEADERS, 1, &head),
            frame(DATA, END_STREAM, 1, body.as_bytes()),
        ];
        raw.send(&sent.concat()).await.expect("sent");
        let outcome = Outcome::of(&mut raw, 1).await;
        assert_eq!(outcome, Outcome::Reset(PROTOCOL_ERROR), "{reason}");
    }
    for bytes in &*seen.lock().expect("no panic") {
        let text = String::from_utf8_lossy(bytes);
        let body = text.split("\r\n\r\n").nth(1).unwrap_or_default();
        assert!(body.len() < 10, "{text}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_without_being_read() {
    let users = echo().await;
    let secure = secure(&users.url(), &[]).await;
    let mut client = secure.port.client().await;
    let large = "x".repeat(64 * 1024 + 1);
    let got = client
        .send(request("POST", "/api/users", &[JSON], &large))
        .await;
    got.expect("an answer")
        .expect_error(413, "payload_too_large");
    client.get("/api/users/1").await.expect(200);

    let head = head("POST", "/api/users", &[JSON, ("content-length", "1000000")]);
    let mut raw = Raw::open(&secure.port, &[]).await;
    raw.send(&frame(HEADERS, END_HEADERS, 1, &head))
        .await
        .expect("sent");
    assert_eq!(Outcome::of(&mut raw, 1).await, Outcome::Refused);
    // The client need not send the rest.
    assert_eq!(raw.until(RST_STREAM).await.error(), NO_ERROR);
}

#[tokio::test]
async fn a_large_head_is_refused() {
    let users = echo().await;
    let secure = secure(&users.url(), &[]).await;
    let mut raw = Raw::open(&secure.port, &[]).await;
    assert!(
        raw.until(SETTINGS)
            .await
            .payload
            .windows(6)
            .any(|setting| { setting == [0, 6, 0, 1, 0, 0] }),
        "the client is told the limit"
    );
    let value = "x".repeat(10_000);
    let block = head("GET", "/api/users/1", &[("a", &*value); 7]);
    let mut pieces = block.chunks(16_000);
    let first = pieces.next().expect("a piece");
    let mut sent = frame(HEADERS, END_STREAM, 1, first);
    let pieces: Vec<_> = pieces.collect();
    for (n, piece) in pieces.iter().enumerate() {
        let flags = if n + 1 == pieces.len() {
            END_HEADERS
        } else {
            0
        };
        sent.extend(frame(CONTINUATION, flags, 1, piece));
    }
    raw.send(&sent).await.expect("sent");
    assert_eq!(Outcome::of(&mut raw, 1).await, Outcome::Refused);
    assert!(users.seen().is_empty());
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_request_and_no_other() {
    let played = sending(1 << 20).await;
    let secure = secure(&played.url, &[("BODY_TIMEOUT_MS", "600")]).await;
    let mut raw = Raw::open(&secure.port, &[(INITIAL_WINDOW_SIZE, 1000)]).await;
    let started = Instant::now();
    raw.get(1, "/api/users/1").await;
    let mut others = 0;
    loop {
        // Others on this connection are answered in the meantime.
        others += 2;
        raw.get(1 + others, "/health").await;
        let mut frame = raw.next().await.expect("it stays open");
        while frame.kind != HEADERS || frame.stream != 1 + others {
            if frame.kind == RST_STREAM {
                break;
            }
            frame = raw.next().await.expect("it stays open");
        }
        if frame.kind == RST_STREAM {
            assert_eq!(frame.stream, 1);
            break;
        }
        assert!(started.elapsed() < TIMEOUT);
        sleep(Duration::from_millis(20)).await;
    }
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert!(others > 2, "some were answered");
    raw.get(501, "/health").await;
    assert_eq!(Outcome::of(&mut raw, 501).await, Outcome::Ok);
}

#[tokio::test]
async fn a_response_that_its_client_does_not_read_gives_way() {
    let played = sending(5000).await;
    let settings = [("MAX_IN_FLIGHT", "1"), ("CLIENT_SHARE_PERCENT", "100")];
    let secure = secure(&played.url, &settings).await;
    let mut raw = Raw::open(&secure.port, &[(INITIAL_WINDOW_SIZE, 10)]).await;
    raw.get(1, "/api/users/1").await;
    assert_eq!(raw.until(DATA).await.payload, b"xxxxxxxxxx");
    let mut client = secure.port.client().await;
    let got = client.get("/api/users/1").await;
    assert_eq!((got.status, got.body.len()), (200, 5000));
    assert_eq!(raw.until(RST_STREAM).await.stream, 1);
    raw.get(3, "/health").await;
    assert_eq!(Outcome::of(&mut raw, 3).await, Outcome::Ok);
}

#[tokio::test]
async fn a_client_that_does_not_send_its_body_gets_408() {
    let users = shop::users().await;
    let secure = secure(&users.upstream_url(), &[("BODY_TIMEOUT_MS", "400")]).await;
    let mut raw = Raw::open(&secure.port, &[]).await;
    let head = head("POST", "/api/users", &[JSON]);
    let sent = [
        frame(HEADERS, END_HEADERS, 1, &head),
        frame(DATA, 0, 1, b"{\"name\":"),
    ];
    raw.send(&sent.concat()).await.expect("sent");
    raw.get(3, "/health").await;
    assert_eq!(Outcome::of(&mut raw, 3).await, Outcome::Ok);
    assert_eq!(Outcome::of(&mut raw, 1).await, Outcome::Refused);
}

#[tokio::test]
async fn half_a_head_has_its_time_out_beside_other_requests() {
    let hanging = Stub::hanging().await;
    let secure = secure(&hanging.url(), &[("HEAD_TIMEOUT_MS", "400")]).await;
    let block = head("GET", "/health", &[]);
    let whole = frame(HEADERS, END_STREAM, 3, &block);
    for (sent, reason) in [
        (&whole[..20], "half a frame"),
        (&whole[..], "a frame that others must follow"),
    ] {
        let mut raw = Raw::open(&secure.port, &[]).await;
        raw.get(1, "/api/users/1").await;
        let started = Instant::now();
        raw.send(sent).await.expect("sent");
        raw.rest().await;
        let taken = started.elapsed();
        assert!(taken >= Duration::from_millis(400), "{reason}: {taken:?}");
        assert!(taken < Duration::from_secs(4), "{reason}: {taken:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go_away() {
    let users = echo().await;
    let secure = secure(&users.url(), &[("IDLE_TIMEOUT_MS", "500")]).await;
    let mut raw = Raw::open(&secure.port, &[]).await;
    raw.get(1, "/api/users/1").await;
    assert_eq!(Outcome::of(&mut raw, 1).await, Outcome::Ok);
    // A ping is no request.
    let started = Instant::now();
    let mut frames: Vec<Frame> = Vec::new();
    let ping = frame(PING, 0, 0, &[1; 8]);
    while started.elapsed() < TIMEOUT {
        if raw.send(&ping).await.is_err() {
            break;
        }
        let pause = Duration::from_millis(100);
        frames.extend(raw.next_within(pause).await);
        if frames.iter().any(|frame| frame.kind == GOAWAY) {
            break;
        }
    }
    assert!(started.elapsed() < TIMEOUT / 2, "{:?}", started.elapsed());
    let goodbye = frames.iter().find(|frame| frame.kind == GOAWAY);
    assert_eq!(goodbye.expect("a farewell").error(), NO_ERROR);
    raw.rest().await;
}

#[tokio::test]
async fn an_idle_connection_gives_way_to_a_new_one() {
    let users = echo().await;
    let secure = secure(&users.url(), &[("MAX_CONNECTIONS", "5")]).await;
    // As many as one address may have.
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = secure.port.client().await;
        client.get("/api/users/1").await.expect(200);
        clients.push(client);
    }
    let mut client = secure.port.client().await;
    client.get("/api/users/1").await.expect(200);
    let started = Instant::now();
    while !clients[0].is_closed() {
        assert!(started.elapsed() < TIMEOUT, "the oldest is closed");
        sleep(Duration::from_millis(5)).await;
    }
    for client in &mut clients[1..] {
        client.get("/api/users/1").await.expect(200);
    }
}

#[tokio::test]
async fn a_shutdown_says_goodbye_and_loses_no_request() {
    let (arrived, mut has_arrived) = mpsc::channel(10);
    let users = Fake::start(move |_| {
        let arrived = arrived.clone();
        async move {
            arrived.send(()).await.expect("the test");
            sleep(Duration::from_millis(600)).await;
            raw::json("200 OK", "", "{}")
        }
    })
    .await;
    let secure = secure(&users.url(), &[]).await;
    let mut raw = Raw::open(&secure.port, &[]).await;
    raw.get(1, "/api/users/1").await;
    has_arrived.recv().await.expect("in flight");
    let stopping = tokio::spawn(secure.server.stop());
    let goodbye = raw.until(GOAWAY).await;
    assert_eq!(goodbye.error(), NO_ERROR);
    assert_eq!(
        goodbye.payload[..4],
        [0x7f, 0xff, 0xff, 0xff],
        "all so far are answered"
    );
    // This one was on its way.
    raw.get(3, "/api/users/2").await;
    let ping = raw.until(PING).await;
    raw.send(&frame(PING, ACK, 0, &ping.payload))
        .await
        .expect("sent");
    let mut answered = Vec::new();
    let mut last = None;
    for frame in raw.rest().await {
        match frame.kind {
            HEADERS => answered.push((frame.stream, frame.payload[0])),
            GOAWAY => last = Some(frame.payload[..4].to_vec()),
            _ => {}
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, [(1, 0x88), (3, 0x88)]);
    assert_eq!(last, Some(vec![0, 0, 0, 3]), "what was the last one");
    stopping.await.expect("stopped");
}

#[tokio::test]
async fn an_event_stream_arrives_event_by_event_and_ends_at_a_shutdown() {
    let (more, wanted) = mpsc::channel::<()>(1);
    let wanted = Arc::new(AsyncMutex::new(wanted));
    let played = Played::start(move |_, mut stream| {
        let wanted = Arc::clone(&wanted);
        async move {
            Request::read(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            while wanted.lock().await.recv().await.is_some() {
                let _ = stream.write_all(b"data: 1\n\n").await;
            }
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await;
    let secure = secure(&played.url, &[]).await;
    let mut client = secure.port.client().await;
    let events = client
        .begin(request("GET", "/api/users/events", &[], ""))
        .await;
    let mut events = events.expect("the head at once").into_body();
    for _ in 0..3 {
        more.send(()).await.expect("it listens");
        let mut event = Vec::new();
        while event.len() < 9 {
            let data = next(&mut events).await.expect("an event");
            event.extend(data);
        }
        assert_eq!(event, b"data: 1\n\n");
    }
    let started = Instant::now();
    let stopping = tokio::spawn(secure.server.stop());
    // An error would be a response that breaks off.
    while let Some(rest) = next(&mut events).await {
        assert!(rest.is_empty(), "{rest:?}");
    }
    stopping.await.expect("stopped");
    assert!(started.elapsed() < Duration::from_secs(3));
}

/// The next piece of a body; none at its end.
async fn next(body: &mut hyper::body::Incoming) -> Option<Bytes> {
    let frame = timeout(TIMEOUT, body.frame()).await.expect("in time")?;
    Some(frame.expect("a whole body").into_data().expect("data"))
}

#[tokio::test]
async fn a_response_that_breaks_off_is_broken_off() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    let played = Played::sending(head).await;
    let secure = secure(&played.url, &[]).await;
    let mut client = secure.port.client().await;
    let got = client.send(request("GET", "/api/users/1", &[], "")).await;
    got.expect_err("it is not complete");
    client.get("/health").await.expect(200);
}
