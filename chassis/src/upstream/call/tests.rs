//! Calls to stub services that fail in each way there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;

use super::*;
use crate::contract::health::CircuitState;
use crate::testkit::Stub;
use crate::upstream::instances::choice::Balance;
use crate::upstream::instances::source::Source;
use crate::upstream::resilience::{Circuit, Resilience};

const NOT_FOUND: &str = r#"{"error":"There is no user 7","code":"not_found","requestId":"x"}"#;

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct User {
    id: String,
}

/// What a look-up of user 7 makes of this answer: found, not found, or the
/// kind of failure.
async fn looked_up(stub: Stub) -> &'static str {
    let upstream = stub.upstream().with_timeout(Duration::from_millis(300));
    match upstream.get("/api/users/7").find::<User>().await {
        Ok(Some(_)) => "found",
        Ok(None) => "not found",
        Err(CallError::Refused { .. }) => "refused",
        Err(CallError::TurnedAway { .. }) => "turned away",
        Err(CallError::Unreachable(_)) => "unreachable",
        Err(CallError::TimedOut(_)) => "timed out",
        Err(CallError::Broken(_)) => "broken",
        Err(CallError::Failed { .. }) => "failed",
        Err(CallError::Unusable(_)) => "unusable",
        Err(CallError::CircuitOpen(_)) => "circuit open",
        Err(CallError::BulkheadFull(_)) => "bulkhead full",
    }
}

