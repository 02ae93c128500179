//! Whether there is room for another large response: asked before it is made, because making it
//! takes memory and time.

use std::sync::Arc;

use crate::contract::error::ApiError;

/// What knows how much room there is.
pub(crate) trait Room: Send + Sync {
    /// An error if there is no room for a response of `bytes`.
    fn check(&self, bytes: u64) -> Result<(), ApiError>;
}

tokio::task_local! {
    /// The room for the response to the current request.
    pub(crate) static ROOM: Arc<dyn Room>;
}

/// An error if there is no room for a response of `bytes`. Outside of a request there is.
pub(crate) fn check(bytes: u64) -> Result<(), ApiError> {
    ROOM.try_with(|room| room.check(bytes)).unwrap_or(Ok(()))
}
