//! Tests of `/api/analytics/services` and `/api/analytics/history` over HTTP: the real server
//! on a free port, with stubs whose metrics the test sets.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use analytics_service::{App, Config, http};
use chassis::testkit::{Got, Server, Stub, env};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

/// Longer than anything in these tests takes.
const TIMEOUT: Duration = Duration::from_secs(20);

/// More than an answer may take, even if an upstream hangs.
const PROMPT: Duration = Duration::from_secs(5);

const NAMES: [&str; 4] = [
    "user-service",
    "product-service",
    "order-service",
    "notification-service",
];

/// The fields that are measured.
const MEASURED: [&str; 7] = [
    "latency_ms",
    "request_rate",
    "error_rate",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "resident_memory_bytes",
];

/// Starts analytics-service with stubs for user, product, order and notification-service,
/// which it polls every `interval` milliseconds.
async fn start([users, products, orders, notifications]: [&Stub; 4], interval: u32) -> Server {
    let variables = [
        ("USER_SERVICE_URL", users),
        ("PRODUCT_SERVICE_URL", products),
        ("ORDER_SERVICE_URL", orders),
        ("NOTIFICATION_SERVICE_URL", notifications),
    ]
    .map(|(name, stub)| (name, stub.url().as_str().to_owned()));
    let more = [
        ("POLL_INTERVAL_MS", interval.to_string()),
        // The circuit closes as soon as an upstream is back.
        ("CIRCUIT_OPEN_MS", "1".to_owned()),
    ];
    let variables = [variables.as_slice(), &more].concat();
    let config = Config::read(env(&variables)).expect("good variables");
    Server::start(|listener, shutdown| async move {
        http::serve(listener, App::new(&config, &http::API, shutdown)?).await
    })
    .await
}

/// What a stub answers. The test changes it.
#[derive(Clone)]
struct Shown {
    health: Option<String>,
    metrics: Option<String>,
}

/// A stub of a service, and the number of requests for its health.
struct Observed {
    stub: Stub,
    shown: Arc<Mutex<Shown>>,
    asked: Arc<AtomicU32>,
}

impl Observed {
    /// A service that has been up for `uptime` seconds, with these `metrics`.
    async fn showing(uptime: u32, metrics: &str) -> Self {
        let shown = Arc::new(Mutex::new(Shown {
            health: Some(health(uptime)),
            metrics: Some(metrics.to_owned()),
        }));
        let asked = Arc::new(AtomicU32::new(0));
        let stub = Stub::sending({
            let (shown, asked) = (Arc::clone(&shown), Arc::clone(&asked));
            move |request| {
                let shown = shown.lock().expect("no panic").clone();
                let body = if request.starts_with("GET /health ") {
                    asked.fetch_add(1, Ordering::SeqCst);
                    shown.health
                } else if request.starts_with("GET /metrics ") {
                    shown.metrics
                } else {
                    None
                };
                body.map_or_else(String::new, |body| answer(&body))
            }
        })
        .await;
        Self { stub, shown, asked }
    }

    fn show(&self, health: Option<String>, metrics: Option<&str>) {
        *self.shown.lock().expect("no panic") = Shown {
            health,
            metrics: metrics.map(ToOwned::to_owned),
        };
    }
}