#[tokio::test]
async fn an_outage_is_never_not_found() {
    let huge = format!(r#"{{"id":"7","more":"{}"}}"#, "x".repeat(MAX_ANSWER));
    let half = |_: &str| "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned();
    for (stub, expected, reason) in [
        (
            Stub::answering("200 OK", r#"{"id":"7"}"#).await,
            "found",
            "the record",
        ),
        (
            Stub::answering("404 Not Found", NOT_FOUND).await,
            "not found",
            "in the contract's words",
        ),
        (
            Stub::answering("404 Not Found", "<h1>404</h1>").await,
            "unusable",
            "something else at that address",
        ),
        (
            Stub::answering("404 Not Found\r\nx-not-found: route", NOT_FOUND).await,
            "turned away",
            "another service of the shop at that address",
        ),
        (
            Stub::answering("405 Method Not Allowed", NOT_FOUND).await,
            "turned away",
            "a service with another contract",
        ),
        (
            Stub::answering("400 Bad Request", NOT_FOUND).await,
            "refused",
            "another refusal",
        ),
        (
            Stub::answering("409 Conflict\r\nretry-after: 1", NOT_FOUND).await,
            "turned away",
            "not judged yet",
        ),
        (
            Stub::answering("401 Unauthorized", "<h1>401</h1>").await,
            "turned away",
            "a gateway in between",
        ),
        (
            Stub::answering("429 Too Many Requests", NOT_FOUND).await,
            "turned away",
            "a rate limiter in between",
        ),
        (
            Stub::answering("500 Internal Server Error", NOT_FOUND).await,
            "failed",
            "broken",
        ),
        (
            Stub::answering("503 Service Unavailable", "").await,
            "failed",
            "overloaded",
        ),
        (
            Stub::answering("302 Found", "").await,
            "unusable",
            "nobody redirects here",
        ),
        (Stub::answering("200 OK", "{").await, "unusable", "garbage"),
        (
            Stub::answering("200 OK", r#"{"name":"Ada"}"#).await,
            "unusable",
            "not the record",
        ),
        (
            Stub::answering("200 OK", &huge).await,
            "unusable",
            "far too much",
        ),
        (
            Stub::sending(|_| "what?".to_owned()).await,
            "broken",
            "no HTTP",
        ),
        (Stub::sending(half).await, "broken", "closed half-way"),
        (
            Stub::sending(|_| String::new()).await,
            "broken",
            "closed at once",
        ),
        (Stub::hanging().await, "timed out", "too slow"),
        (Stub::refusing().await, "unreachable", "nobody there"),
    ] {
        assert_eq!(looked_up(stub).await, expected, "{reason}");
    }
}

#[tokio::test]
async fn the_ids_of_the_request_go_along() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let context = Context::new(Some("demo-1"), Some(parent));
    let ours = context.traceparent();
    let stub = Stub::replying(move |request| {
        // The trace of the request, under an id of the call.
        let along = request.contains("x-request-id: demo-1")
            && request.contains(&format!("traceparent: {}", &ours[..36]))
            && !request.contains(&ours);
        let status = if along {
            "200 OK"
        } else {
            "500 Internal Server Error"
        };
        (status, r#"{"id":"7"}"#.to_owned())
    })
    .await;
    let upstream = stub.upstream();
    context
        .scope(async {
            let got = upstream.get("/api/users/7").done().await;
            got.expect("both went along");
            let body = serde_json::json!({});
            let posted = upstream.post("/api/users", &body).done().await;
            posted.expect("here too");
        })
        .await;
}

#[tokio::test]
async fn a_count_is_read_from_the_headers_alone() {
    let head = "HTTP/1.1 200 OK\r\nx-total-count: 12\r\ncontent-length: 9000\r\n\r\n";
    let stub = Stub::sending(move |_| head.to_owned()).await;
    let upstream = stub.upstream();
    let count = upstream.head("/api/users?limit=1").total_count().await;
    assert_eq!(count, Ok(12));

    let stub = Stub::answering("200 OK", "[]").await;
    let upstream = stub.upstream();
    let count = upstream.get("/api/users").total_count().await;
    assert!(count.is_err(), "no count is not a count of nothing");
}

/// Quick to fail: a time-out of 100 ms, and hardly a pause before a retry.
fn quick() -> Resilience {
    Resilience {
        timeout: Duration::from_millis(100),
        backoff: Duration::from_millis(1),
        ..Resilience::default()
    }
}

/// As [`quick`] to try again, but with time for a machine that is busy with other tests.
fn unhurried() -> Resilience {
    Resilience {
        timeout: Duration::from_secs(5),
        deadline: Duration::from_secs(10),
        ..quick()
    }
}

/// One that fails with `failure` for the first `times`, and then answers;
/// and how often it was asked.
async fn failing(times: u32, failure: &'static str) -> (Stub, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let stub = Stub::sending(move |_| {
        let body = r#"{"id":"7"}"#;
        if counted.fetch_add(1, Ordering::SeqCst) < times {
            failure.to_owned()
        } else {
            format!("HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{body}")
        }
    })
    .await;
    (stub, asked)
}

const UNAVAILABLE: &str =
    "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const INTERNAL: &str =
    "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_call_is_repeated_where_that_is_safe_and_may_help() {
    let body = serde_json::json!({"delta": -2});
    for (method, key, failure, times, good, asked, reason) in [
        ("GET", None, UNAVAILABLE, 0, true, 1, "nothing failed"),
        ("GET", None, UNAVAILABLE, 2, true, 3, "it passes"),
        ("GET", None, UNAVAILABLE, 3, false, 3, "at most two retries"),
        ("GET", None, "", 2, true, 3, "a connection that broke"),
        ("GET", None, INTERNAL, 1, false, 1, "a 500 does not pass"),
        (
            "PATCH",
            None,
            UNAVAILABLE,
            1,
            false,
            1,
            "it may be done twice",
        ),
        (
            "PATCH",
            Some("k"),
            UNAVAILABLE,
            2,
            true,
            3,
            "its key is known",
        ),
        ("POST", None, "", 1, false, 1, "it may be done twice"),
    ] {
        let (stub, count) = failing(times, failure).await;
        let upstream = stub.upstream_with(quick());
        let call = match method {
            "GET" => upstream.get("/"),
            "PATCH" => upstream.patch("/", &body),
            _ => upstream.post("/", &body),
        };
        let call = Call { key, ..call };
        let got = call.done().await;
        let seen = (got.is_ok(), count.load(Ordering::SeqCst));
        assert_eq!(seen, (good, asked), "{method} {reason}: {got:?}");
        assert_eq!(upstream.metrics().retries.get(), u64::from(asked - 1));
    }
}

