//! What the response to the current request may be: whether the memory for another large one is
//! free, asked before the response is made, because making it takes memory and time; and whether
//! the lab cuts it.

use std::sync::Arc;

use crate::contract::cut::Cut;
use crate::contract::error::ApiError;

/// The memory for responses that clients have not read yet.
pub(crate) trait ResponseMemory: Send + Sync {
    /// An error if a response of `bytes` does not fit.
    fn check(&self, bytes: u64) -> Result<(), ApiError>;
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
