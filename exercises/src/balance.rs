//! Exercise 6: a slow instance gets few requests, and one that is quick again gets its share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use harness::raw;
use shop_tests::fake::Fake;
use shop_tests::program::Program;
use tokio::time::sleep;

use crate::answers::ask;
use crate::report::Report;

const CLIENTS: usize = 12;
const REQUESTS: usize = 240;

/// The most of these requests that the slow instance may get. In turn, it gets 80.
const MOST: usize = 40;

/// How long the slow instance takes.
const SLOW: Duration = Duration::from_millis(300);

pub(crate) async fn check(program: &str) -> Result<Report, String> {
    let is_slow = Arc::new(AtomicBool::new(false));
    let never = Arc::new(AtomicBool::new(false));
    let instances = [
        instance(&never).await,
        instance(&never).await,
        instance(&is_slow).await,
    ];
    let urls = instances
        .each_ref()
        .map(|one| one.url().as_str().to_owned());
    let balancer = Program::try_start(program, &[("PORT", "0"), ("INSTANCES", &urls.join(","))])?;
    let mut report = Report::default();
    let seen = || instances.each_ref().map(|one| one.seen().len());

    let answered = one_after_the_other(balancer.address(), 60).await;
    report.expect("60 requests, one client", said(answered), said(60));
    let [one, two, three] = seen();
    report.note(
        "each instance gets some of them",
        format!("{one}, {two} and {three}"),
        "some each",
        one.min(two).min(three) > 0,
    );

    is_slow.store(true, Ordering::SeqCst);
    let each = REQUESTS / CLIENTS;
    let clients = (0..CLIENTS).map(|_| one_after_the_other(balancer.address(), each));
    let answered = join_all(clients).await.into_iter().sum();
    let asked = format!("{REQUESTS} requests, {CLIENTS} clients, one instance takes 300 ms");
    report.expect(&asked, said(answered), said(REQUESTS));
    let slow = seen()[2] - three;
    report.note(
        "the slow instance gets few",
        slow.to_string(),
        format!("at most {MOST}"),
        slow <= MOST,
    );

    is_slow.store(false, Ordering::SeqCst);
    let before = seen()[2];
    one_after_the_other(balancer.address(), 60).await;
    let after = seen()[2] - before;
    report.note(
        "60 requests, and it is quick again",
        format!("{after} to that instance"),
        "at least 5",
        after >= 5,
    );
    Ok(report)
}

/// An instance that takes a while as long as it `is_slow`.
async fn instance(is_slow: &Arc<AtomicBool>) -> Fake {
    let is_slow = Arc::clone(is_slow);
    Fake::start(move |_| {
        let is_slow = Arc::clone(&is_slow);
        async move {
            if is_slow.load(Ordering::SeqCst) {
                sleep(SLOW).await;
            }
            raw::json("200 OK", "", "{}")
        }
    })
    .await
}

/// Sends so many requests. Returns how many were answered with 200.
async fn one_after_the_other(balancer: SocketAddr, count: usize) -> usize {
    let mut answered = 0;
    for _ in 0..count {
        let got = ask(balancer, "GET", "/api/things", &[], "").await;
        answered += usize::from(got.is_ok_and(|got| got.status == 200));
    }
    answered
}

fn said(answered: usize) -> String {
    format!("{answered} answered")
}
