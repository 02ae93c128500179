//! Request bodies that are still arriving. They have a limit of their own, so that half-sent
//! bodies keep nobody else's request from being answered.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::contract::error::ApiError;
use crate::serve::admission::Admission;
use crate::serve::connections::Holder;
use crate::serve::limit::{Client, share};
use crate::serve::pace::Pace;

/// A body that arrives sooner was sent together with its head, and is not counted.
const AT_ONCE: Duration = Duration::from_millis(10);

/// The bodies that are still arriving.
#[derive(Debug)]
pub(crate) struct Bodies {
    most: usize,
    /// The most of one client address.
    share: usize,
    arriving: Mutex<Arriving>,
}

#[derive(Debug, Default)]
struct Arriving {
    next: u64,
    /// In the order in which they began.
    all: BTreeMap<u64, (Arc<Client>, Arc<Notify>)>,
}

/// A body that is still arriving, until it is dropped.
struct Body<'a> {
    bodies: &'a Bodies,
    id: u64,
    given_up: Arc<Notify>,
}

impl Bodies {
    /// At most `most`, of which one client address gets `percent`.
    pub(crate) fn new(most: u32, percent: u32) -> Self {
        Self {
            most: most as usize,
            share: share(most, percent) as usize,
            arriving: Mutex::default(),
        }
    }

    /// Adds a body of `client`. If there are too many, the oldest is given up.
    fn add(&self, client: &Arc<Client>) -> Body<'_> {
        let mut arriving = self.arriving.lock();
        let own = arriving.all.iter();
        let own = own.filter(|(_, (owner, _))| Arc::ptr_eq(owner, client));
        let own: Vec<_> = own.map(|(id, _)| *id).collect();
        let oldest = if own.len() >= self.share {
            own.first().copied()
        } else if arriving.all.len() >= self.most {
            arriving.all.keys().next().copied()
        } else {
            None
        };
        if let Some((_, given_up)) = oldest.and_then(|id| arriving.all.remove(&id)) {
            given_up.notify_one();
        }
        let (id, given_up) = (arriving.next, Arc::<Notify>::default());
        arriving.next += 1;
        let body = (Arc::clone(client), Arc::clone(&given_up));
        arriving.all.insert(id, body);
        Body {
            bodies: self,
            id,
            given_up,
        }
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.bodies.arriving.lock().all.remove(&self.id);
    }
}

impl Admission {
    /// Awaits `reading`, the whole body of the current request, as long as its client sends
    /// fast enough, and for `limit` at most.
    ///
    /// Meanwhile the request is not in flight: it gives its permit back, and takes another one
    /// when the body has arrived.
    pub(crate) async fn receive<F: Future>(
        &self,
        limit: Duration,
        reading: F,
    ) -> Result<F::Output, ApiError> {
        let holder = Holder::current();
        let mut was_in_flight = false;
        let begun = || was_in_flight = holder.give_back();
        let reading = pin!(reading);
        let read = self.arrive(&holder, limit, reading, begun).await?;
        if was_in_flight {
            self.admit(&holder).await?;
        }
        Ok(read)
    }

    /// Awaits `passing`, which passes on the whole body of the current request as it arrives, in
    /// the same way. The request stays in flight: another service has a part of it.
    pub(crate) async fn pass<F: Future>(
        &self,
        limit: Duration,
        passing: F,
    ) -> Result<F::Output, ApiError> {
        let holder = Holder::current();
        self.arrive(&holder, limit, pin!(passing), || {}).await
    }

    /// Awaits `reading` within the limits. Calls `begun` if the body does not arrive at once.
    async fn arrive<F: Future>(
        &self,
        holder: &Holder,
        limit: Duration,
        mut reading: Pin<&mut F>,
        begun: impl FnOnce(),
    ) -> Result<F::Output, ApiError> {
        let (mut counted, patience) = (holder.received(), limit / 2);
        let mut pace = Pace::begin(patience, limit);
        if let Ok(read) = timeout(AT_ONCE.min(patience), reading.as_mut()).await {
            return Ok(read);
        }
        begun();
        let body = self.bodies.add(holder.client());
        loop {
            let received = holder.received();
            pace.add(received - counted);
            counted = received;
            let due = pace.due();
            if due <= Instant::now() {
                return Err(ApiError::request_timeout(pace.elapsed()));
            }
            tokio::select! {
                read = reading.as_mut() => return Ok(read),
                () = body.given_up.notified() => {
                    return Err(ApiError::too_many_bodies(self.bodies.most));
                }
                () = sleep_until(due) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the body was given up.
    fn is_given_up(body: &Body<'_>) -> bool {
        use futures_util::FutureExt;
        body.given_up.notified().now_or_never().is_some()
    }

    #[test]
    fn one_body_too_many_ends_the_oldest() {
        let bodies = Bodies::new(3, 100);
        let client = Arc::default();
        let [first, second, third] = [(); 3].map(|()| bodies.add(&client));
        assert!(![&first, &second, &third].into_iter().any(is_given_up));
        let fourth = bodies.add(&client);
        assert!(is_given_up(&first) && !is_given_up(&second));
        // A body that has arrived counts no longer.
        drop(second);
        let _fifth = bodies.add(&client);
        assert!(![&third, &fourth].into_iter().any(is_given_up));
    }

    #[test]
    fn a_client_with_its_share_of_bodies_ends_its_own() {
        let bodies = Bodies::new(5, 80);
        let (greedy, modest) = (Arc::default(), Arc::default());
        let others = bodies.add(&modest);
        let own: Vec<_> = (0..5).map(|_| bodies.add(&greedy)).collect();
        assert!(!is_given_up(&others));
        let ended: Vec<_> = own.iter().map(is_given_up).collect();
        assert_eq!(ended, [true, false, false, false, false]);
    }
}
