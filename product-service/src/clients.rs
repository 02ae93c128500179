//! The client for user-service, the one service that product-service calls.

use chassis::upstream::client::Upstream;
use chassis::upstream::error::CallError;
use chassis::values::id::Id;
use serde::Deserialize;

use crate::error::ProductError;

/// The client for user-service. Sellers are users.
#[derive(Clone, Debug)]
pub struct Sellers(Upstream);

/// The fields of a user that a product needs.
#[derive(Debug, Deserialize)]
struct User {
    id: Id,
}

impl Sellers {
    /// A client over `upstream`.
    pub fn new(upstream: Upstream) -> Self {
        Self(upstream)
    }

    /// Checks that the seller, if any, is a user. If user-service does not answer, the
    /// error is `Unavailable`, never `UnknownSeller`.
    pub async fn check(&self, seller: Option<Id>) -> Result<(), ProductError> {
        let Some(id) = seller else { return Ok(()) };
        let path = format!("/api/users/{id}");
        match self.0.get(&path).find::<User>().await {
            Ok(Some(user)) if user.id == id => Ok(()),
            Ok(Some(other)) => Err(self.unavailable(CallError::other_record(id, other.id))),
            Ok(None) => Err(ProductError::UnknownSeller),
            Err(cause) => Err(self.unavailable(cause)),
        }
    }

    fn unavailable(&self, cause: CallError) -> ProductError {
        ProductError::Unavailable(self.0.name(), cause)
    }
}
