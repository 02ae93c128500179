//! The log of the programs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chassis::testkit::Stub;
use harness::TIMEOUT;
use harness::raw::{self, request};
use regex_lite::Regex;
use serde_json::{Value, json};
use shop_tests::program::{PROGRAMS, Program, service_in, upstream_variables};
use tokio::time::sleep;

/// Reads the log of `program` until every request in `ids` has a line.
fn lines_of(program: &Program, ids: &BTreeSet<String>) -> Vec<Value> {
    let mut missing = ids.clone();
    let mut lines = Vec::new();
    while !missing.is_empty() {
        let line = program
            .line(TIMEOUT)
            .unwrap_or_else(|| panic!("no line for {missing:?}, only {lines:?}"));
        let line: Value =
            serde_json::from_str(&line).unwrap_or_else(|cause| panic!("{cause}: {line}"));
        if line["message"] == "request" {
            missing.remove(line["requestId"].as_str().unwrap_or_default());
        }
        lines.push(line);
    }
    // A second line for the last request would come now.
    while let Some(line) = program.line(Duration::from_millis(200)) {
        lines.push(serde_json::from_str(&line).expect("JSON"));
    }
    lines
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "a table of requests, and each field of their lines"
)]
async fn each_request_leaves_one_line_of_json() {
    let moment = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$").expect("a pattern");
    let hex = Regex::new("^[0-9a-f]{32}$").expect("a pattern");
    for service in PROGRAMS {
        let refusing = Stub::refusing().await;
        let nobody = refusing.url();
        let mut variables: Vec<_> = upstream_variables(service)
            .iter()
            .map(|name| (*name, nobody.as_str()))
            .collect();
        // The lines of health and metrics are at this level.
        variables.push(("RUST_LOG", "info,chassis::serve::exchange=debug"));
        let program = Program::start(service, &variables);
        let mut cases = vec![
            ("GET", "/health", "/health", 200),
            ("HEAD", "/health", "/health", 200),
            ("OPTIONS", "/health", "/health", 204),
            ("DELETE", "/health", "/health", 405),
            ("GET", "/health?secret=1", "/health", 200),
            ("GET", "/%68ealth", "/health", 200),
            ("GET", "/nothing/at/all", "unmatched", 404),
            ("BREW", "/nothing", "unmatched", 404),
            ("GET", "/docs/nothing.js", "/docs/{file}", 404),
            ("GET", "/a\\b'c", "unmatched", 404),
        ];
        match service_in(service) {
            "user-service" => cases.push(("GET", "/api/users/7", "/api/users/{id}", 404)),
            "product-service" => cases.push((
                "PATCH",
                "/api/products/7/stock",
                "/api/products/{id}/stock",
                400,
            )),
            "order-service" => cases.push((
                "GET",
                "/api/orders/user/7",
                "/api/orders/user/{userId}",
                200,
            )),
            "notification-service" => cases.push((
                "PATCH",
                "/api/notifications/7/read",
                "/api/notifications/{id}/read",
                404,
            )),
            _ => cases.push(("GET", "/api/analytics/users", "/api/analytics/users", 200)),
        }
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
        let mut expected = BTreeMap::new();
        for (index, (method, path, route, status)) in cases.into_iter().enumerate() {
            let id = format!("{}-{index}", service_in(service));
            let mut headers = vec![("x-request-id", id.as_str())];
            if index == 0 {
                headers.push(("traceparent", &traceparent));
            }
            let got = raw::exchange(program.address(), &request(method, path, &headers, b"")).await;
            assert_eq!(
                got.map(|got| got.status),
                Ok(status),
                "{service}: {method} {path}"
            );
            expected.insert(id, (method, path, route, status));
        }
        // One without an id gets one, and the line has the same.
        let got = raw::exchange(program.address(), &request("GET", "/health", &[], b""))
            .await
            .expect("an answer");
        expected.insert(
            got.header("x-request-id").to_owned(),
            ("GET", "/health", "/health", 200),
        );

        let ids: BTreeSet<_> = expected.keys().cloned().collect();
        let mut seen = BTreeSet::new();
        for line in lines_of(&program, &ids) {
            let Some(id) = line["requestId"].as_str() else {
                assert!(
                    seen.is_empty(),
                    "{service}: only what is said while it starts belongs to no request: {line}"
                );
                continue;
            };
            if line["message"] != "request" {
                continue;
            }
            let (method, path, route, status) = expected
                .get(id)
                .unwrap_or_else(|| panic!("{service}: no request for {line}"));
            assert!(
                seen.insert(id.to_owned()),
                "{service}: a second line: {line}"
            );
            assert!(
                line["timestamp"]
                    .as_str()
                    .is_some_and(|time| moment.is_match(time)),
                "{service}: {line}"
            );
            let level = if *route == "/health" { "DEBUG" } else { "INFO" };
            assert_eq!(line["level"], level, "{service}: {line}");
            assert_eq!(line["service"], service_in(service), "{line}");
            assert!(
                line["traceId"].as_str().is_some_and(|id| hex.is_match(id)),
                "{service}: {line}"
            );
            if id.ends_with("-0") {
                assert_eq!(line["traceId"], trace, "{service}: {line}");
            }
            let method = if *method == "BREW" { "OTHER" } else { method };
            let (path, _) = path.split_once('?').unwrap_or((path, ""));
            assert_eq!(line["method"], method, "{service}: {line}");
            assert_eq!(line["route"], *route, "{service}: {line}");
            assert!(
                line["path"] == path || line["path"] == "/health",
                "{service}: {path} in {line}"
            );
            assert_eq!(line["status"], *status, "{service}: {line}");
            assert!(
                line["durationMs"]
                    .as_f64()
                    .is_some_and(|ms| (0.0..20_000.0).contains(&ms)),
                "{service}: {line}"
            );
            assert!(
                !line.to_string().contains("secret"),
                "{service}: a query may hold anything: {line}"
            );
        }
        assert_eq!(seen, ids, "{service}");
    }
}

