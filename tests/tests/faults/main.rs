//! The answers to clients, and the contents of the stores, when an upstream dies, hangs, is slow or
//! answers garbage; and the recovery afterwards. The services are the programs, killed by SIGKILL.
//! The many kinds of wrong answers are in `tests/shop/outages.rs`.

mod data_loss;
mod instances;
mod resilience_off;
mod shop;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use harness::raw;
use serde_json::json;
use shop::in_a_shop;
use shop_tests::ask::all;
use shop_tests::faults::{Faults, good};

/// The settings for calls: the defaults with shorter time-outs.
const SHORT_TIMEOUTS: [(&str, &str); 3] = [
    ("CALL_TIMEOUT_MS", "500"),
    ("CIRCUIT_OPEN_MS", "1000"),
    // Analytics polls only for requests.
    ("POLL_INTERVAL_MS", "60000"),
];

/// The settings where only the notification, with its own time-out, should fail.
const SLOW_CALLS: [(&str, &str); 3] = [
    ("CALL_TIMEOUT_MS", "5000"),
    ("DEADLINE_MS", "5000"),
    ("CIRCUIT_OPEN_MS", "1000"),
];

/// The deadline of an order is 2 s, and so is that of a poll; a request to analytics-service may
/// wait for two polls. The rest is for a busy machine.
const PROMPT: Duration = Duration::from_secs(6);

/// Less than any time-out, so an answer in this time has not waited for the upstream.
const AT_ONCE: Duration = Duration::from_millis(250);

/// The longest recovery after an upstream is back: the rest of the time that its circuit is open,
/// and a call.
const BACK: Duration = Duration::from_secs(1 + PROMPT.as_secs());

/// The initial stock.
const STOCK: u64 = 1000;

/// A call from one service to another.
#[derive(Clone, Copy, Debug)]
struct Edge {
    caller: &'static str,
    upstream: &'static str,
    /// The requests that the fault affects: those whose target ends with this.
    hit: &'static str,
    /// What a client of the caller gets during the fault.
    client_gets: ClientGets,
}

#[derive(Clone, Copy, Debug)]
enum ClientGets {
    /// 503, with the name of the upstream.
    Unavailable,
    /// The order, with its notification marked as failed.
    Unnotified,
    /// The last known total, and the name of the upstream that is down.
    LastKnown,
}

const fn edge(
    caller: &'static str,
    upstream: &'static str,
    hit: &'static str,
    client_gets: ClientGets,
) -> Edge {
    Edge {
        caller,
        upstream,
        hit,
        client_gets,
    }
}

const EDGES: [Edge; 9] = {
    use ClientGets::{LastKnown, Unavailable, Unnotified};
    [
        edge("order-service", "user-service", "", Unavailable),
        edge("order-service", "product-service", "", Unavailable),
        // Its product is found, and then its stock cannot be taken.
        edge("order-service", "product-service", "/stock", Unavailable),
        edge("order-service", "notification-service", "", Unnotified),
        edge("product-service", "user-service", "", Unavailable),
        edge("analytics-service", "user-service", "", LastKnown),
        edge("analytics-service", "product-service", "", LastKnown),
        edge("analytics-service", "order-service", "", LastKnown),
        edge("analytics-service", "notification-service", "", LastKnown),
    ]
};

/// The fault of an upstream.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// SIGKILL: its port refuses connections. It has lost its records when it is back.
    Killed,
    /// SIGSTOP: it accepts connections and does nothing.
    Stopped,
    /// It handles the request, but only after the caller has given up.
    Slow,
    /// It answers 500 and does nothing.
    Errors,
    /// It answers invalid HTTP and does nothing.
    Garbage,
    /// It handles the request, and dies in the middle of its answer.
    BrokenOff,
}

const FAULTS: [Fault; 6] = [
    Fault::Killed,
    Fault::Stopped,
    Fault::Slow,
    Fault::Errors,
    Fault::Garbage,
    Fault::BrokenOff,
];

#[tokio::test(flavor = "multi_thread")]
async fn with_any_fault_of_an_upstream_the_client_gets_a_clear_answer_in_time() {
    let cells = EDGES
        .into_iter()
        .flat_map(|edge| FAULTS.map(|fault| (edge, fault)));
    // Each case has its own shop, and waits most of the time.
    let findings = stream::iter(cells)
        .map(async |(edge, fault)| {
            let cell = tokio::spawn(in_a_shop(edge, fault)).await;
            let finding = cell.unwrap_or_else(|panic| Err(panic.to_string()));
            (edge, fault, finding)
        })
        .buffer_unordered(12);
    let mut faults = Faults::default();
    for (edge, fault, finding) in findings.collect::<Vec<_>>().await {
        let Edge {
            caller, upstream, ..
        } = edge;
        faults.check(
            format!("{caller} → {upstream}{}, {fault:?}", edge.hit),
            finding,
        );
    }
    faults.finish();
}

/// One user, one product, one notification; no order.
async fn stock_up(service: &str, address: SocketAddr) -> Result<(), String> {
    let (path, body) = match service {
        "user-service" => (
            "/api/users",
            json!({"name": "Ada", "email": "ada@example.com"}),
        ),
        "product-service" => (
            "/api/products",
            json!({"name": "Kettle", "price": 1, "stock": STOCK}),
        ),
        "notification-service" => (
            "/api/notifications/send",
            json!({"userId": "1", "message": "Welcome"}),
        ),
        _ => return Ok(()),
    };
    let got = raw::post(address, path, &[], &body).await?;
    good(got.status == 201, format!("{service}: {got:?}"))
}

async fn count(address: SocketAddr, list: &str, expected: usize) -> Result<(), String> {
    let there = all(address, list).await?.len();
    good(
        there == expected,
        format!("{there} in {list}, not {expected}"),
    )
}
