//! Exercise 4: stock adds up under concurrent requests.

use std::net::SocketAddr;

use chassis::testkit::Got;
use futures_util::future::join_all;
use serde_json::Value;

use crate::answers::{JSON, ask, json, summary};
use crate::report::Report;

/// The number of concurrent requests.
const CALLERS: usize = 20;

/// The number of attempts, because a race does not show every time.
const ROUNDS: usize = 5;

pub(crate) async fn check(address: SocketAddr) -> Report {
    let mut report = Report::default();
    let warehouse = Warehouse { address };

    let id = warehouse.create(10).await;
    let came = summary(&warehouse.change(id, -3).await);
    let expected = format!(r#"200 {{"id":{id},"stock":7}}"#);
    report.expect("PATCH, one request takes 3 of 10", came, expected);
    let refused = [warehouse.change(id, -8).await];
    let came = format!(
        "{} refused, {} left",
        count(&refused, 409),
        warehouse.left(id).await
    );
    report.expect("PATCH, one request takes 8 of 7", came, "1 refused, 7 left");

    let mut asked = 2;
    let mut at_once = async |what: &str, stock, delta: fn(usize) -> i64, expected: &str| {
        let mut came = String::new();
        for _ in 0..ROUNDS {
            let id = warehouse.create(stock).await;
            let changes = (0..CALLERS).map(|caller| warehouse.change(id, delta(caller)));
            let got = join_all(changes).await;
            asked += CALLERS;
            let (done, refused) = (count(&got, 200), count(&got, 409));
            let left = warehouse.left(id).await;
            came = format!("{done} done, {refused} refused, {left} left");
            if came != expected {
                break;
            }
        }
        report.expect(
            &format!("PATCH, {CALLERS} concurrent requests {what}"),
            came,
            expected,
        );
    };
    at_once("take 1 of 5", 5, |_| -1, "5 done, 15 refused, 0 left").await;
    let by_turns = |caller| if caller % 2 == 0 { 1 } else { -1 };
    at_once(
        "add or take 1",
        100,
        by_turns,
        "20 done, 0 refused, 100 left",
    )
    .await;

    let journal = ask(address, "GET", "/api/journal", &[], "").await;
    let came = format!("{} notes", json(&journal).as_array().map_or(0, Vec::len));
    report.expect("GET, the journal", came, format!("{asked} notes"));
    report
}

struct Warehouse {
    address: SocketAddr,
}

impl Warehouse {
    /// Creates a product. Returns its id, or 0 on failure.
    async fn create(&self, stock: i64) -> u64 {
        let body = format!(r#"{{"stock":{stock}}}"#);
        let got = ask(self.address, "POST", "/api/products", JSON, &body).await;
        json(&got)["id"].as_u64().unwrap_or_default()
    }

    async fn change(&self, id: u64, delta: i64) -> Result<Got, String> {
        let (path, body) = (
            format!("/api/products/{id}/stock"),
            format!(r#"{{"delta":{delta}}}"#),
        );
        ask(self.address, "PATCH", &path, JSON, &body).await
    }

    /// The current stock.
    async fn left(&self, id: u64) -> Value {
        let got = ask(self.address, "GET", &format!("/api/products/{id}"), &[], "").await;
        json(&got)["stock"].take()
    }
}

fn count(got: &[Result<Got, String>], status: u16) -> usize {
    got.iter()
        .flatten()
        .filter(|got| got.status == status)
        .count()
}
