//! Each framework's own server, told to stop by its own means: what it does with a
//! request in flight, and with a client that has sent half a head.

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

/// How long a server may take for what it does at all, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long one is watched that waits for its client, however long that takes.
const WATCHED: Duration = Duration::from_secs(1);

/// What handlers do: they say that they have begun, and take a while.
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

/// A server that is told to stop.
struct Stopping {
    running: JoinHandle<()>,
    /// Is still there.
    half_a_head: Connection,
}

/// Tells the server to stop, by `stop`, while it answers one client and another has
/// sent half a head. What is in flight is answered, whoever else is there.
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
    let begins = timeout(PATIENCE, begun.notified()).await;
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
    /// It ends by itself, though the half of a head is all that ever comes.
    async fn ends(self) {
        let ended = timeout(PATIENCE, self.running).await;
        ended.expect("it ends").expect("without a panic");
        drop(self.half_a_head);
    }

    /// It ends when the last client has left, and not before.
    async fn waits_for_its_client(mut self) {
        let ended = timeout(WATCHED, &mut self.running).await;
        assert!(ended.is_err(), "it ends though a client is there");
        drop(self.half_a_head);
        let ended = timeout(PATIENCE, self.running).await;
        ended.expect("it ends").expect("without a panic");
    }
}
