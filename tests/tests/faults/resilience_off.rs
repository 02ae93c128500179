//! Resilience switched off.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use shop_tests::ask::place;
use shop_tests::fake::Fake;
use shop_tests::program::{Program, found_by, upstream_variables};
use tokio::task::block_in_place;

use super::stock_up;

/// Places ten orders, one after the other, while an upstream hangs. Returns their durations, and the
/// number of calls that reached the upstream.
async fn ten_orders_while_it_hangs(
    hung: &str,
    resilience: &str,
    expected: u16,
) -> (Vec<Duration>, usize) {
    let fake = Fake::start(|_| std::future::pending()).await;
    let mut real = Vec::new();
    let mut urls = Vec::new();
    for variable in upstream_variables("order-service") {
        let name = found_by(variable);
        let program = block_in_place(|| Program::start(name, &[]));
        stock_up(name, program.address()).await.expect(name);
        let url = if name == hung {
            fake.url().as_str().to_owned()
        } else {
            program.url()
        };
        urls.push((*variable, url));
        real.push(program);
    }
    let urls = urls.iter().map(|(variable, url)| (*variable, url.as_str()));
    // The other upstreams must answer in time on any machine.
    let timeout = if hung == "product-service" {
        "500"
    } else {
        "2000"
    };
    let settings = [
        ("RESILIENCE", resilience),
        ("CALL_TIMEOUT_MS", timeout),
        ("NOTIFY_TIMEOUT_MS", "500"),
        // Once open, the circuit stays open.
        ("CIRCUIT_OPEN_MS", "600000"),
    ];
    let variables: Vec<_> = urls.chain(settings).collect();
    let orders = block_in_place(|| Program::start("order-service", &variables));
    let mut took = Vec::new();
    for _ in 0..10 {
        let asked = Instant::now();
        let got = place(orders.address(), 1, 1, &[]).await.expect("an answer");
        took.push(asked.elapsed());
        assert_eq!(got.status, expected, "{hung} hangs: {got:?}");
    }
    (took, fake.seen().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_resilience_off_every_order_waits_for_the_hanging_upstream() {
    let cases = [("product-service", 503), ("notification-service", 201)];
    join_all(cases.map(async |(hung, status)| {
        let ((off, off_calls), (on, on_calls)) = tokio::join!(
            ten_orders_while_it_hangs(hung, "off", status),
            ten_orders_while_it_hangs(hung, "on", status)
        );
        let waited = |took: &&Duration| **took >= Duration::from_millis(500);
        assert_eq!(off.iter().filter(waited).count(), 10, "{hung}: {off:?}");
        assert!(on.iter().filter(waited).count() < 10, "{hung}: {on:?}");
        // On a busy machine a call may end before it has begun.
        assert!(off_calls > 5, "{hung}: each asks it, {off_calls} in all");
        assert!(
            on_calls <= 5,
            "{hung}: left alone, it is asked {on_calls} times"
        );
    }))
    .await;
}
