//! Bodies of any length, event streams and web sockets: passed on as they come, and no faster
//! than they are read.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use harness::raw::{Connection, Request, State, chunked, exchange, request};
use shop_tests::program::Program;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use super::{Played, gateway};

pub(crate) const MIB: u64 = 1024 * 1024;

/// A service that sends `bytes` of body, and counts those that it could send.
pub(crate) async fn sending(bytes: u64, sent: &Arc<AtomicU64>) -> Played {
    let sent = Arc::clone(sent);
    Played::start(move |_, mut stream| {
        let sent = Arc::clone(&sent);
        async move {
            Request::read(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let piece = [b'x'; 8 * 1024];
            let mut rest = bytes;
            while rest > 0 {
                let next = usize::try_from(rest).map_or(piece.len(), |rest| rest.min(piece.len()));
                match stream.write(&piece[..next]).await {
                    Ok(written) => {
                        rest -= written as u64;
                        sent.fetch_add(written as u64, Ordering::SeqCst);
                    }
                    Err(_) => return,
                }
            }
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await
}

/// The most memory that a process has had, in bytes.
#[cfg(target_os = "linux")]
pub(crate) fn most_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.expect("its memory").trim().trim_end_matches(" kB");
    kib.parse::<u64>().expect("a number") * 1024
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn large_bodies_do_not_grow_the_gateway() {
    let played = sending(10 * MIB, &Arc::default()).await;
    let gateway = Program::start("gateway", &[("USER_SERVICE_URL", played.url.as_str())]);
    let get = async || {
        let sent = request("GET", "/api/users/1", &[], b"");
        let got = exchange(gateway.address(), &sent)
            .await
            .expect("a response");
        assert_eq!(got.body.len() as u64, 10 * MIB);
    };
    get().await;
    let before = most_memory(gateway.id());
    join_all((0..8).map(|_| get())).await;
    let grown = most_memory(gateway.id()).saturating_sub(before);
    println!(
        "80 MiB in 8 responses grew the gateway by {} KiB",
        grown / 1024
    );
    assert!(grown < 8 * MIB, "{grown} bytes");
}

/// All over the limit: none is kept, and none is read for long.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn large_uploads_do_not_grow_the_gateway() {
    // Reads all that comes.
    let played = Played::start(|_, mut stream| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let gateway = Program::start("gateway", &[("USER_SERVICE_URL", played.url.as_str())]);
    let chunks = chunked(&vec![b'x'; 10 << 20], 8 * 1024);
    let head = request(
        "POST",
        "/api/users",
        &[("transfer-encoding", "chunked")],
        b"",
    );
    let post = async || {
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(&head).await.expect("sent");
        // The gateway may close before all of it is sent.
        let _ = connection.send(&chunks).await;
        let got = connection.answer(false).await.expect("an answer");
        got.expect_error(413, "payload_too_large");
    };
    post().await;
    let before = most_memory(gateway.id());
    join_all((0..8).map(|_| post())).await;
    let grown = most_memory(gateway.id()).saturating_sub(before);
    println!(
        "80 MiB in 8 requests grew the gateway by {} KiB",
        grown / 1024
    );
    assert!(grown < 8 * MIB, "{grown} bytes");
}

#[tokio::test]
async fn a_service_sends_no_faster_than_the_client_reads() {
    let sent = Arc::default();
    let played = sending(500 * MIB, &sent).await;
    let gateway = gateway(&played.url).await;
    let mut connection = Connection::open(gateway.address()).await;
    let get = request("GET", "/api/users/1", &[], b"");
    connection.send(&get).await.expect("sent");
    // The buffers of the system fill up.
    let mut before = u64::MAX;
    while before != sent.load(Ordering::SeqCst) {
        before = sent.load(Ordering::SeqCst);
        sleep(Duration::from_millis(200)).await;
    }
    assert!((1..50 * MIB).contains(&before), "{} MiB", before / MIB);
}

#[tokio::test]
async fn an_event_stream_arrives_event_by_event() {
    const PAUSE: Duration = Duration::from_millis(700);
    let played = Played::start(|_, mut stream| async move {
        Request::read(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        for piece in [head, "9\r\ndata: 1\n\n\r\n", "9\r\ndata: 2\n\n\r\n", "0\r\n\r\n"] {
            let _ = stream.write_all(piece.as_bytes()).await;
            sleep(PAUSE).await;
        }
    })
    .await;
    let gateway = gateway(&played.url).await;
    let mut connection = Connection::open(gateway.address()).await;
    let started = Instant::now();
    let get = request(
        "GET",
        "/api/users/events",
        &[("accept-encoding", "gzip")],
        b"",
    );
    connection.send(&get).await.expect("sent");
    for (n, wanted) in ["\r\n\r\n", "data: 1\n\n", "data: 2\n\n", "0\r\n\r\n"]
        .into_iter()
        .enumerate()
    {
        let text = connection.until(wanted).await.expect("the next piece");
        let due = PAUSE * u32::try_from(n).expect("few");
        let taken = started.elapsed();
        assert!(
            taken < due + PAUSE / 2,
            "{wanted:?} after {taken:?}: {text}"
        );
        assert!(!text.contains("content-encoding"), "{text}");
    }
}

#[tokio::test]
async fn an_event_stream_does_not_hold_up_a_shutdown() {
    let played = Played::start(|_, mut stream| async move {
        Request::read(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n";
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let gateway = gateway(&played.url).await;
    let mut connection = Connection::open(gateway.address()).await;
    let get = request("GET", "/api/users/events", &[], b"");
    connection.send(&get).await.expect("sent");
    connection.until("data: 1").await.expect("an event");
    let started = Instant::now();
    gateway.stop().await;
    let taken = started.elapsed();
    assert!(taken < Duration::from_secs(3), "{taken:?}");
}

const UPGRADE: [(&str, &str); 4] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "WebSocket"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

/// A service that accepts a web socket and sends back what arrives, in upper case.
pub(crate) async fn shouting() -> Played {
    Played::start(|_, mut stream| async move {
        let request = Request::read(&mut stream).await.expect("a request");
        assert_eq!(request.header("upgrade"), "websocket");
        assert_eq!(request.header("connection"), "upgrade");
        assert_eq!(request.header("sec-websocket-key"), "dGhlIHNhbXBsZSBub25jZQ==");
        let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
            sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfirst";
        let _ = stream.write_all(head.as_bytes()).await;
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            let shouted = bytes[..read].to_ascii_uppercase();
            let _ = stream.write_all(&shouted).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_web_socket_passes_bytes_in_both_directions() {
    let played = shouting().await;
    let gateway = gateway(&played.url).await;
    is_heard(gateway.address()).await;
}

/// Opens a web socket to a [`shouting`] service through a gateway at this address.
pub(crate) async fn is_heard(address: SocketAddr) {
    let mut connection = Connection::open(address).await;
    let upgrade = request("GET", "/api/users/socket", &UPGRADE, b"");
    // Some clients do not wait for the response.
    let bytes = [&upgrade[..], b"early,"].concat();
    connection.send(&bytes).await.expect("sent");
    let head = connection.until("first").await.expect("a web socket");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let lower = head.to_lowercase();
    for there in [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-accept: s3pplmbi",
    ] {
        assert!(lower.contains(there), "{there} is not in {head}");
    }
    connection
        .until("EARLY,")
        .await
        .expect("what was sent early");
    for word in ["one", "two"] {
        connection.send(word.as_bytes()).await.expect("sent");
        let echo = connection.until(&word.to_uppercase()).await;
        echo.expect("it comes back");
    }
    connection.finish_sending().await;
    let closed = connection.until_closed(Duration::from_secs(5)).await;
    assert_eq!(closed, State::Closed, "the service has closed too");
}

#[tokio::test]
async fn a_web_socket_does_not_hold_up_a_shutdown() {
    let played = shouting().await;
    let gateway = gateway(&played.url).await;
    let mut connection = Connection::open(gateway.address()).await;
    let upgrade = request("GET", "/api/users/socket", &UPGRADE, b"");
    connection.send(&upgrade).await.expect("sent");
    connection.until("first").await.expect("a web socket");
    let started = Instant::now();
    gateway.stop().await;
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    let closed = connection.until_closed(Duration::from_secs(5)).await;
    assert_ne!(closed, State::Open);
}

#[tokio::test]
async fn a_service_can_refuse_a_web_socket() {
    let played = Played::sending("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\n{}").await;
    let gateway = gateway(&played.url).await;
    let upgrade = request("GET", "/api/users/socket", &UPGRADE, b"");
    let got = exchange(gateway.address(), &upgrade).await;
    assert_eq!(got.expect("a response").status, 403);
}
