//! Time-outs for clients and idle connections.

use std::time::Duration;

use harness::TIMEOUT;
use harness::raw::{Connection, State, chunked, request};
use shop_tests::faults::good;
use shop_tests::program::PROGRAMS;
use tokio::time::{Instant, sleep, timeout};

use super::{AN_HOUR, closed_without_a_word, creation, each, reading_bodies, send};

#[tokio::test]
async fn a_head_must_arrive_within_its_time_out() {
    let limits = [("HEAD_TIMEOUT_MS", "400"), ("IDLE_TIMEOUT_MS", AN_HOUR)];
    each(PROGRAMS, &limits, async |subject| {
        let mut silent = Connection::open(subject.address()).await;
        closed_without_a_word(&mut silent)
            .await
            .map_err(|fault| format!("a connection that says nothing: {fault}"))?;

        let half = b"GET /health HTTP/1.1\r\nhost: sh";
        let mut first = Connection::open(subject.address()).await;
        send(&mut first, half).await?;
        closed_without_a_word(&mut first)
            .await
            .map_err(|fault| format!("half a first head: {fault}"))?;

        let mut second = Connection::open(subject.address()).await;
        send(&mut second, &request("GET", "/health", &[], b"")).await?;
        second.answer(false).await?;
        send(&mut second, half).await?;
        closed_without_a_word(&mut second)
            .await
            .map_err(|fault| format!("half a second head: {fault}"))?;
        subject.get("/health").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_slow_head_gets_no_more_time() {
    let limits = [("HEAD_TIMEOUT_MS", "400"), ("IDLE_TIMEOUT_MS", AN_HOUR)];
    each(PROGRAMS, &limits, async |subject| {
        for requests in [0, 1] {
            let mut connection = Connection::open(subject.address()).await;
            if requests == 1 {
                send(&mut connection, &request("GET", "/health", &[], b"")).await?;
                connection.answer(false).await?;
            }
            let head = b"GET /health HTTP/1.1\r\nx-drip: ";
            let pause = Duration::from_millis(50);
            let state = connection.drip(head, pause, TIMEOUT).await;
            good(
                state != State::Open,
                format!("it still listens, after {requests} requests"),
            )?;
        }
        subject.get("/health").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_kept_longer_than_a_head_may_take() {
    let limits = [("HEAD_TIMEOUT_MS", "300"), ("IDLE_TIMEOUT_MS", AN_HOUR)];
    each(PROGRAMS, &limits, async |subject| {
        let mut connection = Connection::open(subject.address()).await;
        for pause in [0, 1500, 1500] {
            sleep(Duration::from_millis(pause)).await;
            send(&mut connection, &request("GET", "/health", &[], b"")).await?;
            let got = connection.answer(false).await?;
            good(got.status == 200, format!("{got:?}"))?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let limits = [("HEAD_TIMEOUT_MS", AN_HOUR), ("IDLE_TIMEOUT_MS", "2000")];
    each(PROGRAMS, &limits, async |subject| {
        let mut connection = Connection::open(subject.address()).await;
        // Longer than an idle connection is kept, but never idle for so long.
        let busy_until = Instant::now() + Duration::from_millis(2600);
        while Instant::now() < busy_until {
            send(&mut connection, &request("GET", "/health", &[], b"")).await?;
            connection.answer(false).await?;
            sleep(Duration::from_millis(100)).await;
        }
        closed_without_a_word(&mut connection).await
    })
    .await;
}

#[tokio::test]
async fn a_body_must_arrive_within_its_time_out() {
    each(
        reading_bodies(),
        &[("BODY_TIMEOUT_MS", "500")],
        async |subject| {
            let (path, _) = creation(subject.service);
            for (drips, reason) in [(false, "it stalls"), (true, "it trickles in")] {
                let mut connection = subject.begin_body(path, 10_000, b"{").await;
                if drips {
                    // A second of it; it may be over before.
                    for _ in 0..20 {
                        if connection.send(b" ").await.is_err() {
                            break;
                        }
                        sleep(Duration::from_millis(50)).await;
                    }
                }
                let got = connection
                    .answer(false)
                    .await
                    .map_err(|fault| format!("{reason}: {fault}"))?;
                good(got.header("connection") == "close", "it stays open")?;
                let sentence = got.expect_error(408, "request_timeout");
                good(sentence.contains("within 0."), sentence)?;
                closed_without_a_word(&mut connection).await?;
            }
            subject.get("/health").await.map(drop)
        },
    )
    .await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_no_harm() {
    let limits = [("HEAD_TIMEOUT_MS", "500"), ("IDLE_TIMEOUT_MS", "500")];
    each(PROGRAMS, &limits, async |subject| {
        let endless = [("transfer-encoding", "chunked")];
        for (headers, body, reason) in [
            (&[][..], b"{}".to_vec(), "a whole one"),
            (&endless[..], chunked(b"{}", 1), "a whole one in chunks"),
            (
                &[("content-length", "100000000")][..],
                b"{".to_vec(),
                "one that never comes",
            ),
            (&endless[..], b"5\r\nabc".to_vec(), "half a chunk"),
        ] {
            let mut connection = Connection::open(subject.address()).await;
            send(&mut connection, &request("GET", "/health", headers, &body)).await?;
            let got = connection.answer(false).await;
            let got = got.map_err(|fault| format!("{reason}: {fault}"))?;
            good(got.status == 200, format!("{reason}: {got:?}"))?;
            let closed = closed_without_a_word(&mut connection).await;
            closed.map_err(|fault| format!("{reason}: {fault}"))?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let limits = [
        ("BODY_TIMEOUT_MS", "500"),
        ("HEAD_TIMEOUT_MS", AN_HOUR),
        ("IDLE_TIMEOUT_MS", AN_HOUR),
    ];
    each(PROGRAMS, &limits, async |subject| {
        let mut connection = Connection::open(subject.address()).await;
        // Some hundred megabytes: more than the system keeps for a reader.
        let large = request("GET", "/docs/swagger-ui-bundle.js", &[], b"").repeat(100);
        let closed = async {
            // A connection that was given up is reset, and that is met in writing.
            if connection.send(&large).await.is_ok() {
                while connection.send(b"\r\n").await.is_ok() {
                    sleep(Duration::from_millis(50)).await;
                }
            }
        };
        // Sooner than the system's own time-out for sending.
        timeout(TIMEOUT / 2, closed)
            .await
            .map_err(|_| "it is still waited for".to_owned())?;
        subject.get("/health").await.map(drop)
    })
    .await;
}
