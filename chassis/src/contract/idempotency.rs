//! Changes that take effect once, however often a client sends them.
//!
//! A client that gets no response cannot know whether its change was made. With an
//! `Idempotency-Key` it can send the change again: the first request with a key makes the
//! change, and every other one gets the same answer.
//!
//! A key is kept for ten minutes, whatever comes. When as many keys are kept as may be, a
//! change with another key is refused, rather than an older key forgotten too early.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::MutexGuard;
use tokio::time::{Instant, timeout_at};
use utoipa::IntoParams;

use crate::contract::error::{ApiError, FieldError};
use crate::contract::reply::{Body, Reply};
use crate::values::clock::Clock;
use crate::values::path::decode_unreserved;

/// The most characters in a key.
const MAX_LENGTH: usize = 128;

/// How long a key is kept after its answer: the ten minutes that are promised, and one more
/// for a repetition that was on its way when they ended.
const KEPT: Duration = Duration::from_mins(11);

/// How many bytes a key and its answer may have on average. An order has 300. With this
/// and some 300 bytes for bookkeeping, 65,536 keys take less than 40 MiB.
const BYTES_PER_KEY: usize = 320;

/// How much longer than a change takes a request waits for another one with its key.
const SPARE: Duration = Duration::from_secs(1);

/// The client's name for a change, and the request that it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    name: Arc<str>,
    method: u64,
    path: u64,
    query: u64,
}

impl Key {
    /// Reads the header of a request, if it is there: 1 to 128 visible ASCII characters.
    pub fn parse(
        header: Option<&[u8]>,
        method: &str,
        path: &str,
        query: Option<&str>,
    ) -> Result<Option<Self>, ApiError> {
        let Some(header) = header else {
            return Ok(None);
        };
        let visible = header.iter().all(u8::is_ascii_graphic);
        match str::from_utf8(header) {
            Ok(name) if visible && (1..=MAX_LENGTH).contains(&name.len()) => Ok(Some(Self {
                name: name.into(),
                method: digest(method),
                path: digest(&*decode_unreserved(path)),
                query: digest(query.unwrap_or_default()),
            })),
            _ => Err(ApiError::validation(vec![FieldError::new(
                "Idempotency-Key",
                format!("Idempotency-Key must be 1 to {MAX_LENGTH} visible ASCII characters"),
            )])),
        }
    }
}

/// Two requests are the same if their digests are.
fn digest(part: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    part.hash(&mut hasher);
    hasher.finish()
}

/// The header, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(
    dead_code,
    reason = "a description only; `Key::parse` reads the header"
)]
pub struct KeyHeader {
    /// The client's name for this change. Repeated with the same key within ten minutes, the
    /// change is made once; later requests get the first answer and `Idempotency-Replayed`.
    #[param(rename = "Idempotency-Key", required = false, value_type = String, min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    key: (),
}

/// The changes that were made, by key, and their answers.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use std::time::Duration;
///
/// use chassis::contract::idempotency::{Key, Keys};
/// use chassis::contract::reply::Reply;
///
/// let keys = Keys::new(65_536, Duration::ZERO);
/// let key = Key::parse(Some(b"order-1"), "POST", "/api/orders", None).unwrap();
/// let place = async || Ok(Reply::json(201, &"placed"));
/// let first = keys.once(key.clone(), "2 engines", place).await.unwrap();
/// assert_eq!(first.header("idempotency-replayed"), None);
/// let again = keys.once(key, "2 engines", place).await.unwrap();
/// assert_eq!(again.header("idempotency-replayed"), Some("true"));
/// # });
/// ```
#[derive(Debug)]
pub struct Keys {
    kept: Mutex<Kept>,
    most: usize,
    /// How long a key is kept.
    keep: Duration,
    /// How long a request waits for another one with its key.
    wait: Duration,
    /// The clock by which a key is old.
    clock: Clock,
}

#[derive(Debug, Default)]
struct Kept {
    changes: HashMap<Arc<str>, Arc<Change>>,
    /// Those with an answer, in the order of their answers. What is still being made is not
    /// among them, so it is never forgotten.
    answered: VecDeque<Answered>,
    /// The bytes of all of them.
    bytes: usize,
}

/// A key whose change has an answer.
#[derive(Debug)]
struct Answered {
    at: Instant,
    name: Arc<str>,
    /// The length of the key and its answer.
    bytes: usize,
}

/// A change, and the request that it was asked for with.
#[derive(Debug)]
struct Change {
    asked: Asked,
    // Locked while the change is made, so that other requests with its key wait.
    progress: tokio::sync::Mutex<Progress>,
}

/// The digests of the parts of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    method: u64,
    path: u64,
    query: u64,
    body: u64,
}

impl Asked {
    /// The parts in which `self` is not `other`.
    fn differences(self, other: Self) -> String {
        let parts = [
            ("method", self.method == other.method),
            ("path", self.path == other.path),
            ("query", self.query == other.query),
            ("body", self.body == other.body),
        ];
        let differ = parts.iter().filter(|(_, same)| !same);
        let names: Vec<_> = differ.map(|(name, _)| *name).collect();
        names.join(" and another ")
    }
}

#[derive(Debug)]
enum Progress {
    /// Nobody has made it yet.
    New,
    /// It was made, and this is the answer.
    Made(Answer),
    /// It was not made, and may be tried again. The key is free.
    Forgotten,
}

/// What is needed to repeat an answer, and nothing else: no record, and no spare capacity.
#[derive(Debug)]
enum Answer {
    Done {
        status: u16,
        location: Option<Box<str>>,
        body: Box<[u8]>,
    },
    /// Not the text of the response, which has the id of its request.
    Refused(Box<ApiError>),
}

