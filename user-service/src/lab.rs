//! What the lab does with the users.

use chassis::contract::error::ApiError;
use chassis::lab::data::Data;

use crate::model::Profile;
use crate::store::UserStore;

/// The users of the demo. The other services refer to them by their place: Ada is user 1.
const USERS: [(&str, &str); 3] = [
    ("Ada Lovelace", "ada@example.com"),
    ("Grace Hopper", "grace@example.com"),
    ("Alan Turing", "alan@example.com"),
];

impl Data for UserStore {
    fn clear(&self) {
        Self::clear(self);
    }

    fn was_used(&self) -> bool {
        Self::was_used(self)
    }

    fn seed(&self) -> Result<(), ApiError> {
        for (name, email) in USERS {
            self.create(Profile {
                name: name.to_owned(),
                email: email.to_owned(),
            })?;
        }
        Ok(())
    }
}
