//! The shutdown of the programs.

use std::time::Duration;

use chassis::testkit::Stub;
use harness::raw::{Connection, refuses, request};
use serde_json::json;
use shop_tests::program::{PROGRAMS, Program, upstream_variables};
use tokio::time::sleep;

use super::{GRACE, creation};

/// Far less than the grace period.
const AT_ONCE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_signal_ends_an_idle_service_at_once() {
    for service in PROGRAMS {
        for signal in ["TERM", "INT"] {
            let program = Program::start(service, &[]);
            // A connection that is kept, but not used.
            let mut idle = Connection::open(program.address()).await;
            idle.send(&request("GET", "/health", &[], b""))
                .await
                .expect("a live connection");
            idle.answer(false).await.expect("an answer").expect(200);
            let mut silent = Connection::open(program.address()).await;

            program.signal(signal);
            let closed = idle.rest().await;
            assert!(
                closed.as_ref().is_ok_and(Vec::is_empty),
                "{service}: SIG{signal} closes what is idle: {closed:?}"
            );
            let _ = silent.rest().await;
            drop((idle, silent));
            let ended = tokio::task::spawn_blocking(move || program.ended(GRACE))
                .await
                .expect("no panic");
            assert_eq!(
                (ended.status, ended.stderr.as_str()),
                (Some(0), ""),
                "{service}: SIG{signal}: {ended:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_request_on_its_way_is_answered_though_the_service_is_told_to_stop() {
    // Those on hyper; actix-web closes an idle connection by itself.
    for service in [
        "user-service",
        "product-service",
        "order-service",
        "notification-service",
    ] {
        let program = Program::start(service, &[]);
        let address = program.address();
        let mut client = Connection::open(address).await;
        let question = request("GET", "/health", &[], b"");
        client.send(&question).await.expect("a live connection");
        client.answer(false).await.expect("an answer").expect(200);
        program.signal("TERM");
        assert!(refuses(address, AT_ONCE).await, "{service} still accepts");
        client.send(&question).await.expect("a live connection");
        let got = client.answer(false).await;
        let got = got.unwrap_or_else(|fault| panic!("{service}: {fault}"));
        assert_eq!(got.status, 200, "{service}");
        assert_eq!(got.header("connection"), "close", "{service}");
        assert_eq!(program.exited(AT_ONCE), Some(0), "{service}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_a_service_at_once_with_one_line() {
    for service in PROGRAMS {
        let Some((path, _)) = creation(service) else {
            continue;
        };
        for (signal, status) in [("TERM", 143), ("INT", 130)] {
            let program = Program::start(service, &[]);
            let headers = [
                ("content-type", "application/json"),
                ("content-length", "100"),
            ];
            let mut stuck = Connection::open(program.address()).await;
            let half = request("POST", path, &headers, b"{");
            stuck.send(&half).await.expect("a live connection");
            sleep(Duration::from_millis(200)).await;
            program.signal(signal);
            sleep(Duration::from_millis(200)).await;
            program.signal(signal);
            let ended = tokio::task::spawn_blocking(move || program.ended(AT_ONCE))
                .await
                .expect("no panic");
            assert_eq!(ended.status, Some(status), "{service}: {ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{service}: {ended:?}");
            assert!(ended.stderr.contains(&format!("SIG{signal}")), "{ended:?}");
        }
    }
}

#[tokio::test]
async fn a_service_finishes_requests_in_flight_before_it_stops() {
    for service in PROGRAMS {
        let slow = Stub::hanging().await;
        let url = slow.url();
        let urls: Vec<_> = upstream_variables(service)
            .iter()
            .map(|name| (*name, url.as_str()))
            .collect();
        let program = Program::start(service, &urls);
        let address = program.address();
        let mut busy = Connection::open(address).await;
        let (rest, expected) = if let Some((path, body)) = creation(service) {
            // The second half of the body comes after the signal.
            let request = request(
                "POST",
                path,
                &[("content-type", "application/json")],
                body.to_string().as_bytes(),
            );
            let (first, second) = request.split_at(request.len() - 10);
            busy.send(first).await.expect("a live connection");
            (second.to_vec(), 201)
        } else if service == "order-service" {
            // Its upstreams hang until their time-out.
            let body = json!({"userId": "1", "productId": "1", "quantity": 1}).to_string();
            busy.send(&request(
                "POST",
                "/api/orders",
                &[("content-type", "application/json")],
                body.as_bytes(),
            ))
            .await
            .expect("a live connection");
            (Vec::new(), 503)
        } else {
            busy.send(&request("GET", "/api/analytics/summary", &[], b""))
                .await
                .expect("a live connection");
            (Vec::new(), 200)
        };
        sleep(Duration::from_millis(200)).await;
        program.signal("TERM");

        // It accepts no more connections, even with a request in flight.
        assert!(refuses(address, GRACE).await, "{service} still accepts");
        busy.send(&rest).await.expect("a live connection");
        let got = busy
            .answer(false)
            .await
            .unwrap_or_else(|fault| panic!("{service}: {fault}"));
        assert_eq!(
            got.status,
            expected,
            "{service}: {}",
            String::from_utf8_lossy(&got.body)
        );
        drop(busy);
        let ended = tokio::task::spawn_blocking(move || program.ended(GRACE))
            .await
            .expect("no panic");
        assert_eq!(
            (ended.status, ended.stderr.as_str()),
            (Some(0), ""),
            "{service}: {ended:?}"
        );
    }
}

/// A service, and a client that never ends its request.
async fn held_up(service: &'static str, unfinished: Vec<u8>, what: &'static str) {
    let program = Program::start(service, &[]);
    let mut stuck = Connection::open(program.address()).await;
    stuck.send(&unfinished).await.expect("a live connection");
    sleep(Duration::from_millis(200)).await;
    program.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || program.ended(GRACE))
        .await
        .expect("no panic");
    assert_eq!(
        (ended.status, ended.stderr.as_str()),
        (Some(0), ""),
        "{service} with {what}: {ended:?}"
    );
}

#[tokio::test]
async fn an_unfinished_request_does_not_stop_a_shutdown() {
    // Concurrently, because each may take the whole grace period.
    let mut waiting = Vec::new();
    for service in PROGRAMS {
        waiting.push(tokio::spawn(held_up(
            service,
            b"GET /health HTTP/1.1\r\nhost: a\r\nx-half".to_vec(),
            "half a head open",
        )));
        if let Some((path, _)) = creation(service) {
            let headers = [
                ("content-type", "application/json"),
                ("content-length", "100"),
            ];
            waiting.push(tokio::spawn(held_up(
                service,
                request("POST", path, &headers, b"{"),
                "half a body open",
            )));
        }
    }
    for one in waiting {
        one.await.expect("exits 0 within the grace");
    }
}
