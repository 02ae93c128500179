//! The errors of user-service, and the error that a client gets for each.

use chassis::contract::error::ApiError;
use chassis::store::Full;
use chassis::values::id::Id;

/// Why a user could not be read or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserError {
    /// 404: there is no user with this id.
    NotFound(Id),
    /// 409: another user has this email, whatever its letter case.
    EmailTaken(String),
    /// 507: the store is at its limit.
    Full(Full),
}

impl From<Full> for UserError {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl From<UserError> for ApiError {
    fn from(error: UserError) -> Self {
        match error {
            UserError::NotFound(id) => Self::no_such("user", id),
            UserError::EmailTaken(email) => {
                Self::conflict(format!("Another user already has the email {email}"))
            }
            UserError::Full(full) => full.into(),
        }
    }
}
