//! Changes that take effect once, however often a client sends them.
//!
//! A client that gets no response cannot know whether its change was made. With an
//! `Idempotency-Key` it can send the change again: the first request with a key makes the
//! change, and every other one gets the same answer.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use dashmap::{DashMap, Entry};
use parking_lot::Mutex;
use utoipa::IntoParams;

use crate::contract::error::{ApiError, FieldError};
use crate::contract::reply::Reply;

/// The most characters in a key.
const MAX_LENGTH: usize = 128;

/// The most keys that are kept; the oldest is dropped first. At 10,000 changes a second
/// this covers six seconds of retries.
const REMEMBERED: usize = 65_536;

/// How long a request waits while another one with its key makes the change: longer than
/// any change of the shop takes.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// The client's name for a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Reads the header, if it is there: 1 to 128 visible ASCII characters.
    pub fn parse(header: Option<&[u8]>) -> Result<Option<Self>, ApiError> {
        let Some(header) = header else {
            return Ok(None);
        };
        let visible = header.iter().all(u8::is_ascii_graphic);
        match str::from_utf8(header) {
            Ok(key) if visible && (1..=MAX_LENGTH).contains(&key.len()) => {
                Ok(Some(Self(key.into())))
            }
            _ => Err(ApiError::validation(vec![FieldError::new(
                "Idempotency-Key",
                format!("Idempotency-Key must be 1 to {MAX_LENGTH} visible ASCII characters"),
            )])),
        }
    }
}

/// The header, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(
    dead_code,
    reason = "a description only; `Key::parse` reads the header"
)]
pub struct KeyHeader {
    /// The client's name for this change. Repeated with the same key, the change is made
    /// once; later requests get the first answer and `Idempotency-Replayed`.
    #[param(rename = "Idempotency-Key", required = false, value_type = String, min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    key: (),
}

/// The changes that were made, by key: the request (`Q`) and its answer (`A`).
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use chassis::contract::idempotency::{Key, Keys, Once};
///
/// let keys = Keys::default();
/// let key = Key::parse(Some(b"order-1")).unwrap();
/// let place = async || ("placed", true);
/// let first = keys.once(key.clone(), "2 engines", place).await;
/// assert_eq!(first, Ok(Once::First("placed")));
/// let again = keys.once(key, "2 engines", place).await;
/// assert_eq!(again, Ok(Once::Replayed("placed")));
/// # });
/// ```
#[derive(Debug)]
pub struct Keys<Q, A> {
    changes: DashMap<Key, Arc<Change<Q, A>>>,
    // Oldest first, to drop them in this order.
    order: Mutex<VecDeque<Key>>,
    remembered: usize,
    max_wait: Duration,
}

#[derive(Debug)]
struct Change<Q, A> {
    request: Q,
    // Locked while the change is made, so that other requests with its key wait.
    answer: tokio::sync::Mutex<Option<A>>,
}

/// The answer to a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once<A> {
    /// This request made the change.
    First(A),
    /// An earlier request made it.
    Replayed(A),
}

/// Why a change with a key was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The key belongs to another change.
    Reused,
    /// The change is still being made for another request.
    Busy,
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        Self::conflict(match error {
            KeyError::Reused => "This Idempotency-Key was used with another body; use a new one",
            KeyError::Busy => {
                "A request with this Idempotency-Key is still in progress; try again in a moment"
            }
        })
    }
}

impl<Q, A> Default for Keys<Q, A> {
    fn default() -> Self {
        Self::remembering(REMEMBERED)
    }
}

impl<Q, A> Keys<Q, A> {
    fn remembering(remembered: usize) -> Self {
        Self {
            changes: DashMap::new(),
            order: Mutex::default(),
            remembered,
            max_wait: MAX_WAIT,
        }
    }
}

impl<Q: PartialEq, A: Clone> Keys<Q, A> {
    /// Makes a change unless it was made before. `make` returns the answer and whether it
    /// is final; after a transient failure the same key may try again.
    pub async fn once<F: Future<Output = (A, bool)>>(
        &self,
        key: Option<Key>,
        request: Q,
        make: impl FnOnce() -> F,
    ) -> Result<Once<A>, KeyError> {
        let Some(key) = key else {
            return Ok(Once::First(make().await.0));
        };
        let change = self.change(key, request)?;
        let mut known = tokio::time::timeout(self.max_wait, change.answer.lock())
            .await
            .map_err(|_| KeyError::Busy)?;
        if let Some(answer) = &*known {
            return Ok(Once::Replayed(answer.clone()));
        }
        let (answer, is_final) = make().await;
        if is_final {
            *known = Some(answer.clone());
        }
        Ok(Once::First(answer))
    }

