//! Connections and requests as real clients send them: in several writes, several at once, half
//! closed, with headers that no library would send. All five frameworks treat them alike.

use std::time::Duration;

use harness::TIMEOUT;
use harness::raw::{Connection, chunked, request};
use shop_tests::faults::{Faults, good};
use tokio::time::{Instant, sleep};

use super::{JSON, Subject, World, error, standard, status};

/// How often a test repeats what depends on time.
const TIMES: usize = 20;

/// A pause in which the first part of a request arrives, and is perhaps answered.
const PAUSE: Duration = Duration::from_micros(500);

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nhost: shop.test\r\n\r\n";

/// Sends the head and the body of a request in two writes. Checks that the next request is
/// answered on the same connection, unless the response has announced that it closes.
async fn send_twice(subject: &Subject<'_>, head: &[u8], body: &[u8]) -> Result<u16, String> {
    let mut connection = Connection::open(subject.server.address()).await;
    let refused = |cause: std::io::Error| format!("not sent: {cause}");
    connection.send(head).await.map_err(refused)?;
    sleep(PAUSE).await;
    // After a response that closes the connection, this may fail.
    let sent = connection.send(body).await;
    let first = connection.answer(false).await?;
    if first.header("connection") == "close" {
        let rest = connection.rest().await?;
        good(rest.is_empty(), "something follows the last response")?;
    } else {
        sent.map_err(refused)?;
        connection.send(HEALTH).await.map_err(refused)?;
        let next = connection.answer(false).await;
        let next = next.map_err(|fault| format!("the next request is lost: {fault}"))?;
        good(next.status == 200, format!("the next response: {next:?}"))?;
    }
    Ok(first.status)
}

#[tokio::test]
async fn no_request_is_lost_after_a_response_that_does_not_wait_for_the_body() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let large = vec![b' '; 40_000];
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases = vec![
            ("POST", "/nothing", JSON, "", 404),
            ("POST", "/health", JSON, "", 405),
            ("GET", "/health", JSON, "", 200),
        ];
        for route in &subject.bodies {
            let text = ("content-type", "text/plain");
            cases.push((route.method, route.path, text, "", 415));
            cases.push((route.method, route.path, text, "100-continue", 415));
        }
        for (method, path, content_type, expect, expected) in cases {
            let chunks = chunked(&large, 1000);
            for (framing, body) in [
                (("content-length", "2"), &b"{}"[..]),
                (("content-length", "40000"), &large[..]),
                (("transfer-encoding", "chunked"), &chunks[..]),
            ] {
                let mut headers = vec![content_type, framing];
                if !expect.is_empty() {
                    headers.push(("expect", expect));
                }
                let head = request(method, path, &headers, b"");
                let what = format!("{}: {method} {path}, {framing:?} {expect}", subject.name);
                for _ in 0..TIMES {
                    let got = send_twice(&subject, &head, body).await;
                    faults.expect(&what, got, Ok(expected));
                }
            }
        }
    }
    faults.finish();
}

#[tokio::test]
async fn requests_that_are_sent_at_once_are_answered_in_order() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let body = chunked(b"{}", 1);
        let chunks = [JSON, ("transfer-encoding", "chunked")];
        let all: [(&str, Vec<u8>, u16); 9] = [
            ("HEAD", request("HEAD", "/health", &[], b""), 200),
            ("GET", request("GET", "/health", &[], b""), 200),
            ("HEAD", request("HEAD", "/nothing", &[], b""), 404),
            ("POST", request("POST", "/health", &[JSON], b"{}"), 405),
            ("HEAD", request("HEAD", "/docs", &[], b""), 200),
            ("POST", request("POST", "/nothing", &[JSON], b"{}"), 404),
            ("OPTIONS", request("OPTIONS", "/health", &[], b""), 204),
            ("GET", request("GET", "/metrics", &[], b""), 200),
            ("POST", request("POST", "/nothing", &chunks, &body), 404),
        ];
        for count in 1..=all.len() {
            let mut connection = Connection::open(subject.server.address()).await;
            let bytes: Vec<u8> = all[..count]
                .iter()
                .flat_map(|(_, one, _)| one.clone())
                .collect();
            connection.send(&bytes).await.expect("a live connection");
            for (number, (method, _, expected)) in all[..count].iter().enumerate() {
                let got = connection.answer(*method == "HEAD").await;
                let what = format!("{}: {number} of {count}, {method}", subject.name);
                faults.expect(&what, status(&got), Ok(*expected));
                let Ok(got) = got else { break };
                faults.check(&what, standard(&got));
                if got.header("connection") == "close" {
                    break;
                }
            }
        }
        // In pieces of seven bytes, which begin and end anywhere.
        let mut connection = Connection::open(subject.server.address()).await;
        let bytes: Vec<u8> = all[..4]
            .iter()
            .flat_map(|(_, one, _)| one.clone())
            .collect();
        for piece in bytes.chunks(7) {
            connection.send(piece).await.expect("a live connection");
            sleep(PAUSE).await;
        }
        for (method, _, expected) in &all[..4] {
            let got = connection.answer(*method == "HEAD").await;
            let what = format!("{}: in pieces, {method}", subject.name);
            faults.expect(what, status(&got), Ok(*expected));
        }
    }
    faults.finish();
}