impl Answer {
    /// The answer to keep. `None` if the next one may be another: what goes on will end, what
    /// was wrong with the body may be right later, and what failed may work.
    fn of(made: &Result<Reply, ApiError>) -> Option<Self> {
        let status = made.as_ref().map_or_else(ApiError::status, |it| it.status);
        if matches!(status, 202 | 400 | 408 | 429 | 500..) {
            return None;
        }
        let reply = match made {
            Ok(reply) => reply,
            Err(error) => return Some(Self::Refused(Box::new(error.clone()))),
        };
        // A stream is not kept; no change of the shop answers with one.
        let Body::Bytes(body) = &reply.body else {
            return None;
        };
        Some(Self::Done {
            status,
            location: reply.header("location").map(Into::into),
            body: body.as_ref().into(),
        })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Done { location, body, .. } => {
                body.len() + location.as_ref().map_or(0, |location| location.len())
            }
            Self::Refused(error) => size_of::<ApiError>() + error.message.len(),
        }
    }

    /// The answer again.
    fn replayed(&self) -> Reply {
        let reply = match self {
            Self::Refused(error) => ApiError::clone(error).reply(),
            Self::Done {
                status,
                location,
                body,
            } => {
                let reply = Reply::json_text(*status, body.to_vec());
                match location {
                    Some(location) => reply.with_header("location", location.to_string()),
                    None => reply,
                }
            }
        };
        reply.with_header("idempotency-replayed", "true")
    }
}

impl Keys {
    /// At most `most` keys. A change takes at most `longest`.
    pub fn new(most: u32, longest: Duration) -> Self {
        Self {
            kept: Mutex::default(),
            most: most as usize,
            keep: KEPT,
            wait: longest + SPARE,
            clock: Clock::default(),
        }
    }

    /// The same keys, which are old by this clock.
    pub(crate) fn by(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Forgets all keys. Those whose change is being made are forgotten when it is made.
    pub(crate) fn forget_all(&self) {
        let mut kept = self.kept.lock();
        let Kept {
            changes,
            answered,
            bytes,
        } = &mut *kept;
        for old in answered.drain(..) {
            changes.remove(&old.name);
            *bytes -= old.bytes;
        }
    }

    /// Makes a change with `make`, unless it was made before. `body` is what the request
    /// says, whatever the order of its fields and the notation of its values.
    pub async fn once<F: Future<Output = Result<Reply, ApiError>>>(
        &self,
        key: Option<Key>,
        body: &(impl Hash + ?Sized),
        make: impl FnOnce() -> F,
    ) -> Result<Reply, ApiError> {
        let Some(key) = key else {
            return make().await;
        };
        let asked = Asked {
            method: key.method,
            path: key.path,
            query: key.query,
            body: digest(body),
        };
        let deadline = Instant::now() + self.wait;
        loop {
            let change = self.claim(&key.name, asked)?;
            let waiting = timeout_at(deadline, change.progress.lock()).await;
            let progress = waiting.map_err(|_| ApiError::key_in_progress())?;
            match &*progress {
                Progress::Made(answer) => return Ok(answer.replayed()),
                Progress::Forgotten => {}
                Progress::New => {
                    let mut attempt = Attempt {
                        keys: self,
                        name: &key.name,
                        progress,
                        answer: None,
                    };
                    let outcome = make().await;
                    attempt.answer = Answer::of(&outcome);
                    return outcome;
                }
            }
        }
    }
}

impl Keys {
    /// The change with this key, a new one if there is none.
    fn claim(&self, name: &Arc<str>, asked: Asked) -> Result<Arc<Change>, ApiError> {
        let mut kept = self.kept.lock();
        let now = self.clock.now();
        kept.forget_older_than(self.keep, now);
        if let Some(known) = kept.changes.get(name) {
            return if known.asked == asked {
                Ok(Arc::clone(known))
            } else {
                Err(ApiError::conflict(format!(
                    "This Idempotency-Key was used with another {}; use a new key for a new change",
                    known.asked.differences(asked)
                )))
            };
        }
        let most_bytes = self.most.saturating_mul(BYTES_PER_KEY);
        if kept.changes.len() >= self.most || kept.bytes >= most_bytes {
            let oldest = kept.answered.front();
            return Err(ApiError::keys_full(oldest.map_or(
                Duration::ZERO,
                |oldest| {
                    self.keep
                        .saturating_sub(now.saturating_duration_since(oldest.at))
                },
            )));
        }
        let change = Arc::new(Change {
            asked,
            progress: tokio::sync::Mutex::new(Progress::New),
        });
        kept.changes.insert(Arc::clone(name), Arc::clone(&change));
        Ok(change)
    }
}

impl Kept {
    fn forget_older_than(&mut self, keep: Duration, now: Instant) {
        while let Some(oldest) = self.answered.front()
            && now.saturating_duration_since(oldest.at) >= keep
        {
            self.changes.remove(&oldest.name);
            self.bytes -= oldest.bytes;
            self.answered.pop_front();
        }
    }
}

/// A change that is being made. Dropped without an answer, also because the client hung up or
/// the change panicked, it frees the key.
struct Attempt<'a> {
    keys: &'a Keys,
    name: &'a Arc<str>,
    progress: MutexGuard<'a, Progress>,
    answer: Option<Answer>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut kept = self.keys.kept.lock();
        if let Some(answer) = self.answer.take() {
            let answered = Answered {
                at: self.keys.clock.now(),
                name: Arc::clone(self.name),
                bytes: self.name.len() + answer.bytes(),
            };
            kept.bytes += answered.bytes;
            kept.answered.push_back(answered);
            *self.progress = Progress::Made(answer);
        } else {
            kept.changes.remove(self.name);
            *self.progress = Progress::Forgotten;
        }
    }
}

#[cfg(test)]
mod tests;
