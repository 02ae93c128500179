//! Users in memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use chassis::contract::page::{Listing, Page};
use chassis::store::{Capacity, Table};
use chassis::values::id::Id;
use chassis::values::time::Timestamp;
use parking_lot::RwLock;

use crate::email;
use crate::error::UserError;
use crate::model::{Profile, User};

/// All users. One lock guards the records and the index by email, so that two users can
/// never have the same email.
#[derive(Debug, Default)]
pub struct UserStore {
    users: RwLock<Users>,
}

#[derive(Debug, Default)]
struct Users {
    table: Table<User>,
    by_email: HashMap<String, Id>,
}

impl UserStore {
    /// An empty store with this capacity.
    pub fn new(capacity: Capacity) -> Self {
        let users = Users {
            table: Table::new(capacity),
            by_email: HashMap::new(),
        };
        Self {
            users: RwLock::new(users),
        }
    }

    /// Adds a user. Fails if another user has the email.
    pub fn create(&self, profile: Profile) -> Result<Arc<User>, UserError> {
        let mut users = self.users.write();
        let Users { table, by_email } = &mut *users;
        let Entry::Vacant(free) = by_email.entry(email::key(&profile.email)) else {
            return Err(UserError::EmailTaken(profile.email));
        };
        let now = Timestamp::now();
        let user = table.insert(|id| User {
            id,
            name: profile.name,
            email: profile.email,
            created_at: now,
            updated_at: now,
        })?;
        free.insert(user.id);
        Ok(user)
    }

    /// A page of all users.
    pub fn list(&self, page: Page) -> Listing<User> {
        self.users.read().table.page(page)
    }

    /// The user with this id.
    pub fn find(&self, id: Id) -> Result<Arc<User>, UserError> {
        self.users
            .read()
            .table
            .get(id)
            .cloned()
            .ok_or(UserError::NotFound(id))
    }

    /// Replaces the name and the email of a user.
    pub fn replace(&self, id: Id, profile: Profile) -> Result<Arc<User>, UserError> {
        let mut users = self.users.write();
        let Users { table, by_email } = &mut *users;
        let user = table.get_mut(id).ok_or(UserError::NotFound(id))?;
        let (old, new) = (email::key(&user.email), email::key(&profile.email));
        if by_email.get(&new).is_some_and(|owner| *owner != id) {
            return Err(UserError::EmailTaken(profile.email));
        }
        by_email.remove(&old);
        by_email.insert(new, id);
        *user = Arc::new(User {
            name: profile.name,
            email: profile.email,
            updated_at: Timestamp::now(),
            ..**user
        });
        Ok(Arc::clone(user))
    }

    /// Removes all users. The next id is 1 again.
    pub fn clear(&self) {
        let mut users = self.users.write();
        users.table.clear();
        users.by_email.clear();
    }

    /// Whether there has been a user.
    pub fn was_used(&self) -> bool {
        self.users.read().table.was_used()
    }

    /// Removes a user. The email is free again.
    pub fn delete(&self, id: Id) -> Result<(), UserError> {
        let mut users = self.users.write();
        let user = users.table.remove(id).ok_or(UserError::NotFound(id))?;
        users.by_email.remove(&email::key(&user.email));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn profile(name: &str, email: &str) -> Profile {
        Profile {
            name: name.to_owned(),
            email: email.to_owned(),
        }
    }

    #[test]
    fn of_eight_concurrent_users_with_one_email_one_is_created() {
        let store = UserStore::default();
        let created = thread::scope(|scope| {
            let spellings = [
                "ada@example.com",
                "ADA@example.com",
                "Ada@Example.com",
                "ada@EXAMPLE.com",
            ];
            let attempts: Vec<_> = (0..8)
                .map(|n| {
                    scope.spawn({
                        let store = &store;
                        move || store.create(profile("Ada", spellings[n % 4])).is_ok()
                    })
                })
                .collect();
            attempts
                .into_iter()
                .map(|attempt| attempt.join().expect("no panic"))
                .filter(|ok| *ok)
                .count()
        });
        assert_eq!(created, 1);
        assert_eq!(store.list(Page::default()).total, 1);
    }

    #[test]
    fn an_email_follows_its_user() {
        let store = UserStore::default();
        let ada = store
            .create(profile("Ada", "ada@example.com"))
            .expect("free")
            .id;
        let bob = store
            .create(profile("Bob", "bob@example.com"))
            .expect("free")
            .id;

        let taken = store.replace(bob, profile("Bob", "ADA@example.com"));
        assert_eq!(
            taken,
            Err(UserError::EmailTaken("ADA@example.com".to_owned()))
        );
        store
            .replace(ada, profile("Ada L.", "Ada@example.com"))
            .expect("a user may keep the email");
        store
            .replace(ada, profile("Ada L.", "lovelace@example.com"))
            .expect("free");
        store
            .replace(bob, profile("Bob", "ada@example.com"))
            .expect("free again");
        store.delete(bob).expect("is there");
        assert_eq!(store.delete(bob), Err(UserError::NotFound(bob)));
        store
            .create(profile("Eve", "ada@example.com"))
            .expect("free again");
    }

    #[test]
    fn a_replaced_user_keeps_its_id_and_its_creation() {
        let store = UserStore::default();
        let before = store
            .create(profile("Ada", "ada@example.com"))
            .expect("free");
        let after = store
            .replace(before.id, profile("Grace", "grace@example.com"))
            .expect("is there");
        assert_eq!((after.id, after.created_at), (before.id, before.created_at));
        assert_eq!(store.find(before.id), Ok(after));
    }
}