#[tokio::test]
async fn retries_end_with_the_deadline() {
    let stub = Stub::hanging().await;
    let patient = Resilience {
        retries: 10,
        ..quick()
    };
    let upstream = stub.upstream_with(patient);
    let began = Instant::now();
    let deadline = began + Duration::from_millis(250);
    let error = upstream.before(deadline).get("/").done().await;
    assert!(matches!(error, Err(CallError::TimedOut(_))), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(upstream.metrics().retries.get() <= 3);
}

#[tokio::test]
async fn a_doubt_outlasts_the_attempts_after_it() {
    // The first change may have been made; the others were not even sent.
    let stub = Stub::hanging().await;
    let one_failure = Circuit {
        failures: 1,
        ..Circuit::default()
    };
    let upstream = stub.upstream_with(Resilience {
        circuit: Some(one_failure),
        ..quick()
    });
    let call = upstream.patch("/", &()).with_key("k");
    let error = call.done().await.expect_err("it hangs");
    assert!(error.in_doubt(), "{error}");
    let error = upstream.get("/").done().await.expect_err("open");
    assert!(!error.in_doubt(), "{error}");
}

#[tokio::test]
async fn a_circuit_opens_after_five_failures_and_closes_when_the_service_is_back() {
    let once = Resilience {
        retries: 0,
        circuit: Some(Circuit {
            open: Duration::from_millis(50),
            ..Circuit::default()
        }),
        ..quick()
    };
    for (failure, reason) in [
        (UNAVAILABLE, "overloaded"),
        (INTERNAL, "broken"),
        ("what?", "no HTTP"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{", "garbage"),
    ] {
        let (stub, asked) = failing(5, failure).await;
        let upstream = stub.upstream_with(once);
        for _ in 0..5 {
            assert_eq!(upstream.circuit(), CircuitState::Closed, "{reason}");
            let got = upstream.get("/").json::<User>().await;
            got.expect_err(reason);
        }
        assert_eq!(upstream.circuit(), CircuitState::Open, "{reason}");
        let got = upstream.get("/").json::<User>().await;
        assert!(matches!(got, Err(CallError::CircuitOpen(_))), "{reason}");
        assert_eq!(asked.load(Ordering::SeqCst), 5, "{reason}: left alone");

        sleep(Duration::from_millis(60)).await;
        let got = upstream.get("/").json::<User>().await;
        got.expect("it is back");
        assert_eq!(upstream.circuit(), CircuitState::Closed, "{reason}");
    }
}

#[tokio::test]
async fn a_refusal_opens_no_circuit() {
    let stub = Stub::answering("404 Not Found", NOT_FOUND).await;
    let upstream = stub.upstream_with(quick());
    for _ in 0..10 {
        let got = upstream.get("/api/users/7").find::<User>().await;
        assert_eq!(got, Ok(None));
    }
    assert_eq!(upstream.circuit(), CircuitState::Closed);
}

/// Answers every request after `pause`.
async fn slow(pause: Duration) -> Stub {
    Stub::replying(move |_| {
        tokio::task::block_in_place(|| std::thread::sleep(pause));
        ("200 OK", r#"{"id":"7"}"#.to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_waits_for_a_place_in_the_bulkhead() {
    let stub = slow(Duration::from_millis(20)).await;
    let upstream = stub.upstream_with(Resilience {
        bulkhead: Some(2),
        ..Resilience::default()
    });
    let calls = (0..12).map(|_| {
        let upstream = upstream.clone();
        async move { upstream.get("/").done().await }
    });
    for got in join_all(calls).await {
        got.expect("there is time for all of them");
    }
}

#[tokio::test]
async fn a_call_without_a_place_in_time_is_never_sent() {
    let stub = Stub::hanging().await;
    let upstream = stub.upstream_with(Resilience {
        bulkhead: Some(2),
        retries: 0,
        ..Resilience::default()
    });
    let two = [(); 2].map(|()| {
        let upstream = upstream.clone();
        tokio::spawn(async move { upstream.get("/").done().await })
    });
    while upstream.metrics().in_flight_now() < 2 && !two[0].is_finished() {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    let deadline = began + Duration::from_millis(450);
    let late = upstream.before(deadline).get("/").done().await;
    assert_eq!(late, Err(CallError::BulkheadFull(2)));
    // Half of the time-out of 800 ms must be left for the call itself.
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(50), "{waited:?}");
    let told = late.expect_err("late").for_client("stub-service");
    assert!(format!("{told:?}").contains("overloaded"), "{told:?}");
    assert!(two.iter().all(|call| !call.is_finished()), "it hangs still");
    for call in two {
        call.await.expect("no panic").expect_err("it hangs");
    }
    assert_eq!(upstream.metrics().in_flight_now(), 0);
    let got = upstream.get("/").done().await;
    assert!(
        matches!(got, Err(CallError::TimedOut(_))),
        "a place is free again"
    );
}

#[tokio::test]
async fn nobody_waits_for_a_place_while_the_circuit_is_open() {
    let stub = Stub::hanging().await;
    let upstream = stub.upstream_with(Resilience {
        bulkhead: Some(1),
        retries: 0,
        circuit: Some(Circuit {
            failures: 1,
            ..Circuit::default()
        }),
        ..quick()
    });
    upstream.get("/").done().await.expect_err("it hangs");
    let bulkhead = upstream.guarded.bulkhead.as_ref().expect("there is one");
    let _place = bulkhead.try_enter().expect("it is empty");
    let began = Instant::now();
    let got = upstream.get("/").done().await;
    assert!(matches!(got, Err(CallError::CircuitOpen(_))), "{got:?}");
    assert!(began.elapsed() < Duration::from_millis(500), "at once");
}

#[tokio::test]
async fn a_time_out_as_long_as_the_deadline_opens_the_circuit() {
    let stub = Stub::hanging().await;
    let upstream = stub.upstream_with(Resilience {
        deadline: quick().timeout,
        ..quick()
    });
    // On a busy machine some attempts have hardly any time, and say nothing.
    for _ in 0..20 {
        upstream.get("/").done().await.expect_err("it hangs");
    }
    assert_eq!(upstream.circuit(), CircuitState::Open);
}

#[tokio::test]
async fn an_attempt_that_had_hardly_any_time_says_nothing() {
    let stub = Stub::hanging().await;
    let upstream = stub.upstream_with(quick());
    for _ in 0..10 {
        let soon = Instant::now() + Duration::from_millis(5);
        let got = upstream.before(soon).get("/").done().await;
        got.expect_err("it hangs");
    }
    assert_eq!(upstream.circuit(), CircuitState::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slow_success_of_a_patient_caller_is_a_failure_for_the_others() {
    let stub = slow(Duration::from_millis(120)).await;
    let upstream = stub.upstream_with(Resilience {
        circuit: Some(Circuit {
            failures: 2,
            open: Duration::from_millis(1),
            ..Circuit::default()
        }),
        ..quick()
    });
    let patient = upstream.clone().with_timeout(Duration::from_secs(2));
    for _ in 0..2 {
        patient.get("/").done().await.expect("it answers late");
    }
    assert_ne!(upstream.circuit(), CircuitState::Closed, "too late");
    sleep(Duration::from_millis(5)).await;
    patient.get("/").done().await.expect("the probe");
    assert_ne!(upstream.circuit(), CircuitState::Closed, "too late again");
}

#[tokio::test]
async fn retries_are_a_share_of_the_calls() {
    let (stub, asked) = failing(u32::MAX, UNAVAILABLE).await;
    let upstream = stub.upstream_with(Resilience {
        circuit: None,
        ..unhurried()
    });
    for _ in 0..100 {
        upstream.get("/").done().await.expect_err("it is down");
    }
    let retries = asked.load(Ordering::SeqCst) - 100;
    // 50 at first, a fifth for each of 99 calls, since the first finds the budget full, and one for
    // each second.
    assert!((69..90).contains(&retries), "{retries} retries");
    let metrics = upstream.metrics();
    assert_eq!(metrics.retries.get(), u64::from(retries));
    assert!(metrics.retries_denied.get() > 0);
}

#[tokio::test]
async fn a_retry_waits_as_long_as_the_service_asks() {
    const SOON: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    const LATER: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 30\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    const ON_A_DAY: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: Wed, 21 Oct 2065 07:28:00 GMT\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    const LIMITED: &str = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    for (failure, expected) in [(SOON, 2), (LIMITED, 2), (LATER, 1), (ON_A_DAY, 1)] {
        let (stub, asked) = failing(1, failure).await;
        let upstream = stub.upstream_with(unhurried());
        let began = Instant::now();
        let got = upstream.get("/").done().await;
        assert_eq!(asked.load(Ordering::SeqCst), expected, "{failure}");
        assert_eq!(got.is_ok(), expected == 2, "{failure}: {got:?}");
        if expected == 2 {
            assert!(began.elapsed() >= Duration::from_secs(1), "{failure}");
        }
    }
}

#[tokio::test]
async fn what_is_in_between_settles_no_doubt() {
    for status in [
        "401 Unauthorized",
        "408 Request Timeout",
        "429 Too Many Requests",
        "404 Not Found\r\nx-not-found: route",
    ] {
        let asked = AtomicU32::new(0);
        let stub = Stub::sending(move |_| {
            // The first change may have been made; then something else answers.
            if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                return String::new();
            }
            let length = NOT_FOUND.len();
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{NOT_FOUND}")
        })
        .await;
        let upstream = stub.upstream_with(quick());
        let call = upstream.patch("/", &()).with_key("k");
        let error = call.done().await.expect_err("never made for sure");
        assert!(error.in_doubt(), "{status}: {error}");
    }
}

#[tokio::test]
async fn a_ping_checks_who_answers() {
    for (body, expected) in [
        (r#"{"status":"healthy","service":"stub-service"}"#, None),
        (
            r#"{"status":"healthy","service":"product-service"}"#,
            Some("product-service"),
        ),
        (r#"{"status":"healthy"}"#, Some("service")),
        ("It works!", Some("JSON")),
    ] {
        let stub = Stub::answering("200 OK", body).await;
        match (stub.upstream().ping().await, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => {
                assert!(error.to_string().contains(part), "{body}: {error}");
            }
            (got, _) => panic!("{body}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn switched_off_there_are_time_outs_and_nothing_else() {
    let (stub, asked) = failing(u32::MAX, UNAVAILABLE).await;
    let upstream = stub.upstream_with(Resilience {
        retries: 0,
        circuit: None,
        bulkhead: None,
        ..quick()
    });
    for _ in 0..20 {
        let got = upstream.get("/").done().await;
        let failed = CallError::Failed {
            status: 503,
            retry_after: None,
        };
        assert_eq!(got, Err(failed));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 20);
    assert_eq!(upstream.circuit(), CircuitState::Closed);
}

/// Only Linux lets a connection wait while the backlog of a server is full.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_where_nobody_answers_is_given_up_in_time_for_another_instance() {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("a free port");
    let silent = socket.listen(1).expect("it listens");
    let silent_at = silent.local_addr().expect("an address");
    // Nobody accepts these, so the next one waits.
    let connecting = (0..8).map(|_| {
        let connecting = tokio::net::TcpStream::connect(silent_at);
        tokio::time::timeout(Duration::from_millis(200), connecting)
    });
    let held = join_all(connecting).await;
    assert!(held.iter().any(Result::is_err), "its backlog is full");
    let good = Stub::answering("200 OK", "{}").await;
    let source = Source::Fixed(vec![
        crate::upstream::url::UpstreamUrl::of(silent_at),
        good.url(),
    ]);
    let patient = Resilience {
        timeout: Duration::from_secs(20),
        deadline: Duration::from_secs(20),
        retries: 0,
        balance: Balance::RoundRobin,
        ..Resilience::default()
    };
    let http = crate::upstream::client::Connections::new();
    let users = Upstream::new("user-service", &source, http, patient);
    for _ in 0..2 {
        let began = Instant::now();
        let posted = users.post("/", &()).once().done().await;
        posted.expect("nothing was sent to the one that is silent");
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
    }
}
