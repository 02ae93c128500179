//! What is kept, what is being fetched, and which changes are on their way.
//!
//! All of it is behind one lock, so that each step sees the others as a whole. A response is stored
//! only if no change has begun or ended since it was asked for, and none is on its way.
//!
//! Crates for caches have an order of eviction of their own, and no such rule. Crates for the rules
//! of HTTP caches would not store what services send, because its `Cache-Control` is `no-store`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chassis::contract::error::ApiError;
use futures_util::FutureExt;
use futures_util::future::Shared;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use utoipa::ToSchema;

use crate::cache::entry::{Entry, Read};
use crate::call::Response;

/// How old a response may be that is used because the service is down.
const STALE: Duration = Duration::from_secs(30);

/// How long a change may still be made whose outcome is unknown: longer than a service works on
/// any request.
const UNSETTLED: Duration = Duration::from_secs(10);

/// The part of the memory that one entry may take.
const SHARE: usize = 64;

/// The most responses that are fetched at the same time. For one more, there is no cache.
const MAX_FETCHES: usize = 128;

type Key = Arc<[u8]>;

/// What is kept, what is being fetched, and which changes are on their way.
pub struct Store {
    ttl: Duration,
    max_bytes: usize,
    state: Mutex<State>,
    fetches: Arc<Semaphore>,
    hits: AtomicU64,
    misses: AtomicU64,
    collapsed: AtomicU64,
    stale: AtomicU64,
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, (u64, Arc<Entry>)>,
    /// The keys of the entries by their number: the oldest entry is the first.
    order: BTreeMap<u64, Key>,
    bytes: usize,
    fetching: HashMap<Key, (u64, Fetching)>,
    /// The number of the newest entry or fetch.
    newest: u64,
    /// How many changes are on their way.
    changing: usize,
    /// How many times a change has begun or ended.
    changes: u64,
    /// Until when a change with an unknown outcome may still be made.
    unsettled: Option<Instant>,
}

/// What becomes the outcome of a fetch.
pub type Fetching = Shared<oneshot::Receiver<Fetched>>;

/// The outcome of a fetch, for all who wait for it.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// A response.
    Entry {
        /// The response.
        entry: Arc<Entry>,
        /// Whether it is kept for others.
        is_stored: bool,
    },
    /// There is a response, but only for the one who caused it.
    NotForAll,
    /// There is no usable response.
    Failed(ApiError),
}

/// What the store has for a key.
#[derive(Debug)]
pub enum Found {
    /// A response that is not too old.
    Entry(Arc<Entry>),
    /// Somebody else fetches it.
    Fetching(Fetching),
    /// Nothing: the caller must run the fetch.
    Nothing(Fetch, Fetching),
    /// Nothing, and there is no place for a fetch.
    Full,
}

/// A fetch. Dropped before its end, it fails all who wait for it.
#[derive(Debug)]
pub struct Fetch {
    store: Arc<Store>,
    key: Key,
    number: u64,
    /// As in the state when it began.
    changes: u64,
    began: Instant,
    done: Option<oneshot::Sender<Fetched>>,
    _place: OwnedSemaphorePermit,
}

/// A change on its way. Dropped without a word, its outcome is unknown.
#[derive(Debug)]
pub struct Change {
    store: Arc<Store>,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Made,
    NotMade,
    Unknown,
}

