//! One poll for all callers at the same time.
//!
//! The rule: a caller gets the outcome of a poll that *began after* it asked, so the
//! outcome includes every write that finished before. A poll that is already running
//! is too old. So the callers during a poll wait, and the next poll serves all of them
//! together, as a database's group commit does:
//!
//! ```text
//! asks    a       b c d         e
//! polls   [ for a ][ for b c d ][ for e ]
//! ```
//!
//! However many callers there are, one poll runs at a time, and a caller waits at most for the rest
//! of one poll and the whole of the next.
//!
//! The polls run in a task of their own, which takes callers from a queue. This makes
//! the rule hold by construction: a poll serves the callers that are in the queue when
//! it begins. No request owns a poll, so a request that is cut off takes no poll with
//! it. The task lives on the runtime it was made on, which outlives the workers of
//! actix.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use crate::contract::error::ApiError;
use crate::telemetry::context::Context;
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

/// A poll that concurrent callers share.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use chassis::upstream::shared_poll::SharedPoll;
///
/// let count = SharedPoll::new(0, |last| async move { last + 1 });
/// assert_eq!(count.fresh().await, Ok(1));
/// # });
/// ```
#[derive(Debug)]
pub struct SharedPoll<T> {
    queue: mpsc::UnboundedSender<Caller<T>>,
}

/// A request that waits for the next poll.
#[derive(Debug)]
struct Caller<T> {
    request: Context,
    answer: oneshot::Sender<T>,
}

/// The poll panicked: a bug, and the log says where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollDied;

impl fmt::Display for PollDied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a poll panicked")
    }
}

impl std::error::Error for PollDied {}

impl From<PollDied> for ApiError {
    fn from(bug: PollDied) -> Self {
        Self::internal(bug)
    }
}

impl<T: Clone + Send + 'static> SharedPoll<T> {
    /// Each poll is `poll` called with the outcome of the poll before it, the first one
    /// with `first`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, which the polls run on.
    pub fn new<F>(first: T, poll: impl FnMut(T) -> F + Send + 'static) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (queue, callers) = mpsc::unbounded_channel();
        // The task ends when its `SharedPoll` is dropped, and the queue with it.
        tokio::spawn(serve(first, poll, callers));
        Self { queue }
    }

    /// The outcome of a poll that begins after this call.
    pub async fn fresh(&self) -> Result<T, PollDied> {
        let (answer, answered) = oneshot::channel();
        let request = Context::current();
        self.queue
            .send(Caller { request, answer })
            .map_err(|_| PollDied)?;
        answered.await.map_err(|_| PollDied)
    }
}

async fn serve<T: Clone, F: Future<Output = T>>(
    mut last: T,
    mut poll: impl FnMut(T) -> F,
    mut queue: mpsc::UnboundedReceiver<Caller<T>>,
) {
    let mut callers = Vec::new();
    while queue.recv_many(&mut callers, usize::MAX).await > 0 {
        callers.retain(|caller| !caller.answer.is_closed());
        let Some(first) = callers.first() else {
            continue;
        };
        // A poll can carry the ids of one request only, in logs and upstream calls.
        let (request, before) = (first.request.clone(), last.clone());
        let polled = AssertUnwindSafe(request.scope(async { poll(before).await }))
            .catch_unwind()
            .await;
        match polled {
            Ok(outcome) => {
                for caller in callers.drain(..) {
                    // A caller that has gone in the meantime needs no answer.
                    let _ = caller.answer.send(outcome.clone());
                }
                last = outcome;
            }
            // The callers see their channel close; the next poll starts from the last
            // good outcome.
            Err(_) => callers.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;
    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    /// Polls that count themselves and wait to be let through.
    struct Gate {
        poll: Arc<SharedPoll<u32>>,
        begun: Arc<AtomicU32>,
        pass: Arc<Semaphore>,
    }

    impl Gate {
        fn new() -> Self {
            let (begun, pass) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
            let poll = SharedPoll::new(0, {
                let (begun, pass) = (Arc::clone(&begun), Arc::clone(&pass));
                move |_| {
                    let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                    let pass = Arc::clone(&pass);
                    async move {
                        pass.acquire().await.expect("open").forget();
                        number
                    }
                }
            });
            Self {
                poll: Arc::new(poll),
                begun,
                pass,
            }
        }

        fn ask(&self) -> JoinHandle<Result<u32, PollDied>> {
            let poll = Arc::clone(&self.poll);
            tokio::spawn(async move { poll.fresh().await })
        }

        async fn until_begun(&self, polls: u32) {
            while self.begun.load(Ordering::SeqCst) < polls {
                yield_now().await;
            }
        }
    }

    /// Lets every other task of this single-threaded test go as far as it can.
    async fn settle() {
        for _ in 0..100 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn callers_during_a_poll_share_the_next_one() {
        let gate = Gate::new();
        let first = gate.ask();
        gate.until_begun(1).await;
        let later: Vec<_> = (0..50).map(|_| gate.ask()).collect();
        settle().await;
        assert_eq!(gate.begun.load(Ordering::SeqCst), 1, "one at a time");

        gate.pass.add_permits(1);
        assert_eq!(first.await.expect("no panic"), Ok(1));
        gate.until_begun(2).await;
        settle().await;
        assert!(
            later.iter().all(|ask| !ask.is_finished()),
            "the first poll began before they asked"
        );
        gate.pass.add_permits(1);
        for ask in join_all(later).await {
            assert_eq!(ask.expect("no panic"), Ok(2));
        }
        settle().await;
        assert_eq!(gate.begun.load(Ordering::SeqCst), 2, "nobody asked again");
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_does_not_cancel_a_poll() {
        let gate = Gate::new();
        let gone = gate.ask();
        gate.until_begun(1).await;
        let (gone_too, stays) = (gate.ask(), gate.ask());
        settle().await;
        gone.abort();
        gone_too.abort();
        settle().await;
        gate.pass.add_permits(2);
        assert_eq!(stays.await.expect("no panic"), Ok(2));
    }

    #[tokio::test]
    async fn there_is_no_poll_for_callers_that_have_gone() {
        let gate = Gate::new();
        let first = gate.ask();
        gate.until_begun(1).await;
        let gone = gate.ask();
        settle().await;
        gone.abort();
        settle().await;
        gate.pass.add_permits(1);
        assert_eq!(first.await.expect("no panic"), Ok(1));
        settle().await;
        assert_eq!(gate.begun.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_poll_that_panics_fails_only_its_own_callers() {
        let tries = AtomicU32::new(0);
        let poll = SharedPoll::new(0, move |last| {
            let this = tries.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(this != 2, "before there is a future, as the test wants");
            async move {
                assert!(this != 3, "inside of it, as the test wants");
                last + 1
            }
        });
        assert_eq!(poll.fresh().await, Ok(1));
        assert_eq!(poll.fresh().await, Err(PollDied));
        assert_eq!(poll.fresh().await, Err(PollDied));
        assert_eq!(poll.fresh().await, Ok(2), "as good as new");
    }

    #[tokio::test]
    async fn a_poll_has_the_request_id_of_its_first_caller() {
        let poll = SharedPoll::new(String::new(), |_| async {
            Context::current().request_id().to_owned()
        });
        let asked = Context::new(Some("demo-1"), None).scope(poll.fresh());
        assert_eq!(asked.await, Ok("demo-1".to_owned()));
    }
}
