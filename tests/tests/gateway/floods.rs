//! Clients that use HTTP/2 against the gateway: each costs it little, and others are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chassis::testkit::Stub;
use futures_util::future::join_all;
use harness::TIMEOUT;
use harness::raw;
use shop_tests::fake::Fake;
use shop_tests::program::Program;
use tokio::time::{Instant, sleep};

use super::Played;
use super::secure::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, Port, RST_STREAM, Raw,
    SETTINGS, WINDOW_UPDATE, frame, head, request,
};
use super::streams::{MIB, most_memory, sending};
use super::tls::tls_port;

const INITIAL_WINDOW_SIZE: u16 = 4;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A gateway with TLS as a process, so that its memory can be measured.
fn gateway(users: &str, settings: &[(&str, &str)]) -> (Program, Port) {
    let own = [
        ("USER_SERVICE_URL", users),
        ("TLS", "self-signed"),
        ("TLS_PORT", "0"),
        ("RATE_LIMIT", "off"),
    ];
    let gateway = Program::start("gateway", &[&own, settings].concat());
    let port = tls_port(&gateway);
    (gateway, port)
}

/// Asks the gateway now and then until it is dropped. Each answer must come in time.
struct Others {
    stop: Arc<AtomicBool>,
    asking: tokio::task::JoinHandle<usize>,
}

impl Others {
    async fn of(port: &Port) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut client = port.client().await;
        client.get("/health").await.expect(200);
        let asking = tokio::spawn(async move {
            let mut answers = 0;
            while !stopped.load(Ordering::Relaxed) {
                client.get("/health").await.expect(200);
                answers += 1;
                sleep(Duration::from_millis(20)).await;
            }
            answers
        });
        Self { stop, asking }
    }

    /// Checks that all were answered.
    async fn were_served(self) {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self.asking.await.expect("each is answered in time");
        assert!(answers > 0);
    }
}

/// Each request is taken back at once, or when the service may have it (CVE-2023-44487).
#[tokio::test]
async fn a_client_that_takes_back_its_requests_is_stopped() {
    // Each of them costs the service a connection.
    const MOST: usize = 300;
    let cancel = 8_u32.to_be_bytes();
    let block = head("GET", "/api/users/1", &[]);
    for (at_once, pause) in [(500, 0), (10, 2), (1, 2)] {
        let users = Played::start(|_, stream| async move {
            let _held = stream;
            std::future::pending::<()>().await;
        })
        .await;
        let (gateway, port) = gateway(users.url.as_str(), &[]);
        let others = Others::of(&port).await;
        let before = most_memory(gateway.id());
        let mut raw = Raw::open(&port, &[]).await;
        let started = Instant::now();
        let mut streams = (0..).map(|n| 2 * n + 1);
        loop {
            let mut bytes = Vec::new();
            for stream in streams.by_ref().take(at_once) {
                bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
                bytes.extend(frame(RST_STREAM, 0, stream, &cancel));
            }
            if raw.send(&bytes).await.is_err() {
                break;
            }
            let pause = Duration::from_millis(pause);
            let frame = raw.next_within(pause).await;
            if frame.is_some_and(|frame| frame.kind == GOAWAY) {
                break;
            }
            let taken = started.elapsed();
            assert!(taken < TIMEOUT, "{at_once} at once go on for {taken:?}");
        }
        let passed = users.accepted();
        println!("{at_once} at once: {passed} were passed on");
        assert!(passed <= MOST, "{at_once} at once: {passed} were passed on");
        others.were_served().await;
        let grown = most_memory(gateway.id()).saturating_sub(before);
        assert!(grown < 8 * MIB, "{grown} bytes");
    }
}

