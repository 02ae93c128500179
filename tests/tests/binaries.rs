//! The built programs, product-service on each framework: how they start, what they log, how they stop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use chassis::testkit::Stub;
use regex_lite::Regex;
use serde_json::{Value, json};
use shop_tests::PATIENCE;
use shop_tests::program::{self, PROGRAMS, Program, neighbours, service_in};
use shop_tests::raw::{self, Connection, request};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// The contract's grace, and some for a busy machine.
const GRACE: Duration = Duration::from_secs(15);

/// Far less than the grace.
const AT_ONCE: Duration = Duration::from_secs(3);

/// A path and a body that the service reads before it answers.
fn creation(service: &'static str) -> Option<(&'static str, Value)> {
    match service_in(service) {
        "user-service" => Some((
            "/api/users",
            json!({"name": "Ada", "email": "ada@example.com"}),
        )),
        "product-service" => Some(("/api/products", json!({"name": "Kettle", "price": 1}))),
        "notification-service" => Some((
            "/api/notifications/send",
            json!({"userId": "1", "message": "Hello"}),
        )),
        _ => None,
    }
}

#[test]
fn a_bad_variable_stops_the_service_at_once_with_one_line() {
    for service in PROGRAMS {
        let mut cases = vec![
            ("PORT", "80000", "more than a port"),
            ("PORT", "http", "no number"),
            ("PORT", "-1", "negative"),
            ("HOST", "localhost", "a name"),
            ("SERVICE_NAME", "two words", "white space"),
            ("LOG_LEVEL", "loud", "no level"),
            ("LOG_FORMAT", "xml", "no format"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318", "no scheme"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "not built in"),
            ("OTEL_TRACES_SAMPLER", "sometimes", "no sampler"),
        ];
        for url in neighbours(service) {
            cases.push((url, "https://127.0.0.1:8001", "no TLS here"));
            cases.push((url, "127.0.0.1:8001", "no scheme"));
            cases.push((url, "http://127.0.0.1:8001/api", "a path"));
        }
        if service == "analytics-service" {
            cases.push(("POLL_INTERVAL_MS", "100", "too often"));
        }
        for (name, value, reason) in cases {
            let variables: &[_] = if name == "PORT" {
                &[(name, value)]
            } else {
                &[("PORT", "0"), (name, value)]
            };
            let ended = program::run(service, variables);
            assert_eq!(
                ended.status,
                Some(2),
                "{service} with {name}={value} ({reason}): {ended:?}"
            );
            let lines: Vec<_> = ended.stderr.lines().collect();
            assert_eq!(
                lines.len(),
                1,
                "{service} with {name}={value} ({reason}): {ended:?}"
            );
            for part in [name, value, "expected"] {
                assert!(
                    lines[0].contains(part),
                    "{service} with {name}={value} ({reason}): {part} is not in {:?}",
                    lines[0]
                );
            }
            assert_eq!(ended.stdout, "", "{service} with {name}={value} ({reason})");
        }
        let ended = program::run(service, &[("PORT", "x"), ("LOG_LEVEL", "y"), ("HOST", "z")]);
        assert_eq!(
            (ended.status, ended.stderr.lines().count()),
            (Some(2), 3),
            "{service} names all of them: {ended:?}"
        );
    }
}

#[tokio::test]
async fn an_unknown_or_empty_variable_is_ignored() {
    for service in PROGRAMS {
        let program = Program::start(
            service,
            &[
                ("SHOP_COLOUR", "red"),
                ("HOST", ""),
                ("LOG_LEVEL", ""),
                ("ROCKET_PORT", "x"),
                ("ROCKET_LOG_LEVEL", "debug"),
            ],
        );
        let got = raw::exchange(program.address(), &request("GET", "/health", &[], b""))
            .await
            .expect("an answer");
        assert_eq!(got.expect(200)["service"], service_in(service));
    }
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken
        .local_addr()
        .expect("a bound address")
        .port()
        .to_string();
    for service in PROGRAMS {
        let ended = program::run(service, &[("PORT", &port)]);
        assert_eq!(ended.status, Some(1), "{service}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{service}: {ended:?}");
        for part in [port.as_str(), "another program has that port", "PORT"] {
            assert!(
                ended.stderr.contains(part),
                "{service}: {part} is not in {:?}",
                ended.stderr
            );
        }
        assert_eq!(ended.stdout, "", "{service}");
    }
}

// The stubs answer while this test waits for the program.
#[tokio::test(flavor = "multi_thread")]
async fn a_healthcheck_tells_by_its_exit_status_whether_the_service_is_alive() {
    for service in program::SERVICES {
        let program = Program::start(service, &[]);
        let port = program.address().port().to_string();
        // Every address is no address to ask.
        for host in ["127.0.0.1", "0.0.0.0"] {
            let variables = [("PORT", port.as_str()), ("HOST", host)];
            let ended = program::run(&format!("{service} healthcheck"), &variables);
            assert_eq!(
                (ended.status, ended.stdout.trim_end(), &*ended.stderr),
                (Some(0), format!("{service} is healthy").as_str(), ""),
                "{host}"
            );
        }

        let another = [("PORT", port.as_str()), ("SERVICE_NAME", "another")];
        let (nobody, hanging) = (Stub::refusing().await, Stub::hanging().await);
        let broken = Stub::answering("500 Internal Server Error", "{}").await;
        let strange = Stub::answering("200 OK", "[]").await;
        let port_of = |stub: &Stub| {
            let url = stub.url();
            let port = url.as_str().rsplit(':').next();
            port.expect("a port").to_owned()
        };
        for (variables, part) in [
            (&another[..], "is answered by"),
            (&[("PORT", port_of(&nobody).as_str())], "does not answer"),
            (&[("PORT", port_of(&hanging).as_str())], "within 2 s"),
            (&[("PORT", port_of(&broken).as_str())], "answers 500"),
            (&[("PORT", port_of(&strange).as_str())], "as a service does"),
            (&[("PORT", "0")], "PORT is 0"),
        ] {
            let ended = program::run(&format!("{service} healthcheck"), variables);
            assert_eq!((ended.status, &*ended.stdout), (Some(1), ""), "{ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{part}: {ended:?}");
            assert!(ended.stderr.contains(part), "{part} is not in {ended:?}");
        }
        let ended = program::run(&format!("{service} healthcheck"), &[("PORT", "x")]);
        assert_eq!((ended.status, ended.stderr.lines().count()), (Some(2), 1));
    }
}

#[test]
fn an_argument_that_nobody_knows_is_one_clear_line() {
    for service in program::SERVICES {
        for arguments in ["health", "--port=8001", "healthcheck --now"] {
            let ended = program::run(&format!("{service} {arguments}"), &[("PORT", "0")]);
            assert_eq!((ended.status, &*ended.stdout), (Some(2), ""), "{ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
            let unknown = arguments.rsplit(' ').next().unwrap_or_default();
            for part in [format!("{unknown:?}").as_str(), "healthcheck"] {
                assert!(ended.stderr.contains(part), "{part} is not in {ended:?}");
            }
        }
        let help = program::run(&format!("{service} --help"), &[]);
        assert_eq!((help.status, &*help.stderr), (Some(0), ""), "{help:?}");
        assert!(help.stdout.contains("healthcheck"), "{help:?}");
        let version = program::run(&format!("{service} --version"), &[]);
        assert_eq!(version.stdout.trim_end(), env!("CARGO_PKG_VERSION"));
    }
}

#[tokio::test]
async fn the_name_of_a_service_is_the_one_it_is_given() {
    for service in PROGRAMS {
        let program = Program::start(service, &[("SERVICE_NAME", "shop.eu-1_a")]);
        let got = raw::exchange(program.address(), &request("GET", "/health", &[], b""))
            .await
            .expect("an answer");
        assert_eq!(got.expect(200)["service"], "shop.eu-1_a");
        let line: Value =
            serde_json::from_str(&program.line(PATIENCE).expect("a line")).expect("JSON");
        assert_eq!(line["service"], "shop.eu-1_a");
    }
}

/// The log lines of `program` until every request in `ids` has one.
fn lines_of(program: &Program, ids: &BTreeSet<String>) -> Vec<Value> {
    let mut missing = ids.clone();
    let mut lines = Vec::new();
    while !missing.is_empty() {
        let line = program
            .line(PATIENCE)
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
        let urls: Vec<_> = neighbours(service)
            .iter()
            .map(|name| (*name, nobody.as_str()))
            .collect();
        let program = Program::start(service, &urls);
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
                .unwrap_or_else(|| panic!("{service}: nobody asked for {line}"));
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
            assert_eq!(line["level"], "INFO", "{service}: {line}");
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
async fn what_failed_is_logged_with_its_cause_and_its_request_id() {
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
    let urls: Vec<_> = neighbours("order-service")
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
async fn the_log_is_as_loud_and_as_pretty_as_one_wants() {
    for service in PROGRAMS {
        let program = Program::start(service, &[("RUST_LOG", "info"), ("LOG_LEVEL", "error")]);
        let health = request("GET", "/health", &[("x-request-id", "demo-1")], b"");
        raw::exchange(program.address(), &health)
            .await
            .expect("an answer")
            .expect(200);
        // RUST_LOG wins: at LOG_LEVEL=error there would be no such line.
        lines_of(&program, &BTreeSet::from(["demo-1".to_owned()]));

        // At debug too, each line is whole JSON, whoever writes it.
        let program = Program::start(service, &[("LOG_LEVEL", "debug")]);
        raw::exchange(program.address(), &health)
            .await
            .expect("an answer")
            .expect(200);
        lines_of(&program, &BTreeSet::from(["demo-1".to_owned()]));
    }
}

#[tokio::test]
async fn a_signal_ends_an_idle_service_at_once() {
    for service in PROGRAMS {
        for signal in ["TERM", "INT"] {
            let mut program = Program::start(service, &[]);
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
async fn a_second_signal_ends_a_service_at_once_with_one_line() {
    for service in PROGRAMS {
        let Some((path, _)) = creation(service) else {
            continue;
        };
        for (signal, status) in [("TERM", 143), ("INT", 130)] {
            let mut program = Program::start(service, &[]);
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
async fn what_is_in_flight_is_finished_before_a_service_stops() {
    for service in PROGRAMS {
        let slow = Stub::hanging().await;
        let url = slow.url();
        let urls: Vec<_> = neighbours(service)
            .iter()
            .map(|name| (*name, url.as_str()))
            .collect();
        let mut program = Program::start(service, &urls);
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
            // Its neighbours hang, until it gives them up.
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

        // It stops accepting, whatever is in flight.
        let deadline = Instant::now() + GRACE;
        while TcpStream::connect(address).await.is_ok() {
            assert!(Instant::now() < deadline, "{service} still accepts");
            sleep(Duration::from_millis(20)).await;
        }
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

#[tokio::test]
async fn a_neighbour_that_cannot_be_measured_is_worth_one_line() {
    let (odd, nobody) = (
        Stub::answering("200 OK", "{}").await,
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
    // Several polls, after each of which it could say so again.
    let mut lines = Vec::new();
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        sleep(Duration::from_millis(20)).await;
        lines.extend(program.line(Duration::ZERO));
    }
    let about: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("cannot be measured"))
        .collect();
    assert_eq!(about.len(), 1, "{lines:?}");
    let line: Value = serde_json::from_str(about[0]).expect("JSON");
    assert_eq!(
        (&line["level"], &line["upstream"]),
        (&json!("WARN"), &json!("user-service")),
        "{line}"
    );
}

/// A client that never ends its request, and the service that it holds up.
async fn held_up(service: &'static str, unfinished: Vec<u8>, what: &'static str) {
    let mut program = Program::start(service, &[]);
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
async fn nobody_who_never_ends_a_request_keeps_a_service_from_stopping() {
    // All at once: each may take the whole grace.
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