fn answer(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn health(uptime: u32) -> String {
    format!(
        r#"{{"status":"healthy","service":"a","framework":"axum","version":"0.1.0","time":"2026-01-01T12:00:00.000Z","uptimeSeconds":{uptime}}}"#
    )
}

/// The metrics of a service that answered `requests` requests with 200, `errors` with 500,
/// and 1000 of its operations. The 200s took 50 to 100 ms, the others up to a second.
fn metrics(requests: u32, errors: u32) -> String {
    let mut lines = Vec::new();
    for (route, status, count) in [
        ("/api/users", 200, requests),
        ("/api/users/{id}", 500, errors),
        ("/health", 200, 1000),
        ("/metrics", 200, 1000),
    ] {
        let labels = format!(r#"service="a",method="GET",route="{route}",status="{status}""#);
        lines.push(format!("http_requests_total{{{labels}}} {count}"));
        let quick = if status == 200 { count } else { 0 };
        for (le, count) in [("0.05", 0), ("0.1", quick), ("1.0", count), ("+Inf", count)] {
            let name = "http_request_duration_seconds_bucket";
            lines.push(format!(r#"{name}{{{labels},le="{le}"}} {count}"#));
        }
    }
    lines.push(r#"process_resident_memory_bytes{service="a"} 12345678"#.to_owned());
    lines.push("# EOF\n".to_owned());
    lines.join("\n")
}

/// The answer of `/services`: one entry for each, in their order.
async fn services(analytics: &Server) -> Vec<Value> {
    let asked = Instant::now();
    let answer = analytics.get("/api/analytics/services").await.expect(200);
    assert!(asked.elapsed() < PROMPT, "took {:?}", asked.elapsed());
    let services = answer.as_array().expect("a list").clone();
    let names: Vec<_> = services.iter().map(|one| one["name"].clone()).collect();
    assert_eq!(json!(names), json!(NAMES));
    services
}

async fn history(analytics: &Server) -> Vec<Value> {
    let answer = analytics.get("/api/analytics/history").await.expect(200);
    answer.as_array().expect("a list").clone()
}

/// Waits for `count` samples.
async fn samples(analytics: &Server, count: usize) -> Vec<Value> {
    let since = Instant::now();
    loop {
        let samples = history(analytics).await;
        if samples.len() >= count {
            return samples;
        }
        assert!(since.elapsed() < TIMEOUT, "only {} samples", samples.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Gets the first of the services until it satisfies `good`.
async fn first_until(analytics: &Server, good: impl Fn(&Value) -> bool) -> Value {
    let since = Instant::now();
    loop {
        let first = services(analytics).await.swap_remove(0);
        if good(&first) {
            return first;
        }
        assert!(since.elapsed() < TIMEOUT, "still {first}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_current_state_is_reported() {
    let up = Observed::showing(12, &metrics(0, 0)).await;
    let down = Stub::refusing().await;
    let analytics = start([&up.stub, &down, &up.stub, &up.stub], 60_000).await;
    let services = services(&analytics).await;
    for (service, stub) in services.iter().zip([&up.stub, &down, &up.stub, &up.stub]) {
        assert_eq!(service["url"], stub.url().as_str());
    }

    let first = &services[0];
    for (field, expected) in [
        ("framework", json!("axum")),
        ("version", json!("0.1.0")),
        ("status", json!("up")),
        ("uptime_seconds", json!(12)),
        ("resident_memory_bytes", json!(12_345_678)),
        // A rate needs two samples.
        ("request_rate", Value::Null),
        ("error_rate", Value::Null),
        ("p50_ms", Value::Null),
        ("polls", json!(0)),
        ("polls_answered", json!(0)),
    ] {
        assert_eq!(first[field], expected, "{field}");
    }
    assert!(first["latency_ms"].as_f64() > Some(0.0), "{first}");

    let never_up = &services[1];
    assert_eq!(never_up["status"], "down");
    for field in [&MEASURED[..], &["framework", "version", "uptime_seconds"]].concat() {
        assert_eq!(never_up[field], Value::Null, "{field}");
    }
    assert_eq!(history(&analytics).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_service_at_the_address_of_another_is_not_up() {
    let products = Stub::answering(
        "200 OK",
        r#"{"status":"healthy","service":"product-service","framework":"rocket"}"#,
    )
    .await;
    let analytics = start([&products; 4], 60_000).await;
    let services = services(&analytics).await;
    let up: Vec<_> = services.iter().map(|one| one["status"] == "up").collect();
    assert_eq!(up, [false, true, false, false], "{services:?}");
}

#[tokio::test]
async fn rates_and_percentiles_are_of_the_requests_between_two_samples() {
    let observed = Observed::showing(12, &metrics(1000, 50)).await;
    let analytics = start([&observed.stub; 4], 500).await;
    let first = samples(&analytics, 1).await.swap_remove(0);
    assert_eq!(first["services"][0]["request_rate"], Value::Null, "{first}");
    let from = Instant::now();
    observed.show(Some(health(13)), Some(&metrics(1090, 60)));

    // 100 between two samples, 10 of them answered with a 500.
    let counted = |sample: &&Value| sample["services"][0]["request_rate"].as_f64() > Some(0.0);
    let since = Instant::now();
    let sample = loop {
        let samples = history(&analytics).await;
        if let Some(sample) = samples.iter().find(counted) {
            break sample["services"][0].clone();
        }
        assert!(since.elapsed() < TIMEOUT, "no rate in {samples:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let longest = from.elapsed().as_secs_f64() + 1.0;
    let rate = sample["request_rate"].as_f64().expect("a number");
    // The samples are about half a second apart; a busy machine may delay one.
    assert!((100.0 / longest..=1000.0).contains(&rate), "{sample}");
    let errors = sample["error_rate"].as_f64().expect("a number");
    assert!((rate / errors - 10.0).abs() < 0.1, "{sample}");
    // 90 within 50 to 100 ms, 10 within 100 ms to 1 s: the 50th is at 50 of 90
    // in the first bucket, the 95th half-way through the second.
    for (field, expected) in [("p50_ms", 77.778), ("p95_ms", 550.0), ("p99_ms", 910.0)] {
        let got = sample[field].as_f64().expect("a number");
        assert!((got - expected).abs() < 0.01, "{field} is {got}");
    }
    assert_eq!(sample["resident_memory_bytes"], 12_345_678);

    // The same from /services, compared with a sample a second old or older.
    let quiet = first_until(&analytics, |first| first["request_rate"] == 0.0).await;
    assert_eq!(quiet["error_rate"], 0.0, "{quiet}");
    assert_eq!(quiet["p99_ms"], Value::Null, "no request, no duration");
    observed.show(Some(health(14)), Some(&metrics(1100, 70)));
    let busy = first_until(&analytics, |first| {
        first["request_rate"].as_f64() > Some(0.0)
    })
    .await;
    let rate = busy["request_rate"].as_f64().expect("a number");
    assert!(rate <= 20.0, "20 requests in a second or more: {busy}");
    let errors = busy["error_rate"].as_f64().expect("a number");
    assert!((rate / errors - 2.0).abs() < 0.01, "{busy}");

    let samples = history(&analytics).await;
    let times: Vec<_> = samples
        .iter()
        .map(|one| one["timestamp"].as_str())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    for sample in &samples {
        let names: Vec<_> = (0..4)
            .map(|n| sample["services"][n]["name"].clone())
            .collect();
        assert_eq!(json!(names), json!(NAMES));
    }
}

#[tokio::test]
async fn a_restart_starts_afresh() {
    let observed = Observed::showing(100, &metrics(1000, 100)).await;
    let unnoticed = Observed::showing(100, &metrics(10, 0)).await;
    let stubs = [
        &observed.stub,
        &unnoticed.stub,
        &observed.stub,
        &observed.stub,
    ];
    let analytics = start(stubs, 500).await;
    samples(&analytics, 2).await;
    // One has restarted with lower counters; the other has already counted more than
    // before, and only its uptime shows the restart.
    observed.show(Some(health(200)), Some(&metrics(5, 1)));
    unnoticed.show(Some(health(1)), Some(&metrics(500, 100)));
    let before = history(&analytics).await.len();
    let samples = samples(&analytics, before + 3).await;
    for (n, name) in NAMES.iter().enumerate() {
        let of_it = samples.iter().map(|sample| &sample["services"][n]);
        // On a very busy machine, a poll can fail.
        let up = of_it.filter(|one| one["status"] == "up");
        let rates: Vec<_> = up.map(|one| one["request_rate"].clone()).collect();
        let nulls = rates.iter().filter(|rate| rate.is_null()).count();
        // The first sample, and the first after the restart.
        assert_eq!(nulls, 2, "{name}: {rates:?}");
        assert!(
            rates.iter().all(|rate| rate.is_null() || *rate == 0.0),
            "no requests in between: {name}: {rates:?}"
        );
    }
}

#[tokio::test]
async fn a_service_that_goes_down_keeps_its_known_facts_and_its_polls_count() {
    let observed = Observed::showing(12, &metrics(0, 0)).await;
    let analytics = start([&observed.stub; 4], 500).await;
    let up = samples(&analytics, 2).await.len();
    observed.show(None, None);
    let down = first_until(&analytics, |first| first["status"] == "down").await;
    assert_eq!(
        (&down["framework"], &down["version"]),
        (&json!("axum"), &json!("0.1.0"))
    );
    for field in [&MEASURED[..], &["uptime_seconds"]].concat() {
        assert_eq!(down[field], Value::Null, "{field}");
    }
    let samples = samples(&analytics, up + 3).await;
    let last = &samples.last().expect("some")["services"][0];
    assert_eq!(last["status"], "down");
    for field in MEASURED {
        assert_eq!(last[field], Value::Null, "{field}");
    }
    let counted = services(&analytics).await.swap_remove(0);
    let (polls, answered) = (
        counted["polls"].as_u64(),
        counted["polls_answered"].as_u64(),
    );
    assert!(
        answered >= Some(2) && polls >= answered.map(|n| n + 1),
        "{counted}"
    );

    observed.show(Some(health(1)), Some(&metrics(0, 0)));
    let again = first_until(&analytics, |first| first["status"] == "up").await;
    assert_eq!(again["uptime_seconds"], 1);
}

#[tokio::test]
async fn an_invalid_answer_makes_only_its_own_values_unknown() {
    let long = "# x\n".repeat(300_000) + "# EOF\n";
    for (health, metrics, known, measured, reason) in [
        (health(1), Some("<html>"), true, false, "not metrics at all"),
        (health(1), Some(""), true, false, "nothing"),
        (
            health(1),
            None,
            true,
            false,
            "it closes every second connection",
        ),
        (
            health(1),
            Some("http_requests_total x\n# EOF\n"),
            true,
            false,
            "no number",
        ),
        (health(1), Some(&*long), true, false, "too large"),
        (
            r#"{"service":"a"}"#.to_owned(),
            Some(&*metrics(1, 0)),
            false,
            true,
            "a health with nothing but a name",
        ),
    ] {
        let observed = Observed::showing(1, "").await;
        observed.show(Some(health), metrics);
        let fine = Observed::showing(1, &self::metrics(1, 0)).await;
        let stubs = [&observed.stub, &fine.stub, &fine.stub, &fine.stub];
        let analytics = start(stubs, 60_000).await;
        let services = services(&analytics).await;
        let odd = &services[0];
        assert_eq!(odd["status"], "up", "{reason}: {odd}");
        assert!(odd["latency_ms"].is_number(), "{reason}: {odd}");
        assert_eq!(odd["framework"].is_string(), known, "{reason}: {odd}");
        assert_eq!(odd["uptime_seconds"].is_u64(), known, "{reason}: {odd}");
        assert_eq!(
            odd["resident_memory_bytes"].is_u64(),
            measured,
            "{reason}: {odd}"
        );
        assert_eq!(services[1]["resident_memory_bytes"], 12_345_678, "{reason}");
    }
}

#[tokio::test]
async fn a_broken_service_is_down_and_does_not_delay_others() {
    let fine = Observed::showing(1, &metrics(1, 0)).await;
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{";
    let broken = [
        (Stub::refusing().await, "it refuses connections"),
        (Stub::hanging().await, "it never answers"),
        (
            Stub::sending(|_| String::new()).await,
            "it closes the connection",
        ),
        (Stub::sending(|_| "what?".to_owned()).await, "no HTTP"),
        (Stub::answering("200 OK", "what?").await, "no JSON"),
        (Stub::sending(|_| half.to_owned()).await, "half an answer"),
        (
            Stub::answering("500 Internal Server Error", "{}").await,
            "broken",
        ),
        (
            Stub::answering("404 Not Found", "{}").await,
            "another server",
        ),
    ];
    let watched = broken.iter().map(async |(broken, reason)| {
        let analytics = start([broken, &fine.stub, &fine.stub, &fine.stub], 1000).await;
        let started = Instant::now();
        let samples = samples(&analytics, 2).await;
        assert!(
            started.elapsed() < PROMPT,
            "{reason}: {:?}",
            started.elapsed()
        );
        for sample in samples {
            assert_eq!(sample["services"][0]["status"], "down", "{reason}");
            for n in 1..4 {
                assert_eq!(sample["services"][n]["status"], "up", "{reason}");
            }
        }
        assert_eq!(services(&analytics).await[0]["status"], "down", "{reason}");
    });
    join_all(watched).await;
}

#[tokio::test]
async fn a_window_is_1_to_60_minutes() {
    let observed = Observed::showing(1, &metrics(1, 0)).await;
    let analytics = start([&observed.stub; 4], 500).await;
    samples(&analytics, 1).await;
    for good in ["", "?minutes=1", "?minutes=60", "?minutes=%31", "?other=x"] {
        let answer = analytics
            .get(&format!("/api/analytics/history{good}"))
            .await;
        assert!(
            !answer.expect(200).as_array().expect("a list").is_empty(),
            "{good}"
        );
    }
    for bad in ["0", "61", "-1", "1.5", "x", "", "99999999999999999999"] {
        let path = format!("/api/analytics/history?minutes={bad}");
        let answer = analytics.get(&path).await;
        assert_eq!(answer.json()["details"][0]["field"], "minutes", "{bad}");
        let sentence = answer.expect_error(400, "validation_failed");
        assert_eq!(sentence, format!("minutes is {bad:?}, expected 1 to 60"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_requests_share_a_poll() {
    let observed = Observed::showing(1, &metrics(1, 0)).await;
    let slow = Stub::hanging().await;
    // The hanging stub keeps each poll running until all requests have arrived.
    let stubs = [&observed.stub, &slow, &observed.stub, &observed.stub];
    let analytics = start(stubs, 60_000).await;
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let request = analytics.request(Method::GET, "/api/analytics/services");
            tokio::spawn(Got::from(request))
        })
        .collect();
    for got in asked {
        let got = tokio::time::timeout(TIMEOUT, got).await.expect("in time");
        let services = got.expect("an answer").expect(200);
        assert_eq!(services[0]["status"], "up");
    }
    // Three stubs in one. A poll for the first request, one for all others, and one to
    // spare for a busy machine.
    let asked = observed.asked.load(Ordering::SeqCst);
    assert!((3..=9).contains(&asked), "asked {asked} times");
}

#[tokio::test]
async fn it_looks_until_it_stops() {
    let observed = Observed::showing(1, &metrics(1, 0)).await;
    let analytics = start([&observed.stub; 4], 500).await;
    samples(&analytics, 1).await;
    analytics.stop().await;
    let asked = observed.asked.load(Ordering::SeqCst);
    assert!(asked >= 4);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        observed.asked.load(Ordering::SeqCst),
        asked,
        "it still polls"
    );
}

#[test]
fn the_interval_must_be_in_range() {
    for (value, good) in [
        ("500", true),
        ("60000", true),
        ("499", false),
        ("60001", false),
        ("5s", false),
    ] {
        let variables = [("POLL_INTERVAL_MS", value.to_owned())];
        let config = Config::read(env(&variables));
        assert_eq!(config.is_ok(), good, "{value}");
        if let Err(error) = config {
            let error = error.to_string();
            let expected =
                format!("POLL_INTERVAL_MS is {value:?}, expected a whole number from 500 to 60000");
            assert_eq!(error, expected);
        }
    }
}
