//! A shutdown while clients are slow or many.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::TIMEOUT;
use harness::raw::{Connection, request};
use shop_tests::faults::good;
use shop_tests::program::PROGRAMS;
use tokio::time::{Instant, sleep, timeout};

use super::{closed_without_a_word, each};

#[tokio::test]
async fn a_shutdown_does_not_wait_for_half_a_head() {
    each(PROGRAMS, &[], async |subject| {
        let mut waiting = Vec::new();
        for (first, then, reason) in [
            ("", "", "silent"),
            ("", "GET /health HTTP/1.1\r\nhost: sh", "half a first head"),
            ("GET /health HTTP/1.1\r\nhost: s\r\n\r\n", "", "idle"),
            (
                "POST /health HTTP/1.1\r\nhost: s\r\ncontent-length: 2\r\n\r\n{}",
                "",
                "idle after a body",
            ),
            (
                "GET /health HTTP/1.1\r\nhost: s\r\n\r\n",
                "GET /hea",
                "half a second head",
            ),
        ] {
            let mut connection = Connection::open(subject.address()).await;
            if !first.is_empty() {
                connection.send(first.as_bytes()).await.expect("sent");
                connection.answer(false).await?;
            }
            connection.send(then.as_bytes()).await.expect("sent");
            waiting.push((connection, reason));
        }
        // Time for the service to read the bytes.
        sleep(Duration::from_millis(200)).await;
        subject.program.signal("TERM");
        for (connection, reason) in &mut waiting {
            let closed = closed_without_a_word(connection).await;
            // Bytes that arrive too late cause a reset.
            if let Err(fault) = closed
                && !fault.contains("reset")
            {
                return Err(format!("{reason}: {fault}"));
            }
        }
        // Half a head gets a second, not the grace period of 10 s.
        let ended = subject.program.ended(Duration::from_secs(4));
        good(ended.status == Some(0), format!("{ended:?}"))
    })
    .await;
}

#[tokio::test]
async fn under_load_a_shutdown_breaks_off_no_answer() {
    each(PROGRAMS, &[], async |subject| {
        let address = subject.address();
        let answers = Arc::new(AtomicUsize::new(0));
        let clients = (0..16).map(|client| {
            let answers = Arc::clone(&answers);
            tokio::spawn(ask_until_refused(address, client, answers))
        });
        let clients: Vec<_> = clients.collect();
        let deadline = Instant::now() + TIMEOUT;
        while answers.load(Ordering::Relaxed) <= 100 {
            good(Instant::now() < deadline, "not even a hundred answers")?;
            sleep(Duration::from_millis(10)).await;
        }
        subject.program.signal("TERM");
        for client in clients {
            let asked = timeout(TIMEOUT, client).await;
            let asked = asked.map_err(|_| "a client hangs")?;
            asked.expect("no panic")?;
        }
        let ended = subject.program.ended(TIMEOUT);
        good(
            ended.status == Some(0) && ended.stderr.is_empty(),
            format!("{ended:?}"),
        )
    })
    .await;
}

/// Asks for one thing after the other, on new and on kept connections, until
/// nobody listens any more, and counts the answers. Says which one was not whole.
async fn ask_until_refused(
    address: SocketAddr,
    client: usize,
    all: Arc<AtomicUsize>,
) -> Result<(), String> {
    let mut answers = 0;
    while let Ok(mut connection) = Connection::connect(address).await {
        loop {
            let path = ["/openapi.json", "/health", "/metrics"][(client + answers) % 3];
            let sent = connection.send(&request("GET", path, &[], b"")).await;
            if sent.is_err() {
                break;
            }
            if let Err(fault) = connection.answer(false).await {
                let part = connection.rest().await.unwrap_or_default();
                if part.is_empty() {
                    break;
                }
                return Err(format!("{path}: {fault}, after {} bytes", part.len()));
            }
            answers += 1;
            all.fetch_add(1, Ordering::Relaxed);
            if answers % 50 == client {
                break;
            }
        }
    }
    Ok(())
}
