//! The errors of notification-service, and the error that a client gets for each.

use chassis::contract::error::ApiError;
use chassis::values::id::Id;

/// Why a notification could not be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotificationError {
    /// 404: there is no notification with this id.
    NotFound(Id),
}

impl From<NotificationError> for ApiError {
    fn from(error: NotificationError) -> Self {
        match error {
            NotificationError::NotFound(id) => Self::no_such("notification", id),
        }
    }
}
