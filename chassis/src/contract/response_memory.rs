//! What the response to the current request may be: whether the memory for another large one is
//! free, asked before the response is made, because making it takes memory and time; and whether
//! the lab cuts it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::contract::cut::Cut;
use crate::contract::error::ApiError;

/// The memory for responses that clients have not read yet.
pub(crate) trait ResponseMemory: Send + Sync {
    /// An error if a response of `bytes` does not fit.
    fn check(&self, bytes: u64) -> Result<(), ApiError>;

    /// A permit for each large response that may be made at a time.
    fn turns(&self) -> &Arc<Semaphore>;
}

/// What the response to a request may be.
pub(crate) struct Responding {
    /// The memory for it.
    pub(crate) memory: Arc<dyn ResponseMemory>,
    /// How a fault of the lab cuts it, if one does.
    pub(crate) cut: Option<Cut>,
}

tokio::task_local! {
    /// What the response to the current request may be.
    pub(crate) static RESPONDING: Responding;
}

/// An error if a response of `bytes` does not fit. Outside of a request there is no limit.
pub(crate) fn check(bytes: u64) -> Result<(), ApiError> {
    RESPONDING
        .try_with(|responding| responding.memory.check(bytes))
        .unwrap_or(Ok(()))
}

/// A response over this size, in bytes, is a large one.
pub(crate) const LARGE: u64 = 64 * 1024;

/// How long a request waits until it may make a large response.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until a response of `bytes` may be made, if it is large: a crowd that asks for large ones
/// must not keep everybody else from the workers. Outside of a request nobody waits.
pub(crate) async fn turn(bytes: u64) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
    turn_within(PATIENCE, bytes).await
}

async fn turn_within(
    patience: Duration,
    bytes: u64,
) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
    let turns = RESPONDING.try_with(|responding| Arc::clone(responding.memory.turns()));
    let Some(turns) = turns.ok().filter(|_| bytes > LARGE) else {
        return Ok(None);
    };
    // The semaphore is never closed.
    let waited = timeout(patience, turns.acquire_owned()).await;
    waited
        .map(Result::ok)
        .map_err(|_| ApiError::overloaded_by("The server is busy with other large responses"))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Memory without end.
    struct Endless(Arc<Semaphore>);

    impl ResponseMemory for Endless {
        fn check(&self, _: u64) -> Result<(), ApiError> {
            Ok(())
        }

        fn turns(&self) -> &Arc<Semaphore> {
            &self.0
        }
    }

    fn within_a_request<F: Future>(
        turns: &Arc<Semaphore>,
        work: F,
    ) -> impl Future<Output = F::Output> {
        let memory = Arc::new(Endless(Arc::clone(turns)));
        RESPONDING.scope(Responding { memory, cut: None }, work)
    }

    #[tokio::test]
    async fn a_large_response_waits_for_its_turn_and_a_small_one_does_not() {
        let turns = Arc::new(Semaphore::new(1));
        let large = || within_a_request(&turns, turn(LARGE + 1));
        let first = large().await.expect("a turn");
        assert!(first.is_some());
        let mut second = Box::pin(large());
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        let small = within_a_request(&turns, turn(LARGE)).now_or_never();
        assert!(small.expect("no wait").expect("no error").is_none());
        drop(first);
        assert!(second.await.expect("a turn").is_some());
    }

    #[tokio::test]
    async fn a_large_response_does_not_wait_for_ever() {
        let none = Arc::new(Semaphore::new(0));
        let waits = turn_within(Duration::from_millis(1), LARGE + 1);
        let error = within_a_request(&none, waits).await.expect_err("no turn");
        assert_eq!(error.status(), 503);
        let outside = turn(LARGE + 1).await.expect("outside of a request");
        assert!(outside.is_none());
    }
}
