//! Whether the memory for another large response is free: asked before the response is made,
//! because making it takes memory and time.

use std::sync::Arc;

use crate::contract::error::ApiError;

/// The memory for responses that clients have not read yet.
pub(crate) trait ResponseMemory: Send + Sync {
    /// An error if a response of `bytes` does not fit.
    fn check(&self, bytes: u64) -> Result<(), ApiError>;
}

tokio::task_local! {
    /// The memory for the response to the current request.
    pub(crate) static RESPONSE_MEMORY: Arc<dyn ResponseMemory>;
}

/// An error if a response of `bytes` does not fit. Outside of a request there is no limit.
pub(crate) fn check(bytes: u64) -> Result<(), ApiError> {
    RESPONSE_MEMORY
        .try_with(|memory| memory.check(bytes))
        .unwrap_or(Ok(()))
}
