//! Exercise 5: a program that takes the place of product-service in the running shop.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use chassis::testkit::Got;
use harness::raw::{Connection, refuses, request};
use shop_tests::program::programs;
use shop_tests::scripts::Shop;
use tokio::time::{sleep, timeout};

use crate::answers::{JSON, PATIENCE, told};
use crate::report::Report;

/// Within this a service has read what it was sent, on a busy machine, too.
const READ_BY_THEN: Duration = Duration::from_millis(500);

pub(crate) async fn check(program: &str) -> Result<Report, String> {
    let program = programs().join(program);
    if !program.is_file() {
        return Err(format!("{} is not built", program.display()));
    }
    let shop = Shop::new()?;
    let started = shop.run("start.sh", &[]).await?;
    if !started.worked {
        return Err(format!("the shop does not start: {}", started.last_line()));
    }
    let mut report = Report::default();

    let words = ["product", "poem", "--program", &program.to_string_lossy()];
    let swapped = shop.run("swap.sh", &words).await?;
    // It says first what is wrong, and then what the log has of it.
    let complaint = swapped
        .said
        .lines()
        .find(|line| line.starts_with("product-service "));
    let complaint = complaint.and_then(|line| line.split(". The end of").next());
    let came = if swapped.worked {
        "it is in the shop"
    } else {
        complaint.unwrap_or("it failed")
    };
    report.expect(
        "scripts/swap.sh product poem, your program",
        came.to_owned(),
        "it is in the shop",
    );
    if !swapped.worked {
        return Ok(report);
    }

    let played = shop.run("demo.sh", &[]).await?;
    let failure = played
        .said
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("✗ step"));
    let came = if !played.worked {
        failure.unwrap_or("it failed")
    } else if played.said.contains("SKIPPED") {
        "a part of it was skipped"
    } else {
        "all of it passes"
    };
    report.expect("scripts/demo.sh", came.to_owned(), "all of it passes");

    let products = shop.address("product-service");
    let answer = match begin_request(products).await {
        Ok(connection) => {
            let swapping = shop.run("swap.sh", &["product", "rocket"]);
            let (swapped, answered) = tokio::join!(swapping, finish_request(products, connection));
            let swapped = swapped?;
            let end = if !swapped.worked {
                swapped.last_line()
            } else if swapped.said.contains("Killed ") {
                "and it had to be killed"
            } else {
                "and it has stopped"
            };
            match told(&answered) {
                answer if answer.starts_with("201 ") => format!("201, {end}"),
                other => format!("{other}, {end}"),
            }
        }
        Err(cause) => cause,
    };
    let asked = "scripts/swap.sh product rocket, a request in flight";
    report.expect(asked, answer, "201, and it has stopped");
    Ok(report)
}

/// Sends product-service a request but for the end, and gives it time to read that.
async fn begin_request(products: SocketAddr) -> Result<Connection, String> {
    let connected = Connection::connect(products).await;
    let mut connection = connected.map_err(|cause| format!("no connection: {cause}"))?;
    let (begin, _) = request_in_two();
    connection.send(&begin).await.map_err(broken)?;
    sleep(READ_BY_THEN).await;
    Ok(connection)
}

/// Sends the end once the service has begun to stop, and reads the answer.
async fn finish_request(products: SocketAddr, mut connection: Connection) -> Result<Got, String> {
    // One that stops takes no more connections.
    refuses(products, PATIENCE).await;
    let (_, end) = request_in_two();
    connection.send(&end).await.map_err(broken)?;
    let answer = timeout(PATIENCE, connection.answer(false)).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err calls it")]
fn broken(cause: io::Error) -> String {
    format!("the connection broke off: {cause}")
}

/// A request, and the end of its body by itself.
fn request_in_two() -> (Vec<u8>, Vec<u8>) {
    let body = br#"{"name":"Kettle","price":1}"#;
    let mut begin = request("POST", "/api/products", JSON, body);
    let end = begin.split_off(begin.len() - 5);
    (begin, end)
}
