//! The shop as it is now, sent to all who watch it: one event a second.
//!
//! ```text
//!   while somebody watches, once a second       for each viewer
//!   look at all services ──▶ tick, as text ──▶ the latest one ──▶ its connection
//! ```
//!
//! The services are polled once for all viewers, and not at all while there are none. A tick is
//! made into text once. A viewer who reads slowly gets the latest tick when there is room for it,
//! and misses those in between, so nothing piles up for it.

pub mod look;
pub mod numbers;
pub mod past;
pub mod roots;
pub mod tick;
mod watcher;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis::contract::error::ApiError;
use chassis::contract::reply::Reply;
use chassis::serve::service::Service;
use chassis::serve::shutdown::Shutdown;
use chassis::telemetry::context::Context;
use futures_util::stream::{self, StreamExt};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use crate::clients::Operations;
use past::Past;
use watcher::Watcher;

/// The most viewers.
pub const VIEWERS: usize = 128;

/// The time from one tick to the next.
const EVERY: Duration = Duration::from_secs(1);

/// The latest tick, for all viewers.
#[derive(Debug)]
pub struct Stream {
    /// The event as it is sent; `None` while nobody watches.
    latest: watch::Sender<Option<Bytes>>,
    /// Wakes the task that polls, when a viewer comes.
    came: Notify,
    free: Arc<Semaphore>,
    past: Arc<Past>,
}

impl Stream {
    /// Polls `services` while somebody watches, until the shutdown; what the lab knows only if
    /// `with_lab`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: the polls run on it.
    pub fn start(
        services: Vec<Operations>,
        past: Arc<Past>,
        with_lab: bool,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        let this = Arc::new(Self {
            latest: watch::Sender::new(None),
            came: Notify::new(),
            free: Arc::new(Semaphore::new(VIEWERS)),
            past: Arc::clone(&past),
        });
        let watcher = Watcher::new(services, past, with_lab);
        let polling = Arc::clone(&this).poll(watcher);
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.requested() => {}
                _ = polling => {}
            }
        });
        this
    }

    async fn poll(self: Arc<Self>, mut watcher: Watcher) -> Infallible {
        loop {
            self.latest.send_replace(None);
            while self.latest.receiver_count() == 0 {
                self.came.notified().await;
            }
            watcher.begin();
            while self.latest.receiver_count() > 0 {
                let next = Instant::now() + EVERY;
                // All calls of a poll have one request id, also in the logs of the services.
                let tick = Context::new(None, None).scope(watcher.tick()).await;
                self.latest.send_replace(Some(event("tick", &tick)));
                sleep_until(next).await;
            }
        }
    }

    /// The error for one viewer too many.
    pub fn too_many() -> ApiError {
        ApiError::overloaded_by(format_args!(
            "The server is at its limit of {VIEWERS} viewers of this stream"
        ))
    }

    /// The reply for one more viewer: the past, and then each tick.
    pub fn reply(&self, service: &Service) -> Result<Reply, ApiError> {
        let place = Arc::clone(&self.free).try_acquire_owned();
        let place = place.map_err(|_| Self::too_many())?;
        let mut latest = self.latest.subscribe();
        // The latest one at once, if it is there.
        latest.mark_changed();
        self.came.notify_one();
        let events = past_event(self.past.samples()).chain(ticks(latest, place));
        Ok(service.stream("text/event-stream", events.map(Ok)))
    }
}

/// The event `past`. The samples are shared by all viewers, so it is sent in parts.
fn past_event(samples: Vec<Bytes>) -> impl stream::Stream<Item = Bytes> {
    let begin = Bytes::from_static(b"event: past\ndata: {\"samples\":[");
    let end = Bytes::from_static(b"]}\n\n");
    let with_commas = samples.into_iter().enumerate().flat_map(|(n, sample)| {
        let comma = (n > 0).then_some(Bytes::from_static(b","));
        comma.into_iter().chain([sample])
    });
    stream::iter([begin].into_iter().chain(with_commas).chain([end]))
}

/// The latest tick, and each one after it, as long as the viewer has its place.
fn ticks(
    latest: watch::Receiver<Option<Bytes>>,
    place: OwnedSemaphorePermit,
) -> impl stream::Stream<Item = Bytes> {
    stream::unfold((latest, place), |(mut latest, place)| async {
        loop {
            latest.changed().await.ok()?;
            let tick = latest.borrow_and_update().clone();
            if let Some(tick) = tick {
                return Some((tick, (latest, place)));
            }
        }
    })
}

/// An event: its name, and JSON, which is one line.
fn event(name: &str, json: &str) -> Bytes {
    format!("event: {name}\ndata: {json}\n\n").into()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_viewer_who_reads_slowly_misses_ticks_and_gets_the_latest() {
        let latest = watch::Sender::new(None);
        let free = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&free).try_acquire_owned().expect("a place");
        let mut viewer = Box::pin(ticks(latest.subscribe(), place));
        for number in 0..100 {
            latest.send_replace(Some(event("tick", &number.to_string())));
        }
        assert_eq!(viewer.next().await, Some(event("tick", "99")));
        assert_eq!(pin!(viewer.next()).now_or_never(), None, "no other");
        assert_eq!(free.available_permits(), 0);
        drop(viewer);
        assert_eq!(free.available_permits(), 1);
    }

    #[tokio::test]
    async fn the_past_is_one_event_whatever_it_has() {
        for (samples, expected) in [
            (vec![], "event: past\ndata: {\"samples\":[]}\n\n"),
            (vec!["1"], "event: past\ndata: {\"samples\":[1]}\n\n"),
            (vec!["1", "2"], "event: past\ndata: {\"samples\":[1,2]}\n\n"),
        ] {
            let samples = samples.into_iter().map(Bytes::from).collect();
            let sent = past_event(samples).collect::<Vec<_>>().await.concat();
            assert_eq!(sent, expected.as_bytes());
        }
    }
}
