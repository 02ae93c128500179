//! The service that product-service calls, in its own words.

use chassis::upstream::client::Upstream;
use chassis::upstream::error::CallError;
use chassis::values::id::Id;
use serde::Deserialize;

use crate::error::ProductError;

/// user-service: who can sell.
#[derive(Clone, Debug)]
pub struct Sellers(Upstream);

/// A user, as much of one as a product needs.
#[derive(Debug, Deserialize)]
struct User {
    id: Id,
}

impl Sellers {
    /// The users of this service.
    pub fn new(upstream: Upstream) -> Self {
        Self(upstream)
    }

    /// Checks that the seller, if there is to be one, is a user. That nobody
    /// could be asked is never taken for a no.
    pub async fn check(&self, seller: Option<Id>) -> Result<(), ProductError> {
        let Some(id) = seller else { return Ok(()) };
        let path = format!("/api/users/{id}");
        match self.0.get(&path).find::<User>().await {
            Ok(Some(user)) if user.id == id => Ok(()),
            Ok(Some(other)) => Err(self.unavailable(CallError::Unusable(format!(
                "asked for user {id}, got {}",
                other.id
            )))),
            Ok(None) => Err(ProductError::UnknownSeller),
            Err(cause) => Err(self.unavailable(cause)),
        }
    }

    fn unavailable(&self, cause: CallError) -> ProductError {
        ProductError::Unavailable(self.0.name(), cause)
    }
}