#[tokio::test]
async fn nothing_is_answered_after_the_last_request_of_a_connection() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let close = ("connection", "close");
    let too_many = vec![("x-many", "1"); 200];
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for (first, expected, reason) in [
            (
                request("GET", "/health", &[close], b""),
                200,
                "Connection: close",
            ),
            (b"GET /health HTTP/1.0\r\n\r\n".to_vec(), 200, "HTTP/1.0"),
            (request("GET", "/health", &too_many, b""), 431, "431"),
            (b"NONSENSE\r\n\r\n".to_vec(), 400, "no request line"),
            (
                request("POST", "/nothing", &[JSON, close], b"{}"),
                404,
                "a body",
            ),
        ] {
            let what = format!("{}: {reason}", subject.name);
            let mut connection = Connection::open(subject.server.address()).await;
            let bytes = [&first, HEALTH, HEALTH].concat();
            connection.send(&bytes).await.expect("a live connection");
            let got = connection.answer(false).await;
            faults.expect(&what, status(&got), Ok(expected));
            faults.expect(
                format!("{what}: announced"),
                got.map(|got| got.header("connection").to_owned()),
                // HTTP/1.0 closes unless the response says keep-alive.
                Ok(if reason == "HTTP/1.0" { "" } else { "close" }.to_owned()),
            );
            let rest = connection.rest().await;
            faults.expect(what, rest.map(|rest| rest.len()), Ok(0));
        }
    }
    faults.finish();
}

#[tokio::test]
async fn an_upgrade_that_is_not_offered_is_ignored() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for (connection, upgrade, reason) in [
            ("Upgrade, HTTP2-Settings", "h2c", "curl --http2, and Java"),
            ("Upgrade", "websocket", "a web socket"),
            ("keep-alive, upgrade", "TLS/1.0", "TLS"),
            ("upgrade", "", "to nothing"),
        ] {
            let mut headers = vec![("connection", connection), ("http2-settings", "AAMAAABk")];
            if !upgrade.is_empty() {
                headers.push(("upgrade", upgrade));
            }
            let mut client = Connection::open(subject.server.address()).await;
            for _ in 0..2 {
                let what = format!("{}: {reason}", subject.name);
                let sent = client.send(&request("GET", "/health", &headers, b"")).await;
                faults.expect(&what, sent.is_ok(), true);
                let got = client.answer(false).await;
                faults.expect(&what, status(&got), Ok(200));
                let got = got.map(|got| got.header("connection").to_owned());
                faults.expect(what, got, Ok(String::new()));
            }
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_client_that_has_closed_its_sending_side_gets_its_response() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases: Vec<_> = subject
            .all_gets()
            .into_iter()
            .map(|path| ("GET", path, 200))
            .collect();
        cases.push(("POST", "/nothing", 404));
        for route in &subject.bodies {
            cases.push((route.method, route.path, route.status));
        }
        for (method, path, expected) in cases {
            let route = subject
                .bodies
                .iter()
                .find(|route| (route.method, route.path) == (method, path));
            let body = route.map(|route| super::bytes(&(route.good)(world.fresh())));
            let what = format!("{}: {method} {path}", subject.name);
            let bytes = request(method, path, &[JSON], &body.unwrap_or_default());
            // printf … | nc
            let mut connection = Connection::open(subject.server.address()).await;
            connection.send(&bytes).await.expect("a live connection");
            connection.finish_sending().await;
            let started = Instant::now();
            let got = connection.answer(false).await;
            faults.expect(&what, status(&got), Ok(expected));
            let rest = connection.rest().await;
            faults.expect(
                format!("{what}: then closed"),
                rest.map(|rest| rest.len()),
                Ok(0),
            );
            faults.ensure(what, started.elapsed() < TIMEOUT / 4, || "late".to_owned());
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_request_has_one_valid_host() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for (version, hosts, good, reason) in [
            ("1.1", &["shop.test"][..], true, "a name"),
            ("1.1", &["127.0.0.1:8001"], true, "an address"),
            ("1.1", &["[::1]:8001"], true, "another address"),
            ("1.0", &[], true, "HTTP/1.0 has none"),
            ("1.1", &[], false, "none"),
            ("1.1", &["shop.test", "shop.test"], false, "two"),
            ("1.1", &[""], false, "empty"),
            ("1.1", &["shop test"], false, "two words"),
            ("1.1", &["shop.test/"], false, "a path"),
            ("1.1", &["ada@shop.test"], false, "a user"),
            ("1.1", &["shop.test:x"], false, "no port"),
            ("1.1", &["shöp.test"], false, "not ASCII"),
        ] {
            let hosts: Vec<_> = hosts
                .iter()
                .map(|host| format!("Host: {host}\r\n"))
                .collect();
            let hosts = hosts.concat();
            let bytes = format!("GET /health HTTP/{version}\r\nx-request-id: mine\r\n{hosts}\r\n");
            let got = subject.raw(bytes.as_bytes()).await;
            let what = format!("{}: {reason}", subject.name);
            if good {
                faults.expect(what, status(&got), Ok(200));
            } else {
                faults.check(&what, error(&got, 400, "validation_failed"));
                let id = got.map(|got| got.header("x-request-id").to_owned());
                faults.expect(what, id, Ok("mine".to_owned()));
            }
        }
    }
    faults.finish();
}

