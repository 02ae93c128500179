//! The connections to the instances of a service. Idle ones are kept for the next request.
//!
//! This is less than the pool of `hyper-util` has, and it tells exactly what a gateway must know
//! after a failure: whether any part of the request was sent.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use chassis::upstream::instances::instance::Instance;
use chassis::upstream::url::UpstreamUrl;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::upload::Upload;

/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an idle connection is kept: less than the services keep theirs, or a request could use
/// a connection that the service is closing.
const IDLE: Duration = Duration::from_secs(15);

/// The most idle connections that are kept.
const MAX_IDLE: usize = 256;

/// How long the end of an exchange may take after the end of its response, for example because
/// the body of the request is still being sent.
const ENDING: Duration = Duration::from_secs(10);

/// The most bytes of a response that a connection holds, and the largest head of one.
const BUFFER: usize = 64 * 1024;

/// The connections to each instance of a service.
#[derive(Debug, Default)]
pub struct Pools(RwLock<Vec<Pool>>);

/// An instance, and the connections to it.
type Pool = (Weak<Instance>, Arc<Connections>);

/// The connections to one instance of a service.
#[derive(Debug)]
pub struct Connections {
    url: UpstreamUrl,
    /// The one that was used last is at the end.
    idle: Mutex<VecDeque<(SendRequest<Upload>, Instant)>>,
}

/// A connection for one exchange.
#[derive(Debug)]
pub struct Connection {
    /// Sends the request.
    pub sender: SendRequest<Upload>,
    of: Arc<Connections>,
}

impl Pools {
    /// The connections to `instance`.
    pub fn of(&self, instance: &Arc<Instance>) -> Arc<Connections> {
        let find = |pools: &[Pool]| {
            let found = pools
                .iter()
                .find(|(of, _)| of.as_ptr() == Arc::as_ptr(instance));
            found.map(|(_, connections)| Arc::clone(connections))
        };
        let found = find(&self.0.read());
        found.unwrap_or_else(|| {
            let mut pools = self.0.write();
            // Another request may have been here first.
            find(&pools).unwrap_or_else(|| {
                pools.retain(|(of, _)| of.strong_count() > 0);
                let connections = Connections::new(instance.url().clone());
                pools.push((Arc::downgrade(instance), Arc::clone(&connections)));
                connections
            })
        })
    }
}

impl Connections {
    /// None yet.
    fn new(url: UpstreamUrl) -> Arc<Self> {
        Arc::new(Self {
            url,
            idle: Mutex::default(),
        })
    }

    /// An idle connection, if there is one.
    pub fn idle(self: &Arc<Self>) -> Option<Connection> {
        let mut idle = self.idle.lock();
        while let Some((sender, since)) = idle.pop_back() {
            if since.elapsed() >= IDLE {
                // The others are older.
                idle.clear();
                return None;
            }
            if sender.is_ready() {
                return Some(Connection {
                    sender,
                    of: Arc::clone(self),
                });
            }
        }
        None
    }

    /// A new connection.
    pub async fn connect(self: &Arc<Self>) -> io::Result<Connection> {
        let connecting = timeout(
            CONNECT_TIMEOUT,
            TcpStream::connect(self.url.host_and_port()),
        );
        let stream = connecting.await.map_err(|_| {
            let text = format!("no connection within {CONNECT_TIMEOUT:?}");
            io::Error::new(io::ErrorKind::TimedOut, text)
        })??;
        stream.set_nodelay(true)?;
        let handshake = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            // Whoever waits for a response gets the error too.
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a service ended early");
            }
        });
        Ok(Connection {
            sender,
            of: Arc::clone(self),
        })
    }

    fn keep(&self, sender: SendRequest<Upload>) {
        let mut idle = self.idle.lock();
        while idle.len() >= MAX_IDLE
            || idle
                .front()
                .is_some_and(|(_, since)| since.elapsed() >= IDLE)
        {
            idle.pop_front();
        }
        idle.push_back((sender, Instant::now()));
    }
}

impl Connection {
    /// The response has been read to its end: keeps the connection for the next request. Dropped
    /// instead, the connection is closed.
    pub fn release(mut self) {
        if self.sender.is_ready() {
            self.of.keep(self.sender);
        } else if !self.sender.is_closed() {
            tokio::spawn(async move {
                if let Ok(Ok(())) = timeout(ENDING, self.sender.ready()).await {
                    self.of.keep(self.sender);
                }
            });
        }
    }
}