#[tokio::test]
async fn a_client_that_lets_its_requests_be_answered_may_take_back_others() {
    let users = Fake::start(|request| async move {
        if request.target.ends_with('2') {
            std::future::pending::<()>().await;
        }
        raw::json("200 OK", "", "{}")
    })
    .await;
    let (_gateway, port) = gateway(users.url().as_str(), &[]);
    let mut raw = Raw::open(&port, &[]).await;
    let cancel = 8_u32.to_be_bytes();
    for n in 0..300 {
        let stream = 4 * n + 1;
        raw.get(stream, "/api/users/2").await;
        raw.get(stream + 2, "/health").await;
        while raw.until(HEADERS).await.stream != stream + 2 {}
        raw.send(&frame(RST_STREAM, 0, stream, &cancel))
            .await
            .expect("sent");
    }
    raw.get(1201, "/health").await;
    while raw.until(HEADERS).await.stream != 1201 {}
}

/// Frames that ask for an answer, which nobody reads, and frames that say nothing.
#[tokio::test]
async fn a_client_that_sends_frames_and_no_requests_is_stopped() {
    let users = Stub::hanging().await;
    let settings = [("BODY_TIMEOUT_MS", "1000"), ("HEAD_TIMEOUT_MS", "3000")];
    let (gateway, port) = gateway(users.url().as_str(), &settings);
    let others = Others::of(&port).await;
    let with_body = frame(HEADERS, END_HEADERS, 1, &head("POST", "/api/users", &[]));
    let begun = frame(HEADERS, 0, 1, &head("GET", "/health", &[]));
    let window = 1_u32.to_be_bytes();
    for (first, flood, reason) in [
        (vec![], frame(PING, 0, 0, &[0; 8]), "pings"),
        (
            vec![],
            frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]),
            "settings",
        ),
        (
            vec![],
            frame(WINDOW_UPDATE, 0, 0, &window),
            "room for responses",
        ),
        (
            vec![],
            frame(99, 0, 0, b"unknown"),
            "frames of an unknown type",
        ),
        (with_body, frame(DATA, 0, 1, b""), "empty pieces of a body"),
        (
            begun,
            frame(CONTINUATION, 0, 1, b""),
            "empty pieces of a head",
        ),
    ] {
        let before = most_memory(gateway.id());
        let mut raw = Raw::open(&port, &[]).await;
        let started = Instant::now();
        let _ = raw.send(&first).await;
        let many = flood.repeat(1000);
        while raw.send(&many).await.is_ok() {
            let taken = started.elapsed();
            assert!(taken < TIMEOUT, "{reason}: it goes on for {taken:?}");
        }
        let grown = most_memory(gateway.id()).saturating_sub(before);
        println!(
            "{reason}: stopped after {:?}, {} KiB",
            started.elapsed(),
            grown / 1024
        );
        assert!(grown < 8 * MIB, "{reason}: {grown} bytes");
    }
    others.were_served().await;
}

#[tokio::test]
async fn a_client_that_does_much_that_is_malformed_is_told_to_calm_down() {
    let users = Stub::hanging().await;
    let (_gateway, port) = gateway(users.url().as_str(), &[]);
    let others = Others::of(&port).await;
    let mut raw = Raw::open(&port, &[]).await;
    // Each is reset by the gateway.
    let block = head("GET", "/health", &[("connection", "close")]);
    let sending = (0..3000).map(|n| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block));
    let _ = raw.send(&sending.collect::<Vec<_>>().concat()).await;
    assert_eq!(raw.until(GOAWAY).await.error(), ENHANCE_YOUR_CALM);
    others.were_served().await;
}

#[tokio::test]
async fn few_large_heads_may_be_incomplete() {
    const MOST: usize = 128;
    let users = Stub::hanging().await;
    let settings = [("CLIENT_SHARE_PERCENT", "100")];
    let (_gateway, port) = gateway(users.url().as_str(), &settings);
    let others = Others::of(&port).await;
    let value = "x".repeat(9000);
    let block = head("GET", "/health", &[("a", &value), ("b", &value)]);
    let (first, rest) = block.split_at(16_000);
    let sent = [
        frame(HEADERS, END_STREAM, 1, first),
        frame(CONTINUATION, 0, 1, &rest[..1000]),
    ];
    let sent = sent.concat();
    let mut crowd = Vec::new();
    for _ in 0..MOST {
        let mut raw = Raw::open(&port, &[]).await;
        raw.send(&sent).await.expect("sent");
        crowd.push(raw);
    }
    // Some may be on their way. One more than these is closed at once, long before its time-out.
    let started = Instant::now();
    let mut raw = Raw::open(&port, &[]).await;
    let _ = raw.send(&sent).await;
    assert!(raw.rest().await.iter().all(|frame| frame.kind == SETTINGS));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    others.were_served().await;
    // Those that could begin can end.
    let mut raw = crowd.pop().expect("many");
    let last = frame(CONTINUATION, END_HEADERS, 1, &rest[1000..]);
    raw.send(&last).await.expect("sent");
    raw.until(HEADERS).await;
}

