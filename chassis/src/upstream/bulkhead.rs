//! A bulkhead: a limit on the concurrent calls to one service.
//!
//! ```text
//!   calls ──▶ waiting, in the order of arrival ──▶ at most N in flight ──▶ the service
//! ```
//!
//! A service that hangs holds at most N calls of this one, and a service that is merely busy
//! gets no more than N at once. A call that finds no free place waits until its deadline: a
//! burst of requests is no failure.

use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

/// The bulkhead in front of one upstream.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use std::time::{Duration, Instant};
///
/// use chassis::upstream::bulkhead::{Bulkhead, Full};
///
/// let bulkhead = Bulkhead::new(1);
/// let soon = Instant::now() + Duration::from_millis(10);
/// let place = bulkhead.enter(soon).await.unwrap();
/// assert_eq!(bulkhead.enter(soon).await.err(), Some(Full(1)));
/// drop(place);
/// assert!(bulkhead.enter(soon).await.is_ok());
/// # });
/// ```
#[derive(Debug)]
pub struct Bulkhead {
    most: u32,
    places: Semaphore,
}

/// A place in a bulkhead. It is free again when this is dropped.
#[derive(Debug)]
#[must_use = "the place is held until this is dropped"]
pub struct Place<'a> {
    _permit: SemaphorePermit<'a>,
}

/// No place became free in time; this many calls are in flight, the most allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full(pub u32);

impl Bulkhead {
    /// A bulkhead with `most` places.
    pub fn new(most: u32) -> Self {
        Self {
            most,
            places: Semaphore::new(most as usize),
        }
    }

    /// A place, if one is free now.
    pub fn try_enter(&self) -> Result<Place<'_>, Full> {
        match self.places.try_acquire() {
            Ok(permit) => Ok(Place { _permit: permit }),
            Err(_) => Err(Full(self.most)),
        }
    }

    /// A place, as soon as one is free. Those who wait get theirs in the order of arrival.
    pub async fn enter(&self, deadline: Instant) -> Result<Place<'_>, Full> {
        match timeout_at(deadline.into(), self.places.acquire()).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit }),
            _ => Err(Full(self.most)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test]
    async fn who_waits_gets_a_place_in_the_order_of_arrival() {
        let bulkhead = Bulkhead::new(1);
        let place = bulkhead.try_enter().expect("it is empty");
        let mut first = Box::pin(bulkhead.enter(soon()));
        let mut second = Box::pin(bulkhead.enter(soon()));
        assert!((&mut first).now_or_never().is_none(), "it is full");
        assert!((&mut second).now_or_never().is_none(), "it is full");
        drop(place);
        assert_eq!(bulkhead.try_enter().err(), Some(Full(1)), "others wait");
        assert!((&mut second).now_or_never().is_none(), "not its turn");
        let place = first.now_or_never().expect("its turn").expect("a place");
        drop(place);
        let place = second.now_or_never().expect("its turn");
        drop(place.expect("a place"));
    }

    #[tokio::test]
    async fn who_waits_gives_up_at_the_deadline() {
        let bulkhead = Bulkhead::new(1);
        let _place = bulkhead.try_enter().expect("it is empty");
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(bulkhead.enter(deadline).await.err(), Some(Full(1)));
        assert!(Instant::now() >= deadline, "not before");
    }
}
