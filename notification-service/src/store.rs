//! Notifications in memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chassis::contract::page::{Listing, Page};
use chassis::store::{Capacity, Full, Table};
use chassis::values::id::Id;
use chassis::values::time::Timestamp;
use parking_lot::RwLock;

use crate::error::NotificationError;
use crate::model::{NewNotification, Notification};

/// All notifications. One lock guards the records and the index by user, so that they
/// never disagree.
#[derive(Debug, Default)]
pub struct NotificationStore {
    notifications: RwLock<Notifications>,
}

#[derive(Debug, Default)]
struct Notifications {
    table: Table<Notification>,
    /// No set is empty, or the index would grow with every user that ever had a
    /// notification.
    by_user: HashMap<String, BTreeSet<Id>>,
}

impl NotificationStore {
    /// An empty store with this capacity.
    pub fn new(capacity: Capacity) -> Self {
        let notifications = Notifications {
            table: Table::new(capacity),
            by_user: HashMap::new(),
        };
        Self {
            notifications: RwLock::new(notifications),
        }
    }

    /// Adds a notification, unread.
    pub fn create(&self, new: NewNotification) -> Result<Arc<Notification>, Full> {
        let mut notifications = self.notifications.write();
        let Notifications { table, by_user } = &mut *notifications;
        let notification = table.insert(|id| Notification {
            id,
            user_id: new.user_id.clone(),
            message: new.message,
            kind: new.kind,
            read: false,
            created_at: Timestamp::now(),
        })?;
        by_user
            .entry(new.user_id)
            .or_default()
            .insert(notification.id);
        Ok(notification)
    }

    /// A page of all notifications.
    pub fn list(&self, page: Page) -> Listing<Notification> {
        self.notifications.read().table.page(page)
    }

    /// A page of one user's notifications. The cost does not depend on those of other
    /// users.
    pub fn list_of_user(&self, user_id: &str, page: Page) -> Listing<Notification> {
        let notifications = self.notifications.read();
        match notifications.by_user.get(user_id) {
            Some(index) => notifications.table.page_of(index, page),
            None => Listing::empty(),
        }
    }

    /// Marks a notification as read. Marking it again changes nothing.
    pub fn mark_read(&self, id: Id) -> Result<Arc<Notification>, NotificationError> {
        let mut notifications = self.notifications.write();
        let notification = notifications
            .table
            .get_mut(id)
            .ok_or(NotificationError::NotFound(id))?;
        if !notification.read {
            Arc::make_mut(notification).read = true;
        }
        Ok(Arc::clone(notification))
    }

    /// Removes all notifications. The next id is 1 again.
    pub fn clear(&self) {
        let mut notifications = self.notifications.write();
        notifications.table.clear();
        notifications.by_user.clear();
    }

    /// Whether there has been a notification.
    pub fn was_used(&self) -> bool {
        self.notifications.read().table.was_used()
    }

    /// Removes a notification.
    pub fn delete(&self, id: Id) -> Result<(), NotificationError> {
        let mut notifications = self.notifications.write();
        let Notifications { table, by_user } = &mut *notifications;
        let gone = table.remove(id).ok_or(NotificationError::NotFound(id))?;
        if let Some(index) = by_user.get_mut(&gone.user_id) {
            index.remove(&id);
            if index.is_empty() {
                by_user.remove(&gone.user_id);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn to(user_id: &str) -> NewNotification {
        NewNotification {
            user_id: user_id.to_owned(),
            message: "Hello".to_owned(),
            kind: "info".to_owned(),
        }
    }

    fn ids(listing: &Listing<Notification>) -> Vec<String> {
        listing
            .records
            .iter()
            .map(|one| one.id.to_string())
            .collect()
    }

    /// Checks that the index has each record once, under its user, and nothing else.
    fn assert_consistent(store: &NotificationStore) {
        let notifications = store.notifications.read();
        for (user_id, index) in &notifications.by_user {
            assert!(!index.is_empty(), "{user_id:?} has an empty set");
            for id in index {
                let record = notifications.table.get(*id).expect("a record");
                assert_eq!(&record.user_id, user_id, "{id} is under another user");
            }
        }
        let indexed: usize = notifications.by_user.values().map(BTreeSet::len).sum();
        assert_eq!(indexed, notifications.table.len());
    }

    #[test]
    fn a_user_gets_only_their_own() {
        let store = NotificationStore::default();
        for user in ["ada", "bob", "ada"] {
            store.create(to(user)).expect("capacity");
        }
        let page = Page::default();
        assert_eq!(ids(&store.list(page)), ["1", "2", "3"]);
        assert_eq!(ids(&store.list_of_user("ada", page)), ["1", "3"]);
        assert_eq!(ids(&store.list_of_user("bob", page)), ["2"]);
        for nobody in ["eve", "", "ADA", " ada"] {
            let none = store.list_of_user(nobody, page);
            assert_eq!((none.records.len(), none.total), (0, 0), "{nobody:?}");
        }
        assert_consistent(&store);
    }

    #[test]
    fn a_user_without_notifications_is_not_in_the_index() {
        let store = NotificationStore::default();
        let ids: Vec<_> = ["ada", "bob", "ada"]
            .map(|user| store.create(to(user)).expect("capacity").id)
            .into();
        for (id, users_left) in ids.iter().zip([2, 1, 0]) {
            store.delete(*id).expect("is there");
            assert_consistent(&store);
            assert_eq!(store.notifications.read().by_user.len(), users_left);
            assert_eq!(store.delete(*id), Err(NotificationError::NotFound(*id)));
        }
        assert_eq!(store.list(Page::default()).total, 0);
    }

    #[test]
    fn marking_as_read_twice_is_marking_once() {
        let store = NotificationStore::default();
        let sent = store.create(to("ada")).expect("capacity");
        let read = store.mark_read(sent.id).expect("is there");
        assert_eq!(store.mark_read(sent.id), Ok(Arc::clone(&read)));
        assert_eq!((sent.read, read.read), (false, true));
        let unread = Notification {
            read: false,
            ..Notification::clone(&read)
        };
        assert_eq!(unread, *sent, "nothing else has changed");
        store.delete(sent.id).expect("is there");
        assert_eq!(
            store.mark_read(sent.id),
            Err(NotificationError::NotFound(sent.id))
        );
    }

    #[test]
    fn the_index_is_right_after_concurrent_sending_and_deleting() {
        let store = NotificationStore::default();
        let deleted: usize = thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|worker| {
                    let store = &store;
                    scope.spawn(move || {
                        let user = ["ada", "bob", "eve"][worker % 3];
                        let mut deleted = 0;
                        for n in 0..100 {
                            let id = store.create(to(user)).expect("capacity").id;
                            store.mark_read(id).expect("is there");
                            if n % 2 == 0 {
                                store.delete(id).expect("is there");
                                deleted += 1;
                            }
                        }
                        deleted
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("no panic"))
                .sum()
        });
        assert_consistent(&store);
        assert_eq!(store.list(Page::default()).total, 800 - deleted);
    }

    #[test]
    fn of_eight_concurrent_deletions_one_succeeds() {
        let store = NotificationStore::default();
        let id = store.create(to("ada")).expect("capacity").id;
        store.create(to("ada")).expect("capacity");
        let deleted = thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| store.delete(id).is_ok()))
                .collect();
            tries
                .into_iter()
                .filter_map(|one| one.join().expect("no panic").then_some(()))
                .count()
        });
        assert_eq!(deleted, 1);
        assert_consistent(&store);
        assert_eq!(ids(&store.list_of_user("ada", Page::default())), ["2"]);
    }
}
