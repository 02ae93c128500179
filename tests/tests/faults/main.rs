//! What becomes of a client, and of what the stores hold, when a service that is
//! called dies, hangs, is slow or talks nonsense; and that all is well again soon
//! after. The services are the programs, and they die by SIGKILL. What is only
//! answered wrongly, in any of many ways, is in `tests/shop/outages.rs`.

mod data_loss;
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

/// How calls are made here: as always, but sooner given up.
const QUICKLY: [(&str, &str); 3] = [
    ("CALL_TIMEOUT_MS", "500"),
    ("CIRCUIT_OPEN_MS", "1000"),
    // Analytics asks when it is asked.
    ("POLL_INTERVAL_MS", "60000"),
];

/// Where the notification alone is to be given up, which has a time-out of its own.
const PATIENTLY: [(&str, &str); 3] = [
    ("CALL_TIMEOUT_MS", "5000"),
    ("DEADLINE_MS", "5000"),
    ("CIRCUIT_OPEN_MS", "1000"),
];

/// The deadline of an order is 2 s, and so is that of a poll, of which one who
/// asks analytics-service may have to wait for two. The rest is for a busy machine.
const PROMPT: Duration = Duration::from_secs(6);

/// Less than any time-out: whoever answers so soon has waited for nobody.
const AT_ONCE: Duration = Duration::from_millis(250);

/// From the moment a service is back until its caller is: what is left of the
/// time that it is left alone, and a call.
const BACK: Duration = Duration::from_secs(1 + PROMPT.as_secs());

/// What there is in stock at first.
const STOCK: u64 = 1000;

/// A call from one service to another.
#[derive(Clone, Copy, Debug)]
struct Edge {
    caller: &'static str,
    neighbour: &'static str,
    /// The requests that are hit: those with a target that ends so.
    hit: &'static str,
    /// What a client of the caller gets while they are.
    client_gets: ClientGets,
}

#[derive(Clone, Copy, Debug)]
enum ClientGets {
    /// 503 that names the one who is missed.
    Unavailable,
    /// Its order, which is marked: its user was not told.
    Unnotified,
    /// The last total known, and who is down.
    LastKnown,
}

const fn edge(
    caller: &'static str,
    neighbour: &'static str,
    hit: &'static str,
    client_gets: ClientGets,
) -> Edge {
    Edge {
        caller,
        neighbour,
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

/// What can be wrong with the one who is called.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// SIGKILL: its port refuses. It has forgotten all when it is back.
    Killed,
    /// SIGSTOP: it takes connections and does nothing.
    Stopped,
    /// It does what it is asked to, after a while, when nobody waits any more.
    Slow,
    /// 500, and nothing done.
    Errors,
    /// Something that is no HTTP, and nothing done.
    Garbage,
    /// It does what it is asked to, and dies in the middle of its answer.
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
async fn whatever_befalls_one_who_is_called_the_client_gets_a_clear_answer_in_time() {
    let cells = EDGES
        .into_iter()
        .flat_map(|edge| FAULTS.map(|fault| (edge, fault)));
    // Each has a shop of its own; most of the time they wait.
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
            caller, neighbour, ..
        } = edge;
        faults.check(
            format!("{caller} → {neighbour}{}, {fault:?}", edge.hit),
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