#[tokio::test]
async fn a_malformed_head_leaves_a_line_like_the_others() {
    for service in PROGRAMS {
        let program = Program::start(service, &[]);
        let name = "x".repeat(64 * 1024);
        let mut expected = BTreeMap::new();
        for (head, path, status) in [
            ("NONSENSE\r\n\r\n".to_owned(), "", 400),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "*", 400),
            ("GET /docs HTTP/1.1\r\n\r\n".to_owned(), "/docs", 400),
            (
                "GET /a?secret HTTP/1.1\r\na b\r\n\r\n".to_owned(),
                "/a",
                400,
            ),
            (format!("GET /a HTTP/1.1\r\n{name}: x\r\n\r\n"), "/a", 431),
            (
                "GET /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: a, chunked\r\n\r\n".to_owned(),
                "/a",
                501,
            ),
        ] {
            let got = raw::exchange(program.address(), head.as_bytes()).await;
            let got = got.unwrap_or_else(|fault| panic!("{service}: {head:.40}: {fault}"));
            assert_eq!(got.status, status, "{service}: {head:.40}");
            expected.insert(got.header("x-request-id").to_owned(), (path, status));
        }
        let lines = lines_of(&program, &expected.keys().cloned().collect());
        for line in &lines {
            assert_ne!(line["level"], "ERROR", "{service}: {line}");
            assert!(!line.to_string().contains("secret"), "{service}: {line}");
        }
        for (id, (path, status)) in expected {
            let mut of_it = lines.iter().filter(|line| line["requestId"] == *id);
            let line = of_it.next().expect("a line");
            assert_eq!(
                (&line["path"], &line["status"]),
                (&json!(path), &json!(status))
            );
            assert!(
                of_it.next().is_none(),
                "{service}: a second line for {line}"
            );
        }
    }
}

#[tokio::test]
async fn a_failure_is_logged_with_its_cause_and_request_id() {
    let (nobody, hung) = (Stub::refusing().await, Stub::hanging().await);
    let body = json!({"name": "Kettle", "price": 1, "sellerId": "1"}).to_string();
    for (stub, reason) in [(nobody, "refused"), (hung, "did not answer")] {
        let program = Program::start(
            "product-service",
            &[("USER_SERVICE_URL", stub.url().as_str())],
        );
        let headers = [
            ("content-type", "application/json"),
            ("x-request-id", "demo-1"),
        ];
        let got = raw::exchange(
            program.address(),
            &request("POST", "/api/products", &headers, body.as_bytes()),
        )
        .await
        .expect("an answer");
        got.expect_error(503, "dependency_unavailable");
        let lines = lines_of(&program, &BTreeSet::from(["demo-1".to_owned()]));
        let line = lines
            .iter()
            .find(|line| line["message"] == "request")
            .expect("a line");
        assert_eq!(
            (line["level"].as_str(), line["status"].as_u64()),
            (Some("ERROR"), Some(503)),
            "{line}"
        );
        let cause = line["cause"].as_str().unwrap_or_default();
        assert!(
            cause.contains("user-service") && cause.contains(reason),
            "{cause:?} does not say {reason}"
        );
    }
}

