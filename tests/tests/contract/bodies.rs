//! Request bodies: their size, their framing and their content type.

use harness::TIMEOUT;
use harness::raw::{Connection, chunked, request};
use serde_json::json;
use shop_tests::faults::Faults;

use super::{JSON, KIB, LIMIT, THROUGH_GATEWAY, World, bytes, error, status};

#[tokio::test]
async fn a_body_over_64_kib_is_refused_and_the_client_can_read_why() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let large = vec![b' '; 10 * 1024 * KIB];
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            // An unknown field is ignored, so this is a good body of any length.
            let padded = |length: usize| {
                let mut body = (route.good)(world.fresh());
                let bare = {
                    body["pad"] = json!("");
                    bytes(&body).len()
                };
                body["pad"] = json!("x".repeat(length - bare));
                bytes(&body)
            };
            let chunks = [JSON, ("transfer-encoding", "chunked")];
            let length = large.len().to_string();
            let (fits, over) = (padded(LIMIT), padded(LIMIT + 1));
            assert_eq!((fits.len(), over.len()), (LIMIT, LIMIT + 1));
            for (headers, body, refused, reason) in [
                (&[JSON][..], fits, false, "64 KiB exactly"),
                (
                    &chunks,
                    chunked(&padded(LIMIT), 10_000),
                    false,
                    "64 KiB exactly, in chunks",
                ),
                (
                    &chunks,
                    chunked(&padded(500), 1),
                    false,
                    "chunks of one byte",
                ),
                (&[JSON], over, true, "a byte more"),
                (
                    &chunks,
                    chunked(&padded(LIMIT + 1), 10_000),
                    true,
                    "a byte more, in chunks",
                ),
                (
                    &[JSON, ("content-length", &length)],
                    Vec::new(),
                    true,
                    "10 MiB announced, none sent",
                ),
                (
                    &[
                        JSON,
                        ("content-length", &length),
                        ("expect", "100-continue"),
                    ],
                    Vec::new(),
                    true,
                    "10 MiB announced, waiting for leave to send it",
                ),
                (
                    &[JSON],
                    large.clone(),
                    true,
                    "10 MiB, all sent before the answer is read",
                ),
                (
                    &chunks,
                    chunked(&large, 64 * KIB),
                    true,
                    "10 MiB in chunks, all sent before the answer is read",
                ),
                (
                    &[("content-type", "text/plain")],
                    large.clone(),
                    true,
                    "10 MiB of another type",
                ),
            ] {
                let got = subject
                    .raw(&request(route.method, route.path, headers, &body))
                    .await;
                let what = format!(
                    "{}: {} {} ({reason})",
                    subject.name, route.method, route.path
                );
                if refused {
                    faults.check(what, error(&got, 413, "payload_too_large"));
                } else {
                    faults.expect(what, status(&got), Ok(route.status));
                }
            }
        }
        let got = subject
            .raw(&request("POST", "/nothing", &[JSON], &large))
            .await;
        faults.check(
            format!("{}: 10 MiB for no route", subject.name),
            error(&got, 404, "not_found"),
        );
        let got = subject
            .raw(&request("POST", "/health", &[JSON], &large))
            .await;
        faults.check(
            format!("{}: 10 MiB for a route without a body", subject.name),
            error(&got, 405, "method_not_allowed"),
        );
    }
    faults.finish();
}

