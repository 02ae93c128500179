//! The data of a service that the lab resets and seeds.

use std::fmt;

use crate::contract::error::ApiError;
use crate::contract::idempotency::Keys;

/// Data of a service, such as its store.
pub trait Data: Send + Sync {
    /// Makes it as it was at the start: empty, and the next id is 1.
    fn clear(&self);

    /// Whether it is no longer as at the start: ids were given to records.
    fn was_used(&self) -> bool {
        false
    }

    /// Adds the data of the demo. It is called only while nothing [was used](Self::was_used).
    fn seed(&self) -> Result<(), ApiError> {
        Ok(())
    }
}

impl fmt::Debug for dyn Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Data")
    }
}

impl Data for Keys {
    fn clear(&self) {
        self.forget_all();
    }
}
