//! Exercise 8: a client gets everything, and insists on nothing.

use std::process::Command;
use std::time::{Duration, Instant};

use harness::process;
use harness::raw;
use shop_tests::fake::Fake;
use shop_tests::program::{Program, programs};

use crate::answers::ask;
use crate::report::Report;

/// How long the program may take. At 10 requests a second it needs two seconds.
const LONGEST: Duration = Duration::from_secs(10);

/// The most requests that may be refused. With one in each second that it waits, there are two.
const REFUSED: u64 = 6;

pub(crate) async fn check(program: &str) -> Result<Report, String> {
    let path = programs().join(program);
    if !path.is_file() {
        return Err(format!("{} is not built", path.display()));
    }
    let products = Fake::start(|_| async { raw::json("200 OK", "", "{}") }).await;
    let gateway = Program::try_start(
        "gateway",
        &[
            ("PORT", "0"),
            ("PRODUCT_SERVICE_URL", products.url().as_str()),
            ("RATE_LIMIT", "10"),
            ("CACHE_TTL_MS", "0"),
        ],
    )?;
    let mut report = Report::default();
    let began = Instant::now();
    let mut client = Command::new(path);
    client.env("GATEWAY", gateway.url());
    let said = match process::run_async(&mut client, 2 * LONGEST).await {
        Ok(ended) => ended.stdout.trim().to_owned(),
        Err(fault) => fault,
    };
    let taken = began.elapsed();
    report.expect("40 products, what the program says", said, "40 of 40");
    let seen = products.seen();
    let read = (1..=40).filter(|id| {
        let target = format!("/api/products/{id}");
        seen.iter().any(|request| request.target == target)
    });
    let came = format!("{} of 40", read.count());
    report.expect("40 products, what the service has seen", came, "40 of 40");
    let refused = refused(&gateway).await?;
    report.note(
        "the refusals",
        refused.to_string(),
        format!("at most {REFUSED}"),
        refused <= REFUSED,
    );
    report.note(
        "the time",
        format!("{:.1} s", taken.as_secs_f64()),
        format!("at most {LONGEST:?}"),
        taken <= LONGEST,
    );
    Ok(report)
}

/// The requests that the gateway has refused.
async fn refused(gateway: &Program) -> Result<u64, String> {
    let got = ask(gateway.address(), "GET", "/metrics", &[], "").await?;
    let text = String::from_utf8_lossy(&got.body).into_owned();
    let name = "gateway_rate_limited_requests_total";
    let line = text.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    number.ok_or_else(|| format!("the gateway has no {name}"))
}