#[tokio::test]
async fn a_body_that_breaks_off_does_not_affect_others() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            let body = bytes(&(route.good)(world.fresh()));
            for (headers, sent, reason) in [
                (
                    &[JSON, ("content-length", "1000")][..],
                    &body[..],
                    "shorter than its length says",
                ),
                (
                    &[JSON, ("transfer-encoding", "chunked")],
                    b"5\r\n{\"na",
                    "in the middle of a chunk",
                ),
                (
                    &[JSON, ("transfer-encoding", "chunked")],
                    b"zz\r\n{}\r\n0\r\n\r\n",
                    "a chunk without a length",
                ),
            ] {
                let what = format!(
                    "{}: {} {} ({reason})",
                    subject.name, route.method, route.path
                );
                let mut connection = Connection::open(subject.server.address()).await;
                connection
                    .send(&request(route.method, route.path, headers, sent))
                    .await
                    .expect("a live connection");
                connection.finish_sending().await;
                let finding = match connection.answer(false).await {
                    Ok(got) if got.status == 400 && got.body.is_empty() => Ok(()),
                    Ok(got) => error(&Ok(got), 400, "invalid_json"),
                    // No answer is fine too: the client has gone.
                    Err(_) => Ok(()),
                };
                faults.check(&what, finding);
                faults.expect(
                    format!("{what}: lives on"),
                    subject.server.get("/health").await.status,
                    200,
                );
            }
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            for (content_type, taken, reason) in [
                (None, false, "none"),
                (Some(""), false, "empty"),
                (
                    Some("text/plain"),
                    false,
                    "what a form without a type sends",
                ),
                (
                    Some("application/x-www-form-urlencoded"),
                    false,
                    "curl -d without a type",
                ),
                (Some("multipart/form-data; boundary=x"), false, "an upload"),
                (Some("application/jsonp"), false, "only the same letters"),
                (Some("text/json"), false, "not registered"),
                (Some("nonsense"), false, "no type at all"),
                (Some("application/json"), true, "JSON"),
                (
                    Some("application/json; charset=utf-8"),
                    true,
                    "with a parameter",
                ),
                (
                    Some("application/json;charset=UTF-8"),
                    true,
                    "without white space",
                ),
                (Some("Application/JSON"), true, "letter case does not count"),
            ] {
                let headers: Vec<_> = content_type
                    .map(|value| ("content-type", value))
                    .into_iter()
                    .collect();
                let body = bytes(&(route.good)(world.fresh()));
                let got = subject
                    .raw(&request(route.method, route.path, &headers, &body))
                    .await;
                let what = format!(
                    "{}: {} {} ({reason})",
                    subject.name, route.method, route.path
                );
                if taken {
                    faults.expect(what, status(&got), Ok(route.status));
                } else {
                    faults.check(what, error(&got, 415, "unsupported_media_type"));
                }
            }
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_body_where_none_is_expected_is_ignored() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases: Vec<(&str, String)> = subject
            .all_gets()
            .into_iter()
            .map(|path| ("GET", path.to_owned()))
            .collect();
        match subject.name {
            "notification-service" => cases.push(("PATCH", "/api/notifications/1/read".to_owned())),
            "order-service" => cases.push(("POST", "/api/orders/1/cancel".to_owned())),
            _ => {}
        }
        for (method, path) in cases {
            let got = subject
                .raw(&request(
                    method,
                    &path,
                    &[("content-type", "text/plain")],
                    b"hello",
                ))
                .await;
            faults.expect(
                format!("{}: {method} {path}", subject.name),
                status(&got),
                Ok(200),
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_a_body_gets_leave_or_its_answer_at_once() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let text = ("content-type", "text/plain");
    let large = (10 * LIMIT).to_string();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut refused = vec![
            ("POST", "/nothing", JSON, "2", 404),
            ("POST", "/health", JSON, "2", 405),
            ("GET", "/health", JSON, "2", 200),
        ];
        for route in &subject.bodies {
            let (method, path) = (route.method, route.path);
            refused.push((method, path, text, "2", 415));
            refused.push((method, path, JSON, "0", 400));
            refused.push((method, path, JSON, &large, 413));
            for in_chunks in [false, true] {
                let body = bytes(&(route.good)(world.fresh()));
                let length = body.len().to_string();
                let (framing, body) = if in_chunks {
                    (("transfer-encoding", "chunked"), chunked(&body, 7))
                } else {
                    (("content-length", length.as_str()), body)
                };
                let what = format!("{}: {method} {path}, {framing:?}", subject.name);
                let headers = [JSON, framing, ("expect", "100-continue")];
                let head = request(method, path, &headers, b"");
                let mut connection = Connection::open(subject.server.address()).await;
                connection.send(&head).await.expect("a live connection");
                let leave = connection.until("\r\n\r\n").await;
                let expected = "HTTP/1.1 100 Continue\r\n\r\n".to_owned();
                faults.expect(&what, leave, Ok(expected));
                connection.send(&body).await.expect("a live connection");
                let got = connection.answer(false).await;
                faults.expect(what, status(&got), Ok(route.status));
            }
        }
        for (method, path, content_type, length, expected) in refused {
            let what = format!("{}: {method} {path}, {length} bytes", subject.name);
            let expect = ("expect", "100-continue");
            let headers = [content_type, ("content-length", length), expect];
            let head = request(method, path, &headers, b"");
            let mut connection = Connection::open(subject.server.address()).await;
            let got = connection.answers(&head, 1, TIMEOUT).await;
            let got: Vec<_> = got.iter().map(|got| got.status).collect();
            // The gateway gives leave before it knows what the service says.
            let has_leave = subject.framework == THROUGH_GATEWAY && expected == 415;
            let all: &[_] = if has_leave {
                &[100, expected]
            } else {
                &[expected]
            };
            faults.expect(what, got, all.to_vec());
        }
    }
    faults.finish();
}

#[tokio::test]
async fn an_expectation_that_nobody_knows_is_ignored() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            let body = bytes(&(route.good)(world.fresh()));
            let headers = [JSON, ("expect", "tea")];
            let bytes = request(route.method, route.path, &headers, &body);
            let mut connection = Connection::open(subject.server.address()).await;
            let got = connection.answers(&bytes, 1, TIMEOUT).await;
            let got: Vec<_> = got.iter().map(|got| got.status).collect();
            let what = format!("{}: {} {}", subject.name, route.method, route.path);
            faults.expect(what, got, vec![route.status]);
        }
    }
    faults.finish();
}
