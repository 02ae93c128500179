//! What a service admits: connections, requests in flight, bodies that are still arriving, and
//! large responses that their clients have not read yet.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::contract::error::ApiError;
use crate::contract::response_memory::{LARGE, ResponseMemory};
use crate::serve::arriving::Bodies;
use crate::serve::config::{Limits, UNREAD_KIB};
use crate::serve::connections::{Connections, Holder, Slow};
use crate::serve::limit::{Limit, Reached, Resource, Taken};
use crate::serve::service::Service;

/// A head of a request up to this size, in bytes, is not counted.
pub(crate) const SMALL_HEAD: u64 = 16 * 1024;

/// The heads over [`SMALL_HEAD`] that may arrive at once.
const LARGE_HEADS: u32 = 128;

/// How long a request waits for slow clients to be disconnected. Longer than they may be slow.
const PATIENCE: Duration = Duration::from_millis(800);

/// The pause before a request tries again to be admitted. It tries again in any case: a permit is
/// given back just after its client has read the last byte, and when a body does not arrive at
/// once.
const PAUSE: Duration = Duration::from_millis(20);

/// What a service admits.
#[derive(Debug)]
pub(crate) struct Admission {
    /// The open connections.
    pub(crate) connections: Arc<Connections>,
    /// The request bodies that are still arriving.
    pub(crate) bodies: Bodies,
    /// The request heads that have grown large.
    pub(crate) heads: Arc<Limit>,
    /// The requests of HTTP/2 beside another one on the same connection. Each connection may have
    /// one anyway, so there are at most twice as many requests as connections.
    pub(crate) streams: Arc<Limit>,
    requests: Arc<Limit>,
    responses: Arc<Limit>,
    /// A permit for each worker: to make a large response keeps one busy.
    turns: Arc<Semaphore>,
}

impl Admission {
    /// Admits what `limits` allow.
    pub(crate) fn new(limits: &Limits) -> Self {
        let percent = limits.client_share;
        let workers = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        Self {
            connections: Connections::new(most_connections(limits.connections), percent),
            bodies: Bodies::new(limits.bodies, percent),
            heads: Limit::new(Resource::Heads, LARGE_HEADS, percent),
            streams: Limit::new(Resource::Streams, limits.connections, percent),
            requests: Limit::new(Resource::Requests, limits.in_flight, percent),
            responses: Limit::new(Resource::Responses, UNREAD_KIB, percent),
            turns: Arc::new(Semaphore::new(workers)),
        }
    }

    /// Takes an in-flight permit for the current request of `holder`, which keeps it until the
    /// response has been written.
    pub(crate) async fn admit(&self, holder: &Holder) -> Result<(), ApiError> {
        let mut pause = Duration::from_millis(1);
        let mut began = None;
        loop {
            let reached = match self.requests.take(holder.client(), 1) {
                Ok(taken) => {
                    holder.keep(taken);
                    return Ok(());
                }
                Err(reached) => reached,
            };
            let patience = match self.disconnect_slowest(holder, reached) {
                Slow::Some => PATIENCE,
                Slow::None => PAUSE,
            };
            if began.get_or_insert_with(Instant::now).elapsed() >= patience {
                return Err(match reached {
                    Reached::Limit(most) => ApiError::overloaded(most),
                    Reached::Share(most) => ApiError::overloaded_by(format_args!(
                        "Your address is at its limit of {most} concurrent requests"
                    )),
                });
            }
            sleep(pause).await;
            pause = PAUSE;
        }
    }

    /// Reserves memory for a response of `bytes`, until it has been written.
    pub(crate) fn respond(&self, holder: &Holder, bytes: u64) -> Result<(), ApiError> {
        if let Some(taken) = self.reserve(holder, bytes)? {
            holder.keep(taken);
        }
        Ok(())
    }

    /// The memory of a response of `bytes`, if it is large. It does not wait: the response
    /// may be in memory already.
    fn reserve(&self, holder: &Holder, bytes: u64) -> Result<Option<Taken>, ApiError> {
        // There are at most as many small ones as requests in flight.
        if bytes <= LARGE {
            return Ok(None);
        }
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let taken = self.responses.take(holder.client(), kib);
        taken.map(Some).map_err(|reached| {
            // So that the next one fits.
            self.disconnect_slowest(holder, reached);
            let (whose, most) = match reached {
                Reached::Limit(most) => ("The server", most),
                Reached::Share(most) => ("Your address", most),
            };
            ApiError::overloaded_by(format_args!(
                "{whose} is at its limit of {most} KiB of responses that were not read yet"
            ))
        })
    }

    fn disconnect_slowest(&self, holder: &Holder, reached: Reached) -> Slow {
        let of_client = matches!(reached, Reached::Share(_)).then(|| holder.client());
        self.connections.disconnect_slowest(of_client)
    }
}

impl ResponseMemory for Service {
    fn check(&self, bytes: u64) -> Result<(), ApiError> {
        let holder = Holder::current();
        self.admission().reserve(&holder, bytes).map(drop)
    }

    fn turns(&self) -> &Arc<Semaphore> {
        &self.admission().turns
    }
}

/// `configured`, or fewer if the system lets the process open fewer files. A quarter of them is
/// for other files, such as connections to other services.
fn most_connections(configured: u32) -> u32 {
    let files = rlimit::Resource::NOFILE.get_soft().unwrap_or(u64::MAX);
    let most = files - files / 4;
    configured.min(u32::try_from(most).unwrap_or(u32::MAX))
}
