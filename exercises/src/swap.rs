//! Exercise 5: a program that replaces product-service in the running shop.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use chassis::testkit::Got;
use harness::raw::{Connection, refuses, request};
use shop_tests::program::programs;
use shop_tests::scripts::Shop;
use tokio::time::{sleep, timeout};

use crate::answers::{JSON, TIMEOUT, summary};
use crate::report::Report;

/// How long a service may take to read a request that it was sent, on a busy machine.
const READ_WITHIN: Duration = Duration::from_millis(500);

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
    // The script prints the error first, then the end of the log.
    let complaint = swapped
        .said
        .lines()
        .find(|line| line.starts_with("product-service "));
    let complaint = complaint.and_then(|line| line.split(". The end of").next());
    let came = if swapped.worked {
        "installed"
    } else {
        complaint.unwrap_or("failed")
    };
    report.expect(
        "scripts/swap.sh product poem, your program",
        came.to_owned(),
        "installed",
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
        failure.unwrap_or("failed")
    } else if played.said.contains("SKIPPED") {
        "some steps were skipped"
    } else {
        "all steps pass"
    };
    report.expect("scripts/demo.sh", came.to_owned(), "all steps pass");

    let products = shop.address("product-service");
    let answer = match begin_request(products).await {
        Ok(connection) => {
            let swapping = shop.run("swap.sh", &["product", "rocket"]);
            let (swapped, answered) = tokio::join!(swapping, finish_request(products, connection));
            let swapped = swapped?;
            let end = if !swapped.worked {
                swapped.last_line()
            } else if swapped.said.contains("Killed ") {
                "but it had to be killed"
            } else {
                "and it exited"
            };
            match summary(&answered) {
                answer if answer.starts_with("201 ") => format!("201, {end}"),
                other => format!("{other}, {end}"),
            }
        }
        Err(cause) => cause,
    };
    let asked = "scripts/swap.sh product rocket, a request in flight";
    report.expect(asked, answer, "201, and it exited");
    Ok(report)
}

/// Sends product-service a request without its end, and gives it time to read that.
async fn begin_request(products: SocketAddr) -> Result<Connection, String> {
    let connected = Connection::connect(products).await;
    let mut connection = connected.map_err(|cause| format!("no connection: {cause}"))?;
    let (begin, _) = request_in_two();
    connection.send(&begin).await.map_err(broken)?;
    sleep(READ_WITHIN).await;
    Ok(connection)
}

/// Sends the end of the request once the service shuts down, and reads the response.
async fn finish_request(products: SocketAddr, mut connection: Connection) -> Result<Got, String> {
    // A service that shuts down accepts no more connections.
    refuses(products, TIMEOUT).await;
    let (_, end) = request_in_two();
    connection.send(&end).await.map_err(broken)?;
    let answer = timeout(TIMEOUT, connection.answer(false)).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {TIMEOUT:?}")))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that `map_err` requires"
)]
fn broken(cause: io::Error) -> String {
    format!("the connection failed: {cause}")
}

/// A request without the end of its body, and that end.
fn request_in_two() -> (Vec<u8>, Vec<u8>) {
    let body = br#"{"name":"Kettle","price":1}"#;
    let mut begin = request("POST", "/api/products", JSON, body);
    let end = begin.split_off(begin.len() - 5);
    (begin, end)
}
