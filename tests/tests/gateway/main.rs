//! The gateway between a client and services that the tests play, byte by byte. What it does not
//! change is in the contract suite, which runs through it too.

mod cache;
mod compression;
mod console;
mod document;
mod failures;
mod floods;
mod forwarding;
mod http2;
mod instances;
mod layers;
mod limits;
mod own;
mod program;
mod rate_limit;
mod refusals;
mod registry;
mod secure;
mod security;
mod slow;
mod streams;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chassis::testkit::Server;
use chassis::upstream::url::UpstreamUrl;
use harness::raw::Request;
use shop_tests::shop;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A service that the test plays. It is always ready. It stops when it is dropped.
struct Played {
    url: UpstreamUrl,
    /// The connections with requests so far.
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Played {
    /// Starts a service that handles each connection, the first with the number 0.
    async fn start<F>(handle: impl Fn(usize, TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::on(listener, handle)
    }

    /// The same on this listener.
    fn on<F>(
        listener: TcpListener,
        handle: impl Fn(usize, TcpStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let url = UpstreamUrl::of(listener.local_addr().expect("an address"));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (count, handle) = (Arc::clone(&accepted), Arc::new(handle));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (count, handle) = (Arc::clone(&count), Arc::clone(&handle));
                connections.spawn(async move {
                    if asks_for_health(&stream).await {
                        say_ready(stream).await;
                    } else {
                        let handling = handle(count.fetch_add(1, Ordering::SeqCst), stream);
                        // The task must not hold the handler.
                        drop(handle);
                        handling.await;
                    }
                });
            }
        });
        Self {
            url,
            accepted,
            task,
        }
    }

    /// A service that reads a request and sends these bytes, whatever they are. Then it closes.
    async fn sending(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |_, mut stream| {
            let bytes = bytes.clone();
            async move {
                Request::read(&mut stream).await;
                // The gateway may have gone.
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether a connection is the one on which the gateway asks for the health.
async fn asks_for_health(stream: &TcpStream) -> bool {
    const QUESTION: &[u8] = b"GET /health/ready ";
    let mut start = [0; QUESTION.len()];
    // The gateway writes a head at once.
    stream.peek(&mut start).await.is_ok() && start == *QUESTION
}

async fn say_ready(mut stream: TcpStream) {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    while Request::read(&mut stream).await.is_some() {
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// A gateway whose user-service is at `users`. The other services are down.
async fn gateway(users: &UpstreamUrl) -> Server {
    gateway_with(users, &[]).await
}

/// The same with settings.
async fn gateway_with(users: &UpstreamUrl, settings: &[(&'static str, &str)]) -> Server {
    let down = UpstreamUrl::local(1);
    shop::gateway([users, &down, &down, &down, &down], settings).await
}
