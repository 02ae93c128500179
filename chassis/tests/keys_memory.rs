//! The memory of as many idempotency keys as a container of the shop keeps. A program of its
//! own, since it measures the memory of the process.

use std::time::Duration;

use chassis::contract::error::ApiError;
use chassis::contract::idempotency::{Key, Keys};
use chassis::contract::reply::Reply;

/// `MAX_KEYS` in the containers.
const KEYS: u32 = 8_192;

const MIB: u64 = 1024 * 1024;

/// An answer of order-service.
const ORDER: &str = r#"{"id":"12345","userId":"12345","productId":"123","quantity":12,"unitPrice":199.99,"totalPrice":2399.88,"status":"confirmed","notification":"sent","createdAt":"2026-01-01T12:00:00.000Z","updatedAt":"2026-01-01T12:00:00.000Z"}"#;

/// The resident memory of this process; `None` where there is no `/proc`.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Makes changes with `answer` until a key is refused. Returns how many were made, and the
/// memory that they take.
async fn fill(keys: &Keys, key: impl Fn(u32) -> String, answer: &str) -> (u32, Option<u64>) {
    let before = resident_memory();
    let answer: serde_json::Value = serde_json::from_str(answer).expect("JSON");
    let mut made = 0;
    loop {
        let key = Key::parse(Some(key(made).as_bytes()), "POST", "/api/orders", None);
        let change = async || Ok(Reply::created(format!("/api/orders/{made}"), &answer));
        match keys.once(key.expect("a key"), &made, change).await {
            Ok(_) => made += 1,
            Err(error) => {
                assert_eq!(ApiError::status(&error), 503);
                break;
            }
        }
    }
    let taken = before.and_then(|before| Some(resident_memory()?.saturating_sub(before)));
    (made, taken)
}

#[tokio::test]
async fn all_keys_of_a_container_take_less_than_a_twentieth_of_its_memory() {
    let uuid = |n: u32| format!("0b5e9d6c-7f1a-4c7e-9d3b-{n:012x}");
    let orders = Keys::new(KEYS, Duration::ZERO);
    let (made, taken) = fill(&orders, uuid, ORDER).await;
    assert_eq!(made, KEYS, "usual answers fill the count");
    assert!(taken.is_none_or(|taken| taken < 6 * MIB), "{taken:?}");

    // The longest keys, and a notification of a thousand characters of four bytes.
    let longest = |n: u32| format!("{n:0128}");
    let notification = format!(r#"{{"message":"{}"}}"#, "🦀".repeat(1000));
    let notifications = Keys::new(KEYS, Duration::ZERO);
    let (made, taken) = fill(&notifications, longest, &notification).await;
    assert!((KEYS / 20..KEYS / 10).contains(&made), "{made}");
    assert!(taken.is_none_or(|taken| taken < 6 * MIB), "{taken:?}");
}