#[tokio::test]
async fn crowds_that_do_not_read_do_not_grow_the_gateway() {
    let played = sending(MIB, &Arc::default()).await;
    let settings = [("BODY_TIMEOUT_MS", "4000")];
    let (gateway, port) = gateway(played.url.as_str(), &settings);
    let others = Others::of(&port).await;
    let before = most_memory(gateway.id());
    // Half of them make room for all of the response, and do not read; half make no room.
    let crowd = join_all((0..40).map(async |n| {
        let window = if n % 2 == 0 { LARGEST_WINDOW } else { 10 };
        let mut raw = Raw::open(&port, &[(INITIAL_WINDOW_SIZE, window)]).await;
        let more = (LARGEST_WINDOW - 65_535).to_be_bytes();
        raw.send(&frame(WINDOW_UPDATE, 0, 0, &more))
            .await
            .expect("sent");
        for n in 0..20 {
            raw.get(2 * n + 1, "/api/users/1").await;
        }
        raw
    }))
    .await;
    let full = Instant::now();
    while full.elapsed() < Duration::from_secs(2) {
        sleep(Duration::from_millis(100)).await;
    }
    let grown = most_memory(gateway.id()).saturating_sub(before);
    println!(
        "800 requests of clients that do not read: {} KiB",
        grown / 1024
    );
    assert!(grown < 96 * MIB, "{grown} bytes");
    others.were_served().await;
    drop(crowd);
}

#[tokio::test]
async fn crowds_that_do_not_send_do_not_grow_the_gateway() {
    // It reads no body.
    let users = Played::start(|_, stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let (gateway, port) = gateway(users.url.as_str(), &[("BODY_TIMEOUT_MS", "4000")]);
    let others = Others::of(&port).await;
    let before = most_memory(gateway.id());
    let block = head(
        "POST",
        "/api/users",
        &[("content-type", "application/json")],
    );
    let crowd = join_all((0..40).map(async |_| {
        let mut raw = Raw::open(&port, &[]).await;
        for n in 0..20 {
            let stream = 2 * n + 1;
            let sent = [
                frame(HEADERS, END_HEADERS, stream, &block),
                frame(DATA, 0, stream, &[b' '; 3000]),
            ];
            raw.send(&sent.concat()).await.expect("sent");
        }
        raw
    }))
    .await;
    let full = Instant::now();
    while full.elapsed() < Duration::from_secs(2) {
        sleep(Duration::from_millis(100)).await;
    }
    let grown = most_memory(gateway.id()).saturating_sub(before);
    println!("800 half-sent bodies: {} KiB", grown / 1024);
    assert!(grown < 64 * MIB, "{grown} bytes");
    others.were_served().await;
    drop(crowd);
}

#[tokio::test]
async fn large_responses_do_not_grow_the_gateway() {
    let played = sending(10 * MIB, &Arc::default()).await;
    let (gateway, port) = gateway(played.url.as_str(), &[]);
    let client = port.client().await;
    let get = async || {
        let mut client = client.clone();
        let got = client.send(request("GET", "/api/users/1", &[], "")).await;
        let got = got.expect("a response");
        assert_eq!(got.body.len() as u64, 10 * MIB);
    };
    get().await;
    let before = most_memory(gateway.id());
    join_all((0..8).map(|_| get())).await;
    let grown = most_memory(gateway.id()).saturating_sub(before);
    println!(
        "80 MiB in 8 responses on one connection: {} KiB",
        grown / 1024
    );
    assert!(grown < 8 * MIB, "{grown} bytes");
}