/// The first line of the response to `bytes` and its code, or how it fails.
async fn outcome(subject: &Subject<'_>, bytes: &[u8]) -> (u16, String) {
    match subject.raw(bytes).await {
        Ok(got) => {
            let body: serde_json::Value = serde_json::from_slice(&got.body).unwrap_or_default();
            (
                got.status,
                body["code"].as_str().unwrap_or_default().to_owned(),
            )
        }
        Err(fault) => (0, fault),
    }
}

#[tokio::test]
async fn an_unusual_head_has_the_same_outcome_everywhere() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let get =
        |line: &str, headers: &str| format!("{line}\r\nhost: a\r\n{headers}\r\n").into_bytes();
    let many = |count| get("GET /health HTTP/1.1", &"x: y\r\n".repeat(count));
    let post = |headers: &str, body: &str| {
        let head = "POST /nothing HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
        format!("{head}{headers}\r\n{body}").into_bytes()
    };
    let name = format!("{}: x\r\n", "x".repeat(64 * 1024));
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    let bad = (400, "validation_failed");
    let large = (413, "payload_too_large");
    let no_such = (404, "not_found");
    let cases = [
        (get("GET /api/ü HTTP/1.1", ""), bad, "UTF-8 in the path"),
        (
            get("GET /health?q=ü HTTP/1.1", ""),
            bad,
            "UTF-8 in the query",
        ),
        (get("GET /api/%C3%BC HTTP/1.1", ""), no_such, "encoded"),
        (many(95), (200, ""), "96 headers"),
        (many(96), (431, "head_too_large"), "97 headers"),
        (many(100), (431, "head_too_large"), "101 headers"),
        (
            get("GET /health HTTP/1.1", &name),
            (431, "head_too_large"),
            "a name of 64 KiB",
        ),
        (post("content-length: 2\r\n", "{}"), no_such, "a length"),
        (
            post("content-length: 2\r\ncontent-length: 2\r\n", "{}"),
            bad,
            "the same length twice",
        ),
        (
            post("content-length: 2\r\ncontent-length: 3\r\n", "{}"),
            bad,
            "two lengths",
        ),
        (
            post("content-length: 2, 2\r\n", "{}"),
            bad,
            "a list of lengths",
        ),
        (post("content-length: +2\r\n", "{}"), bad, "a sign"),
        (
            post("content-length: 9223372036854775807\r\n", "{}"),
            large,
            "2^63 - 1",
        ),
        (
            post("content-length: 18446744073709551614\r\n", "{}"),
            large,
            "2^64 - 2",
        ),
        (
            post("content-length: 18446744073709551615\r\n", "{}"),
            large,
            "2^64 - 1",
        ),
        (
            post("content-length: 18446744073709551616\r\n", "{}"),
            large,
            "2^64",
        ),
        (
            post("transfer-encoding: Chunked\r\n", chunks),
            no_such,
            "chunks",
        ),
        (
            post("transfer-encoding: gzip, chunked\r\n", chunks),
            (501, "not_implemented"),
            "gzip",
        ),
        (
            post("transfer-encoding: chunked, chunked\r\n", chunks),
            bad,
            "chunked twice",
        ),
        (
            post("transfer-encoding: chunked, gzip\r\n", chunks),
            bad,
            "gzip last",
        ),
        (
            post("transfer-encoding: identity\r\n", "{}"),
            bad,
            "no coding",
        ),
        (
            post(
                "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
                chunks,
            ),
            bad,
            "both",
        ),
        (
            b"POST /nothing HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
            bad,
            "in HTTP/1.0",
        ),
        (
            b"POST /nothing HTTP/1.0\r\n\r\n".to_vec(),
            bad,
            "HTTP/1.0 without a length",
        ),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), bad, "HTTP/2"),
        (
            b"GET /health HTTP/9.9\r\nhost: a\r\n\r\n".to_vec(),
            bad,
            "another version",
        ),
        (b"GET /health\r\n".to_vec(), bad, "no version"),
        (b"NONSENSE\r\n\r\n".to_vec(), bad, "no request line"),
        (
            get("GET /health HTTP/1.1", "no colon\r\n"),
            bad,
            "a header without a colon",
        ),
        (
            get("GET /health HTTP/1.1", "x : y\r\n"),
            bad,
            "a space before the colon",
        ),
        (
            get("GET /health HTTP/1.1", "x: y\r\n z\r\n"),
            bad,
            "a folded line",
        ),
        (get("OPTIONS * HTTP/1.1", ""), no_such, "the server itself"),
        (get("CONNECT a:80 HTTP/1.1", ""), no_such, "a tunnel"),
        (
            get("GET http://b/health HTTP/1.1", ""),
            (200, ""),
            "a whole URL",
        ),
        (get("GET health HTTP/1.1", ""), bad, "no slash"),
    ];
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for (bytes, (expected, code), reason) in &cases {
            let got = outcome(&subject, bytes).await;
            faults.expect(
                format!("{}: {reason}", subject.name),
                got,
                (*expected, (*code).to_owned()),
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn every_character_in_a_target_has_the_same_outcome_everywhere() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let subjects = world.subjects();
    for byte in 0..=255u8 {
        for (before, after) in [("GET /health/x", "y"), ("GET /health?x", "y")] {
            let bytes = [
                before.as_bytes(),
                &[byte],
                after.as_bytes(),
                b" HTTP/1.1\r\nhost: a\r\n\r\n",
            ]
            .concat();
            faults.of(subjects[0].name, subjects[0].framework);
            let expected = outcome(&subjects[0], &bytes).await;
            faults.ensure(
                format!("{before}{byte:#04x}{after}"),
                matches!(expected.0, 200 | 400 | 404),
                || format!("{expected:?}"),
            );
            for subject in &subjects[1..] {
                faults.of(subject.name, subject.framework);
                let got = outcome(subject, &bytes).await;
                faults.expect(
                    format!("{}: {before}{byte:#04x}{after}", subject.name),
                    got,
                    expected.clone(),
                );
            }
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_header_that_is_not_ascii_is_no_reason_to_refuse_a_request_unless_it_is_needed() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for value in ["ü", "\u{4f60}"] {
            let got = subject
                .raw(&request("GET", "/health", &[("x-name", value)], b""))
                .await;
            faults.expect(format!("{}: {value}", subject.name), status(&got), Ok(200));
        }
        for route in &subject.bodies {
            let body = super::bytes(&(route.good)(world.fresh()));
            let header = ("content-type", "application/json; boundary=ü");
            let got = subject
                .raw(&request(route.method, route.path, &[header], &body))
                .await;
            let what = format!("{}: {} {}", subject.name, route.method, route.path);
            faults.check(what, error(&got, 415, "unsupported_media_type"));
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_body_that_is_encoded_is_refused() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            for encoding in ["gzip", "br", "deflate, gzip", "x-unknown", "identity"] {
                let what = format!(
                    "{}: {} {} in {encoding}",
                    subject.name, route.method, route.path
                );
                let body = super::bytes(&(route.good)(world.fresh()));
                let headers = [JSON, ("content-encoding", encoding)];
                let got = subject
                    .raw(&request(route.method, route.path, &headers, &body))
                    .await;
                if encoding == "identity" {
                    faults.expect(what, status(&got), Ok(route.status));
                    continue;
                }
                faults.check(&what, error(&got, 415, "unsupported_media_type"));
                let accepted = got.map(|got| got.header("accept-encoding").to_owned());
                faults.expect(what, accepted, Ok("identity".to_owned()));
            }
        }
    }
    faults.finish();
}
