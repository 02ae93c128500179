//! What the lab does with the notifications.

use chassis::contract::error::ApiError;
use chassis::lab::data::Data;

use crate::model::NewNotification;
use crate::store::NotificationStore;

/// The users of the orders of the demo, in the order of their orders.
const USERS: [&str; 3] = ["1", "2", "2"];

impl Data for NotificationStore {
    fn clear(&self) {
        Self::clear(self);
    }

    fn was_used(&self) -> bool {
        Self::was_used(self)
    }

    fn seed(&self) -> Result<(), ApiError> {
        for (place, user) in USERS.into_iter().enumerate() {
            self.create(NewNotification {
                user_id: user.to_owned(),
                message: format!("Your order #{} has been confirmed", place + 1),
                kind: "order_confirmation".to_owned(),
            })?;
        }
        Ok(())
    }
}
