//! Tests of the built programs, product-service on each framework: start, log, stop.

mod log;
mod start;
mod stop;

use std::time::Duration;

use serde_json::{Value, json};
use shop_tests::program::service_in;

/// The grace period of the contract, and more for a busy machine.
const GRACE: Duration = Duration::from_secs(15);

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