/// What the cache holds, and what it has done since the start.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheStatus {
    /// The requests that were answered from the cache.
    pub(crate) hits: u64,
    /// The requests that caused a call.
    pub(crate) misses: u64,
    /// The requests that waited for the call of another one.
    pub(crate) collapsed: u64,
    /// The requests that got an old response, because the service was down.
    pub(crate) stale: u64,
    /// The responses in the cache.
    pub(crate) entries: usize,
    /// The bytes that they take, about.
    pub(crate) bytes: usize,
    /// The most that they may take.
    pub(crate) max_bytes: usize,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("ttl", &self.ttl)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Keeps responses for `ttl`, in at most `max_bytes`.
    pub fn new(ttl: Duration, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            ttl,
            max_bytes,
            state: Mutex::default(),
            fetches: Arc::new(Semaphore::new(MAX_FETCHES)),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            collapsed: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        })
    }

    /// What there is for `key`.
    pub fn find(self: &Arc<Self>, key: &[u8]) -> Found {
        let mut state = self.state.lock();
        if let Some(entry) = state.entry(key, self.ttl) {
            count(&self.hits);
            return Found::Entry(entry);
        }
        if let Some((_, fetching)) = state.fetching.get(key) {
            count(&self.collapsed);
            return Found::Fetching(fetching.clone());
        }
        count(&self.misses);
        let Ok(place) = Arc::clone(&self.fetches).try_acquire_owned() else {
            return Found::Full;
        };
        let (done, fetching) = oneshot::channel();
        let fetching = fetching.shared();
        let (key, number) = (Key::from(key), state.next());
        let known = (number, fetching.clone());
        state.fetching.insert(Arc::clone(&key), known);
        let fetch = Fetch {
            store: Arc::clone(self),
            key,
            number,
            changes: state.changes,
            began: Instant::now(),
            done: Some(done),
            _place: place,
        };
        Found::Nothing(fetch, fetching)
    }

    /// An entry for `key` that may be used while the service is down.
    pub fn find_stale(&self, key: &[u8]) -> Option<Arc<Entry>> {
        let found = self.state.lock().entry(key, STALE);
        if found.is_some() {
            count(&self.stale);
        }
        found
    }

    /// The seconds for which an entry is still used; negative if it is older.
    pub fn ttl_of(&self, entry: &Entry) -> i64 {
        let (ttl, age) = (self.ttl.as_secs_f64(), entry.age().as_secs_f64());
        #[expect(clippy::cast_possible_truncation, reason = "a few seconds")]
        let seconds = (ttl - age).floor() as i64;
        seconds
    }

    /// A change begins.
    pub fn begin_change(self: &Arc<Self>) -> Change {
        let mut state = self.state.lock();
        state.changing += 1;
        state.step();
        drop(state);
        Change {
            store: Arc::clone(self),
            outcome: Outcome::Unknown,
        }
    }

    /// What it holds, and what it has done.
    pub fn status(&self) -> CacheStatus {
        let state = self.state.lock();
        CacheStatus {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            collapsed: self.collapsed.load(Ordering::Relaxed),
            stale: self.stale.load(Ordering::Relaxed),
            entries: state.entries.len(),
            bytes: state.bytes,
            max_bytes: self.max_bytes,
        }
    }

    /// Stores what was fetched, if nothing can have changed in the meantime.
    fn insert(&self, fetch: &Fetch, entry: &Arc<Entry>) -> bool {
        let mut state = self.state.lock();
        let is_settled = state.unsettled.is_none_or(|until| entry.began() >= until);
        if state.changing > 0 || state.changes != fetch.changes || !is_settled {
            return false;
        }
        state.remove(&fetch.key);
        let number = state.next();
        state.bytes += size(&fetch.key, entry);
        state.order.insert(number, Arc::clone(&fetch.key));
        let stored = (number, Arc::clone(entry));
        state.entries.insert(Arc::clone(&fetch.key), stored);
        while state.bytes > self.max_bytes
            && let Some((_, oldest)) = state.order.first_key_value()
        {
            let oldest = Arc::clone(oldest);
            state.remove(&oldest);
        }
        true
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// The entry for `key`, if it may be used and is not older than `limit`.
    fn entry(&self, key: &[u8], limit: Duration) -> Option<Arc<Entry>> {
        let (_, entry) = self.entries.get(key)?;
        (self.changing == 0 && entry.age() < limit).then(|| Arc::clone(entry))
    }

    /// A change begins or ends: nobody joins a fetch from before, and it is not stored.
    fn step(&mut self) {
        self.changes += 1;
        self.fetching.clear();
    }

    fn remove(&mut self, key: &Key) {
        if let Some((number, entry)) = self.entries.remove(key) {
            self.order.remove(&number);
            self.bytes -= size(key, &entry);
        }
    }
}

