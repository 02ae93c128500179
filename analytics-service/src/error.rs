//! What can go wrong with a poll, and what a client is told. A neighbour that is
//! down is no error here: what is known is the answer.

use chassis::error::ApiError;

use crate::poll::PollDied;

impl From<PollDied> for ApiError {
    fn from(error: PollDied) -> Self {
        Self::internal(error)
    }
}