    /// The change with this key, a new one if there is none.
    fn change(&self, key: Key, request: Q) -> Result<Arc<Change<Q, A>>, KeyError> {
        let change = match self.changes.entry(key.clone()) {
            Entry::Occupied(known) if known.get().request == request => {
                return Ok(Arc::clone(known.get()));
            }
            Entry::Occupied(_) => return Err(KeyError::Reused),
            Entry::Vacant(free) => {
                let answer = tokio::sync::Mutex::default();
                Arc::clone(&free.insert(Arc::new(Change { request, answer })))
            }
        };
        let mut order = self.order.lock();
        order.push_back(key);
        let oldest = (order.len() > self.remembered).then(|| order.pop_front());
        drop(order);
        if let Some(oldest) = oldest.flatten() {
            self.changes.remove(&oldest);
        }
        Ok(change)
    }
}

impl<A> Once<A> {
    /// The answer as a reply, marked as replayed if it is.
    pub fn reply(self, reply: impl FnOnce(A) -> Reply) -> Reply {
        match self {
            Self::First(answer) => reply(answer),
            Self::Replayed(answer) => reply(answer).with_header("idempotency-replayed", "true"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;
    use tokio::task::yield_now;

    use super::*;

    fn key(text: &str) -> Option<Key> {
        Key::parse(Some(text.as_bytes())).expect("a good key")
    }

    /// Changes that count themselves.
    struct Changes {
        keys: Keys<u32, u32>,
        made: AtomicU32,
    }

    impl Changes {
        fn remembering(remembered: usize) -> Self {
            Self {
                keys: Keys::remembering(remembered),
                made: AtomicU32::new(0),
            }
        }

        async fn ask(
            &self,
            key: Option<Key>,
            request: u32,
            is_final: bool,
        ) -> Result<Once<u32>, KeyError> {
            let make = async || {
                yield_now().await;
                (self.made.fetch_add(1, Ordering::SeqCst) + 1, is_final)
            };
            self.keys.once(key, request, make).await
        }
    }

    #[tokio::test]
    async fn a_change_is_made_once() {
        let changes = Changes::remembering(10);
        let asked = join_all((0..8).map(|_| changes.ask(key("a"), 1, true))).await;
        let first = asked.iter().filter(|one| **one == Ok(Once::First(1)));
        let again = asked.iter().filter(|one| **one == Ok(Once::Replayed(1)));
        assert_eq!((first.count(), again.count()), (1, 7));
        assert_eq!(changes.ask(key("a"), 2, true).await, Err(KeyError::Reused));
        assert_eq!(changes.ask(key("b"), 1, true).await, Ok(Once::First(2)));
        assert_eq!(changes.ask(None, 1, true).await, Ok(Once::First(3)));
        assert_eq!(
            changes.ask(None, 1, true).await,
            Ok(Once::First(4)),
            "no key, no promise"
        );
    }

    #[tokio::test]
    async fn what_failed_in_passing_may_be_tried_again() {
        let changes = Changes::remembering(10);
        assert_eq!(changes.ask(key("a"), 1, false).await, Ok(Once::First(1)));
        assert_eq!(changes.ask(key("a"), 1, true).await, Ok(Once::First(2)));
        assert_eq!(changes.ask(key("a"), 1, true).await, Ok(Once::Replayed(2)));
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let keys = Keys::<u32, u32> {
            max_wait: Duration::from_millis(10),
            ..Keys::default()
        };
        let stuck = keys.once(key("a"), 1, std::future::pending);
        let other = keys.once(key("a"), 1, async || (1, true));
        let other = tokio::select! {
            biased;
            _ = stuck => unreachable!("it is stuck"),
            other = other => other,
        };
        assert_eq!(other, Err(KeyError::Busy));
        let after = keys.once(key("a"), 1, async || (2, true)).await;
        assert_eq!(after, Ok(Once::First(2)), "who was stuck has gone");
    }

    #[tokio::test]
    async fn the_oldest_key_is_forgotten_first() {
        let changes = Changes::remembering(2);
        for name in ["a", "b", "c"] {
            changes.ask(key(name), 1, true).await.expect("new");
        }
        assert_eq!(changes.ask(key("b"), 1, true).await, Ok(Once::Replayed(2)));
        assert_eq!(changes.ask(key("a"), 1, true).await, Ok(Once::First(4)));
        assert_eq!(changes.keys.changes.len(), 2);
        assert_eq!(changes.keys.order.lock().len(), 2);
    }

    #[test]
    fn a_key_is_visible_ascii() {
        let longest = "k".repeat(128);
        for good in ["1", "order-7", "!~", &longest] {
            assert!(key(good).is_some(), "{good}");
        }
        assert_eq!(Key::parse(None), Ok(None));
        let too_long = "k".repeat(129);
        for bad in ["", "two words", "tab\t", "schlüssel", &too_long] {
            assert!(Key::parse(Some(bad.as_bytes())).is_err(), "{bad:?}");
        }
    }
}