impl Fetch {
    /// Awaits the response. If it is not for all, `own` gets it.
    pub async fn run(
        self,
        answer: impl Future<Output = Result<Response, ApiError>>,
        own: oneshot::Sender<Response>,
    ) {
        let fetched = match answer.await {
            Ok(response) => self.read(response, own).await,
            Err(error) => Fetched::Failed(error),
        };
        self.end(fetched);
    }

    async fn read(&self, response: Response, own: oneshot::Sender<Response>) -> Fetched {
        let limit = self.store.max_bytes / SHARE;
        match Entry::read(response, self.began, limit).await {
            Ok(Read::Entry(entry)) => {
                let entry = Arc::new(entry);
                let is_stored = self.store.insert(self, &entry);
                Fetched::Entry { entry, is_stored }
            }
            Ok(Read::ForOne(response)) => {
                // It may have left.
                let _ = own.send(response);
                Fetched::NotForAll
            }
            Ok(Read::Varies) => Fetched::NotForAll,
            Err(cause) => Fetched::Failed(ApiError::outcome_unknown(super::KEPT, cause)),
        }
    }

    fn end(mut self, fetched: Fetched) {
        let done = self.done.take();
        // First, nobody new joins.
        drop(self);
        if let Some(done) = done {
            // All may have left.
            let _ = done.send(fetched);
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        let mut state = self.store.state.lock();
        let known = state.fetching.get(&self.key);
        if known.is_some_and(|(number, _)| *number == self.number) {
            state.fetching.remove(&self.key);
        }
    }
}

impl Change {
    /// It was made, or may have been.
    pub fn was_made(mut self) {
        self.outcome = Outcome::Made;
    }

    /// It was not made, and will not be.
    pub fn was_not_made(mut self) {
        self.outcome = Outcome::NotMade;
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        let mut state = self.store.state.lock();
        state.changing -= 1;
        state.step();
        if self.outcome != Outcome::NotMade {
            state.entries.clear();
            state.order.clear();
            state.bytes = 0;
        }
        if self.outcome == Outcome::Unknown {
            state.unsettled = Some(Instant::now() + UNSETTLED);
        }
    }
}

/// The bytes that an entry takes, about.
fn size(key: &Key, entry: &Entry) -> usize {
    key.len() + entry.size()
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test]
    async fn a_response_is_used_for_30_s_while_the_service_is_down() {
        for (age, ttl, is_found, is_found_stale) in [
            (0, 1, true, true),
            (2, 1, false, true),
            (29, 1, false, true),
            (31, 1, false, false),
            (31, 60, true, false),
        ] {
            let store = Store::new(Duration::from_secs(ttl), 1 << 20);
            let Found::Nothing(mut fetch, fetched) = store.find(b"key") else {
                panic!("it is empty");
            };
            let began = Instant::now().checked_sub(Duration::from_secs(age));
            fetch.began = began.expect("a machine that has run for a minute");
            let body = Full::new(Bytes::from_static(b"{}"));
            let response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
            let (own, _) = oneshot::channel();
            fetch.run(async { Ok(response) }, own).await;
            let fetched = fetched.await;
            assert!(matches!(
                fetched,
                Ok(Fetched::Entry {
                    is_stored: true,
                    ..
                })
            ));
            assert_eq!(matches!(store.find(b"key"), Found::Entry(_)), is_found);
            assert_eq!(
                store.find_stale(b"key").is_some(),
                is_found_stale,
                "{age} s"
            );
        }
    }

    #[tokio::test]
    async fn there_is_a_most_of_fetches() {
        let store = Store::new(Duration::from_secs(1), 1 << 20);
        let find = |number: usize| store.find(&number.to_be_bytes());
        let mut fetches: Vec<_> = (0..MAX_FETCHES).map(find).collect();
        let all_begin = fetches
            .iter()
            .all(|found| matches!(found, Found::Nothing(..)));
        assert!(all_begin);
        // A change lets nobody join them, and they are still on their way.
        store.begin_change().was_made();
        assert!(matches!(find(MAX_FETCHES), Found::Full));
        fetches.pop();
        assert!(matches!(find(MAX_FETCHES), Found::Nothing(..)));
        drop(fetches);
        assert_eq!(store.fetches.available_permits(), MAX_FETCHES);
        assert!(store.state.lock().fetching.is_empty());
    }
}
