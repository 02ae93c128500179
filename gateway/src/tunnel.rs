//! A connection that has become a web socket: bytes in both directions, whatever they mean.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use chassis::serve::shutdown::Shutdown;
use chassis::upstream::instances::Picked;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::sleep;

use crate::download::SILENCE;

/// Passes on bytes between a client and a service until one of them ends, both are silent for too
/// long, or the gateway shuts down.
pub async fn run(client: OnUpgrade, service: OnUpgrade, picked: Picked, shutdown: Shutdown) {
    let _in_flight = picked;
    let passed = tokio::select! {
        passed = pass(client, service) => passed,
        () = shutdown.requested() => return,
    };
    if let Err(error) = passed {
        tracing::debug!(%error, "a web socket ended early");
    }
}

async fn pass(client: OnUpgrade, service: OnUpgrade) -> io::Result<()> {
    let (client, service) = tokio::try_join!(client, service).map_err(io::Error::other)?;
    let bytes = Arc::new(AtomicU64::new(0));
    let mut client = Counted::new(client, &bytes);
    let mut service = Counted::new(service, &bytes);
    let mut passing = std::pin::pin!(copy_bidirectional(&mut client, &mut service));
    loop {
        let before = bytes.load(Ordering::Relaxed);
        tokio::select! {
            passed = &mut passing => return passed.map(drop),
            () = sleep(SILENCE) => {
                if bytes.load(Ordering::Relaxed) == before {
                    return Err(io::Error::other(format!("nothing for {SILENCE:?}")));
                }
            }
        }
    }
}

/// A stream that counts the bytes read from it.
struct Counted {
    stream: TokioIo<Upgraded>,
    bytes: Arc<AtomicU64>,
}

impl Counted {
    fn new(stream: Upgraded, bytes: &Arc<AtomicU64>) -> Self {
        Self {
            stream: TokioIo::new(stream),
            bytes: Arc::clone(bytes),
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let count = buffer.filled().len() - before;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
