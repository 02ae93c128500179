//! The log of the built programs when nobody reads it, and when a client sends very long paths.

use std::time::{Duration, Instant};

use harness::TIMEOUT;
use harness::raw::{self, Connection, request};
use serde_json::Value;
use shop_tests::program::{PROGRAMS, Program};

/// Longer than a service takes to give up a blocked log, far less than a hang.
const PROMPT: Duration = Duration::from_secs(8);

/// The number of lines that `program` has dropped.
async fn dropped(program: &Program) -> u64 {
    let got = raw::get(program.address(), "/metrics").await;
    let text = String::from_utf8(got.expect("an answer").body).expect("UTF-8");
    let mut lines = text.lines();
    let line = lines.find(|line| line.starts_with("log_lines_dropped_total{"));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no log_lines_dropped_total in {text}"))
}

/// Stops reading the log of `program`, and sends requests until lines are dropped.
async fn fill_the_log(program: &Program) {
    program.read_output(false);
    let before = dropped(program).await;
    let deadline = Instant::now() + 2 * TIMEOUT;
    let request = request("GET", &format!("/{}", "x".repeat(1000)), &[], b"");
    let mut client = Connection::open(program.address()).await;
    while dropped(program).await == before {
        for _ in 0..200 {
            client.send(&request).await.expect("a live connection");
            client.answer(false).await.expect("an answer");
        }
        assert!(Instant::now() < deadline, "no line was dropped");
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_neither_requests_nor_the_shutdown() {
    let program = Program::start("user-service", &[]);
    fill_the_log(&program).await;
    let blocked = dropped(&program).await;

    program.read_output(true);
    let notice = loop {
        let line = program.line(TIMEOUT).expect("a line that says so");
        let line: Value = serde_json::from_str(&line).expect("whole lines only");
        if line["message"] != "request" {
            break line;
        }
    };
    assert_eq!(notice["level"], "WARN", "{notice}");
    let told = notice["dropped"].as_u64().unwrap_or_default();
    assert!(
        (blocked..=blocked + 10).contains(&told),
        "{blocked}: {notice}"
    );

    fill_the_log(&program).await;
    program.signal("TERM");
    let status = tokio::task::spawn_blocking(move || program.exited(PROMPT));
    assert_eq!(status.await.expect("exits in time"), Some(0));
}

#[tokio::test]
async fn a_path_is_cut_at_one_kib_in_the_log_and_in_errors() {
    for service in PROGRAMS {
        let program = Program::start(service, &[]);
        let path = format!("/{}", "x".repeat(5000));
        let got = raw::get(program.address(), &path).await.expect("an answer");
        let kept = format!("{}…", &path[..1021]);
        let sentence = got.expect_error(404, "not_found");
        assert!(
            sentence.contains(&format!("{kept};")),
            "{service}: {sentence}"
        );
        let line = loop {
            let line = program.line(TIMEOUT).expect("a line");
            let line: Value = serde_json::from_str(&line).expect("JSON");
            if line["message"] == "request" {
                break line;
            }
        };
        assert_eq!(line["path"], kept, "{service}");
    }
}
