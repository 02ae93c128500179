//! The scripts that swap and start: which framework product-service is on.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use shop_tests::PATIENCE;
use shop_tests::program::{SERVICES, programs, send_signal};
use shop_tests::raw;
use shop_tests::scripts::{Ran, Shop};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, sleep};

const PRODUCTS: &str = "product-service";

/// Runs a script that must do what it is to do.
async fn run(shop: &Shop, script: &str, words: &[&str]) -> Ran {
    let ran = shop.run(script, words).await.expect("it ends");
    assert!(ran.worked, "{script} {words:?}: {}", ran.said);
    ran
}

/// The framework that a script shows in its table, if product-service itself says the
/// same.
async fn framework(shop: &Shop, ran: &Ran) -> String {
    let mut rows = ran.said.lines().map(str::split_whitespace);
    let shown = rows.find_map(|mut row| (row.next() == Some(PRODUCTS)).then(|| row.next()));
    let health = raw::get(shop.address(PRODUCTS), "/health").await;
    let health: Value = health.expect("an answer").json();
    assert_eq!(
        shown.flatten(),
        health["framework"].as_str(),
        "{}",
        ran.said
    );
    shown.flatten().unwrap_or_default().to_owned()
}

/// Kills all five at once, as a machine does that runs out of memory.
async fn crash(shop: &Shop) {
    for service in SERVICES {
        let noted = fs::read_to_string(shop.run_dir().join(format!("{service}.pid")));
        let process = noted.expect("a process id").trim().parse();
        send_signal(process.expect("a number"), "KILL");
    }
    for service in SERVICES {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(shop.address(service)).await.is_ok() {
            assert!(Instant::now() < deadline, "{service} outlives a SIGKILL");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_swap_outlives_product_service_and_not_the_shop() {
    let shop = Shop::new().expect("five ports");
    // A program of one's own, which is on axum.
    let own = shop.run_dir().join("own-program");
    let comparison = programs().join("framework-comparison");
    let comparison = comparison.display();
    let script = format!("#!/bin/sh\nexec '{comparison}' serve --framework axum\n");
    fs::write(&own, script).expect("is written");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).expect("can be run");
    let own = own.to_string_lossy();

    let started = run(&shop, "start.sh", &[]).await;
    assert_eq!(framework(&shop, &started).await, "rocket");
    for words in [
        &["product", "poem"][..],
        &["product", "axum", "--program", &own],
    ] {
        let swapped = run(&shop, "swap.sh", words).await;
        assert_eq!(framework(&shop, &swapped).await, words[1]);
        run(&shop, "stop.sh", &[PRODUCTS]).await;
        let back = run(&shop, "start.sh", &[]).await;
        assert_eq!(framework(&shop, &back).await, words[1], "while others run");

        crash(&shop).await;
        // Whichever is the first of the new shop.
        run(&shop, "start.sh", &["user-service"]).await;
        let new = run(&shop, "start.sh", &[]).await;
        assert_eq!(framework(&shop, &new).await, "rocket", "in a new shop");
    }

    run(&shop, "stop.sh", &SERVICES[..1]).await;
    run(&shop, "stop.sh", &SERVICES[2..]).await;
    let alone = run(&shop, "swap.sh", &["product", "warp"]).await;
    assert_eq!(framework(&shop, &alone).await, "warp", "with nobody else");
    let all = run(&shop, "start.sh", &[]).await;
    assert_eq!(framework(&shop, &all).await, "warp", "one of them ran");
}
