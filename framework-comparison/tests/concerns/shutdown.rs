//! The graceful shutdown of each framework's own server: what happens to a request in flight,
//! and to a client that has sent half a head.

mod actix;
mod axum;
mod poem;
mod rocket;
mod warp;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use harness::raw::{Connection, request};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The time-out for each step, on a busy machine.
const TIMEOUT: Duration = Duration::from_mins(1);

/// How long the test watches a server that waits for its client without a time-out.
const WATCHED: Duration = Duration::from_secs(1);

/// The handler: it signals that it has begun, and takes a while.
async fn slowly(begun: &Notify) -> &'static str {
    begun.notify_one();
    sleep(Duration::from_millis(300)).await;
    "done"
}

async fn free_port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A server that shuts down.
struct Stopping {
    running: JoinHandle<()>,
    /// A client that is still connected.
    half_a_head: Connection,
}

/// Shuts the server down with `stop`, while a request is in flight and another client has sent
/// half a head. The request in flight is answered.
async fn stopping(
    address: SocketAddr,
    running: JoinHandle<()>,
    begun: &Notify,
    stop: impl AsyncFnOnce(),
) -> Stopping {
    let mut half_a_head = Connection::open(address).await;
    let half = half_a_head.send(b"GET /slow HTTP/1.1\r\nhost: ").await;
    half.expect("is sent");

    let mut in_flight = Connection::open(address).await;
    let whole = request("GET", "/slow", &[("connection", "close")], b"");
    in_flight.send(&whole).await.expect("is sent");
    let begins = timeout(TIMEOUT, begun.notified()).await;
    begins.expect("the handler begins");

    let ((), answered) = tokio::join!(stop(), in_flight.answer(false));
    let answered = answered.expect("an answer");
    assert_eq!((answered.status, &*answered.body), (200, &b"done"[..]));
    Stopping {
        running,
        half_a_head,
    }
}

impl Stopping {
    /// The server ends, although the rest of the head never arrives.
    async fn ends(self) {
        let ended = timeout(TIMEOUT, self.running).await;
        ended.expect("it ends").expect("without a panic");
        drop(self.half_a_head);
    }

    /// The server ends only after the last client has disconnected.
    async fn waits_for_its_client(mut self) {
        let ended = timeout(WATCHED, &mut self.running).await;
        assert!(ended.is_err(), "it ends while a client is connected");
        drop(self.half_a_head);
        let ended = timeout(TIMEOUT, self.running).await;
        ended.expect("it ends").expect("without a panic");
    }
}