#[tokio::test]
async fn a_notification_that_failed_is_logged_with_the_id_of_its_order() {
    let stub = Stub::replying(|request| {
        let id = json!({"id": "1", "name": "Ada", "price": 1, "stock": 9}).to_string();
        if request.starts_with("POST") {
            ("500 Internal Server Error", "{}".to_owned())
        } else {
            ("200 OK", id)
        }
    })
    .await;
    let url = stub.url();
    let urls: Vec<_> = upstream_variables("order-service")
        .iter()
        .map(|name| (*name, url.as_str()))
        .collect();
    let program = Program::start("order-service", &urls);
    let headers = [
        ("content-type", "application/json"),
        ("x-request-id", "demo-1"),
    ];
    let body = json!({"userId": "1", "productId": "1", "quantity": 1}).to_string();
    let got = raw::exchange(
        program.address(),
        &request("POST", "/api/orders", &headers, body.as_bytes()),
    )
    .await
    .expect("an answer");
    assert_eq!(got.expect(201)["notification"], "failed");
    let lines = lines_of(&program, &BTreeSet::from(["demo-1".to_owned()]));
    assert!(
        lines.iter().all(|line| line["requestId"] == "demo-1"),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line["level"] == "WARN" && line["message"] != "request"),
        "it says so in the log: {lines:?}"
    );
}

#[tokio::test]
async fn variables_set_the_level_and_format_of_the_log() {
    for service in PROGRAMS {
        let program = Program::start(service, &[("RUST_LOG", "info"), ("LOG_LEVEL", "error")]);
        let document = request("GET", "/openapi.json", &[("x-request-id", "demo-1")], b"");
        raw::exchange(program.address(), &document)
            .await
            .expect("an answer")
            .expect(200);
        // RUST_LOG overrides LOG_LEVEL=error, which would suppress these lines.
        lines_of(&program, &BTreeSet::from(["demo-1".to_owned()]));

        // Also at debug, each line is JSON, including those of libraries.
        let program = Program::start(service, &[("LOG_LEVEL", "debug")]);
        raw::exchange(program.address(), &document)
            .await
            .expect("an answer")
            .expect(200);
        lines_of(&program, &BTreeSet::from(["demo-1".to_owned()]));
    }
}

#[tokio::test]
async fn polls_are_at_debug_and_a_service_that_is_not_ready_says_without_what() {
    let nobody = Stub::refusing().await;
    let url = nobody.url();
    for service in PROGRAMS {
        let upstreams = upstream_variables(service);
        let urls: Vec<_> = upstreams.iter().map(|name| (*name, url.as_str())).collect();
        let program = Program::start(service, &urls);
        let paths = ["/health", "/metrics", "/health/ready", "/openapi.json"];
        for (path, id) in paths.into_iter().zip(["1", "2", "3", "4"]) {
            let polled = request("GET", path, &[("x-request-id", id)], b"");
            let got = raw::exchange(program.address(), &polled).await;
            got.expect("an answer");
        }
        let lines = lines_of(&program, &BTreeSet::from(["4".to_owned()]));
        let lines: Vec<_> = lines
            .iter()
            .filter(|line| line["message"] == "request")
            .map(|line| {
                (
                    line["level"].as_str(),
                    line["path"].as_str(),
                    line["cause"].as_str(),
                )
            })
            .collect();
        let last = (Some("INFO"), Some("/openapi.json"), None);
        let without = match service_in(service) {
            "order-service" => "unavailable without user-service and product-service",
            // The others need nobody for all of their work.
            _ => "",
        };
        let ready = (Some("WARN"), Some("/health/ready"), Some(without));
        let expected = if without.is_empty() {
            vec![last]
        } else {
            vec![ready, last]
        };
        assert_eq!(lines, expected, "{service}");
    }
}

#[tokio::test]
async fn invalid_metrics_of_an_upstream_are_logged_once() {
    let (odd, nobody) = (
        Stub::answering("200 OK", r#"{"service":"odd"}"#).await,
        Stub::refusing().await,
    );
    let (odd_url, nobody) = (odd.url(), nobody.url());
    let program = Program::start(
        "analytics-service",
        &[
            ("USER_SERVICE_URL", odd_url.as_str()),
            ("PRODUCT_SERVICE_URL", nobody.as_str()),
            ("ORDER_SERVICE_URL", nobody.as_str()),
            ("NOTIFICATION_SERVICE_URL", nobody.as_str()),
            ("POLL_INTERVAL_MS", "500"),
        ],
    );
    // Several polls, each of which could log it again.
    let mut lines = Vec::new();
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        sleep(Duration::from_millis(20)).await;
        lines.extend(program.line(Duration::ZERO));
    }
    let about: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("cannot be read"))
        .collect();
    assert_eq!(about.len(), 1, "{lines:?}");
    let line: Value = serde_json::from_str(about[0]).expect("JSON");
    assert_eq!(
        (&line["level"], &line["upstream"]),
        (&json!("WARN"), &json!("user-service")),
        "{line}"
    );
}
