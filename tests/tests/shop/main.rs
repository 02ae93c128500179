//! The five services together: the golden journey, races, and upstreams with useless answers.

mod calls;
mod journey;
mod outages;
mod races;
mod totals;
mod trace_context;

use std::time::Duration;

use chassis::testkit::{Got, Server};
use serde_json::{Value, json};

/// Long enough on a busy machine, and far less than a hang.
const PROMPT: Duration = Duration::from_secs(5);

fn order(user: &str, product: &str, quantity: u32) -> Value {
    json!({"userId": user, "productId": product, "quantity": quantity})
}

/// How many there are in a list.
async fn count(server: &Server, list: &str) -> String {
    server
        .get(&format!("{list}?limit=1"))
        .await
        .header("x-total-count")
        .to_owned()
}

/// What a body holds under `name`, digit by digit.
fn digits(got: &Got, name: &str) -> String {
    let body = String::from_utf8(got.body.clone()).expect("UTF-8");
    let start = body
        .find(&format!("\"{name}\":"))
        .unwrap_or_else(|| panic!("no {name} in {body}"));
    let rest = &body[start + name.len() + 3..];
    rest[..rest.find([',', '}']).expect("an end")].to_owned()
}
