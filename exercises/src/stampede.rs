//! Exercise 7: clients who want the same at the same time cause one call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use harness::raw::{self, Connection, request};
use shop_tests::fake::Fake;
use shop_tests::program::Program;
use tokio::time::sleep;

use crate::answers::{ask, summary};
use crate::report::Report;

const CROWD: usize = 100;

/// How long a call takes.
const CALL: Duration = Duration::from_millis(200);

/// Longer than a product is kept.
const OLD: Duration = Duration::from_millis(2300);

const PRODUCT: &str = r#"{"name":"Desk lamp"}"#;

pub(crate) async fn check(program: &str) -> Result<Report, String> {
    let service = Service::default();
    let products = service.start().await;
    let url = products.url().as_str().to_owned();
    let program = Program::try_start(program, &[("PORT", "0"), ("PRODUCTS", &url)])?;
    let cache = program.address();
    let mut report = Report::default();
    let calls = |path: &str| {
        let seen = products.seen();
        seen.iter().filter(|one| one.target == path).count()
    };
    let good = format!("200 {PRODUCT}");

    let first = get(cache, 1).await;
    report.expect("GET product 1", first, good.as_str());
    let second = get(cache, 1).await;
    report.expect("GET product 1 again", second, good.as_str());
    let path = "/api/products/1";
    report.expect("the calls so far", calls(path).to_string(), "1");

    sleep(OLD).await;
    let asked = format!("{CROWD} clients want product 1, which is too old");
    report.expect(&asked, crowd(cache, 1).await, answered());
    report.expect("the calls for them", (calls(path) - 1).to_string(), "1");

    service.most_at_once.store(0, Ordering::SeqCst);
    let others = join_all((10..16).map(|id| get(cache, id))).await;
    let all = others.iter().filter(|came| **came == good).count();
    report.expect(
        "six other products at once",
        format!("{all} answered"),
        "6 answered",
    );
    let most = service.most_at_once.load(Ordering::SeqCst);
    report.note(
        "the calls for them do not wait for each other",
        format!("{most} at once"),
        "6 at once",
        most > 1,
    );

    leave(cache, 20).await?;
    let stays = get(cache, 20).await;
    report.expect(
        "GET product 20, after another client left",
        stays,
        good.as_str(),
    );

    service.fails.store(true, Ordering::SeqCst);
    let failed = get(cache, 30).await;
    let is_error = failed.starts_with("502");
    report.note("GET product 30, the service fails", failed, "502", is_error);
    service.fails.store(false, Ordering::SeqCst);
    let repaired = get(cache, 30).await;
    report.expect("GET product 30, it works again", repaired, good.as_str());
    Ok(report)
}

/// A service that takes [`CALL`] for each product. Cheap to clone.
#[derive(Clone, Default)]
struct Service {
    fails: Arc<AtomicBool>,
    at_once: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
}

impl Service {
    async fn start(&self) -> Fake {
        let service = self.clone();
        Fake::start(move |_| {
            let service = service.clone();
            async move { service.answer().await }
        })
        .await
    }

    async fn answer(&self) -> Vec<u8> {
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        sleep(CALL).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            raw::json("503 Service Unavailable", "", "{}")
        } else {
            raw::json("200 OK", "", PRODUCT)
        }
    }
}

async fn get(cache: SocketAddr, id: usize) -> String {
    summary(&ask(cache, "GET", &format!("/api/products/{id}"), &[], "").await)
}

fn answered() -> String {
    format!("{CROWD} answered")
}

/// The crowd asks for a product at once.
async fn crowd(cache: SocketAddr, id: usize) -> String {
    let asking = join_all((0..CROWD).map(|_| get(cache, id))).await;
    let good = asking.iter().filter(|came| came.starts_with("200 "));
    format!("{} answered", good.count())
}

/// Asks for a product and closes the connection before the answer.
async fn leave(cache: SocketAddr, id: usize) -> Result<(), String> {
    let connected = Connection::connect(cache).await;
    let mut connection = connected.map_err(|cause| cause.to_string())?;
    let get = request("GET", &format!("/api/products/{id}"), &[], b"");
    let sent = connection.send(&get).await;
    sent.map_err(|cause| cause.to_string())?;
    // Until the call is on its way.
    connection.until_closed(CALL / 4).await;
    Ok(())
}
