//! Orders in memory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chassis::contract::page::{Listing, Page};
use chassis::store::{Capacity, Full, Table};
use chassis::values::id::Id;
use chassis::values::money::Money;
use chassis::values::time::Timestamp;
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::error::OrderError;
use crate::model::{NewOrder, Notification, Order, Status, Totals};

/// All orders. One lock guards the records, the index by user and the totals, so that
/// they never disagree.
#[derive(Debug, Default)]
pub struct OrderStore {
    orders: RwLock<Orders>,
    /// Wakes those who wait for a claim, whenever one has ended.
    claim_ended: Notify,
}

#[derive(Debug, Default)]
struct Orders {
    table: Table<Order>,
    by_user: HashMap<Id, BTreeSet<Id>>,
    /// The orders that a request has claimed, to cancel them.
    claimed: HashSet<Id>,
    totals: Totals,
}

/// The right to cancel an order, which one request has at a time. It ends when this is
/// dropped, also by a panic.
#[derive(Debug)]
pub struct Claim {
    store: Arc<OrderStore>,
    order: Arc<Order>,
}

impl Claim {
    /// The order.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Cancels the order, whose stock is returned; it no longer counts as revenue.
    pub fn cancelled(self) -> Result<Arc<Order>, OrderError> {
        self.store.cancelled(self.order.id)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.store.orders.write().claimed.remove(&self.order.id);
        self.store.claim_ended.notify_waiters();
    }
}

impl OrderStore {
    /// An empty store with this capacity.
    pub fn new(capacity: Capacity) -> Self {
        let orders = Orders {
            table: Table::new(capacity),
            ..Orders::default()
        };
        Self {
            orders: RwLock::new(orders),
            claim_ended: Notify::new(),
        }
    }

    /// Fails if the store is full.
    pub fn check_capacity(&self) -> Result<(), Full> {
        self.orders.read().table.check_capacity()
    }

    /// Adds a confirmed order; its user is not notified yet.
    pub fn save(&self, new: NewOrder, unit_price: Money) -> Result<Arc<Order>, Full> {
        let mut orders = self.orders.write();
        let now = Timestamp::now();
        let order = orders.table.insert(|id| Order {
            id,
            user_id: new.user_id,
            product_id: new.product_id,
            quantity: new.quantity,
            unit_price,
            total_price: unit_price.times(new.quantity),
            status: Status::Confirmed,
            notification: Notification::Failed,
            created_at: now,
            updated_at: now,
        })?;
        orders
            .by_user
            .entry(order.user_id)
            .or_default()
            .insert(order.id);
        orders.totals.confirmed += 1;
        orders.totals.revenue = orders.totals.revenue + order.total_price;
        Ok(order)
    }

    /// Marks the order's user as notified.
    pub fn notified(&self, id: Id) -> Result<Arc<Order>, OrderError> {
        let mut orders = self.orders.write();
        let order = orders.table.get_mut(id).ok_or(OrderError::NotFound(id))?;
        Arc::make_mut(order).notification = Notification::Sent;
        Ok(Arc::clone(order))
    }

    /// A page of all orders.
    pub fn list(&self, page: Page) -> Listing<Order> {
        self.orders.read().table.page(page)
    }

    /// A page of the orders of one user.
    pub fn list_of_user(&self, user_id: Id, page: Page) -> Listing<Order> {
        let orders = self.orders.read();
        orders
            .by_user
            .get(&user_id)
            .map_or_else(Listing::empty, |index| orders.table.page_of(index, page))
    }

    /// The order with this id.
    pub fn find(&self, id: Id) -> Result<Arc<Order>, OrderError> {
        self.orders
            .read()
            .table
            .get(id)
            .cloned()
            .ok_or(OrderError::NotFound(id))
    }

    /// Removes all orders. The next id is 1 again.
    pub fn clear(&self) {
        let mut orders = self.orders.write();
        orders.table.clear();
        orders.by_user.clear();
        orders.claimed.clear();
        orders.totals = Totals::default();
    }

    /// Whether there has been an order.
    pub fn was_used(&self) -> bool {
        self.orders.read().table.was_used()
    }

    /// The totals of all orders.
    pub fn totals(&self) -> Totals {
        self.orders.read().totals
    }

    /// Claims an order for cancelling. While another request has the claim, waits until it
    /// ends.
    pub async fn claim_cancel(self: &Arc<Self>, id: Id) -> Result<Claim, OrderError> {
        loop {
            // Made before the look, so that no end in between is missed.
            let ended = self.claim_ended.notified();
            if let Some(claim) = self.try_claim_cancel(id)? {
                return Ok(claim);
            }
            ended.await;
        }
    }

    /// Claims an order for cancelling, unless another request has the claim.
    fn try_claim_cancel(self: &Arc<Self>, id: Id) -> Result<Option<Claim>, OrderError> {
        let mut orders = self.orders.write();
        let order = orders
            .table
            .get(id)
            .cloned()
            .ok_or(OrderError::NotFound(id))?;
        if order.status == Status::Cancelled {
            return Err(OrderError::AlreadyCancelled(id));
        }
        let is_free = orders.claimed.insert(id);
        Ok(is_free.then(|| Claim {
            store: Arc::clone(self),
            order,
        }))
    }

    /// Cancels an order, whoever has the claim.
    pub(crate) fn cancelled(&self, id: Id) -> Result<Arc<Order>, OrderError> {
        let mut orders = self.orders.write();
        let Orders { table, totals, .. } = &mut *orders;
        let order = table.get_mut(id).ok_or(OrderError::NotFound(id))?;
        let changed = Arc::make_mut(order);
        changed.status = Status::Cancelled;
        changed.updated_at = Timestamp::now();
        totals.confirmed -= 1;
        totals.cancelled += 1;
        totals.revenue = totals.revenue - changed.total_price;
        Ok(Arc::clone(order))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use futures_util::FutureExt;

    use super::*;

    fn id(n: u64) -> Id {
        n.to_string().parse().expect("an id")
    }

    fn price(json: &str) -> Money {
        serde_json::from_str(json).expect("an amount")
    }

    fn new(user: u64, quantity: u32) -> NewOrder {
        NewOrder {
            user_id: id(user),
            product_id: id(1),
            quantity,
        }
    }

    #[test]
    fn of_eight_who_cancel_at_once_one_does() {
        let store = Arc::new(OrderStore::default());
        let order = store.save(new(1, 2), price("19.99")).expect("capacity").id;
        let cancelled = thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let claim = store.try_claim_cancel(order);
                        claim.map(|claim| claim.map(Claim::cancelled))
                    })
                })
                .collect();
            tries
                .into_iter()
                .filter_map(|one| one.join().expect("no panic").ok().flatten()?.ok())
                .count()
        });
        assert_eq!(cancelled, 1);
        assert_eq!(
            store.totals(),
            Totals {
                confirmed: 0,
                cancelled: 1,
                revenue: Money::ZERO
            }
        );
    }

    #[test]
    fn an_order_whose_cancelling_failed_can_be_cancelled_again() {
        let store = Arc::new(OrderStore::default());
        let order = store.save(new(1, 2), price("19.99")).expect("capacity").id;
        let claim = || store.try_claim_cancel(order);
        let first = claim().expect("confirmed").expect("free");
        assert!(claim().expect("confirmed").is_none(), "it is claimed");
        drop(first);
        let second = claim().expect("confirmed still").expect("free again");
        let panicked = thread::spawn(move || {
            let _claim = second;
            panic!("as the test wants");
        });
        panicked.join().expect_err("it panics");
        let third = claim().expect("confirmed still").expect("free again");
        third.cancelled().expect("claimed");
        assert_eq!(claim().err(), Some(OrderError::AlreadyCancelled(order)));
        let unknown = store.try_claim_cancel(id(9));
        assert_eq!(unknown.err(), Some(OrderError::NotFound(id(9))));
        assert!(store.orders.read().claimed.is_empty());
    }

    #[tokio::test]
    async fn who_finds_an_order_claimed_waits_for_the_outcome() {
        let store = Arc::new(OrderStore::default());
        let order = store.save(new(1, 2), price("19.99")).expect("capacity").id;
        let claim = store.claim_cancel(order).await.expect("confirmed");
        let mut waiting = [(); 3].map(|()| Box::pin(store.claim_cancel(order)));
        for wait in &mut waiting {
            assert!(wait.now_or_never().is_none(), "it is claimed");
        }
        claim.cancelled().expect("claimed");
        for wait in waiting {
            let told = wait.now_or_never().expect("it has ended");
            assert_eq!(told.err(), Some(OrderError::AlreadyCancelled(order)));
        }
    }

    #[test]
    fn totals_and_index_follow_the_orders() {
        let store = OrderStore::default();
        for user in [1, 2, 1] {
            store.save(new(user, 3), price("0.1")).expect("capacity");
        }
        let of = |user| store.list_of_user(id(user), Page::default()).total;
        assert_eq!((of(1), of(2), of(3)), (2, 1, 0));
        assert_eq!(
            store.totals(),
            Totals {
                confirmed: 3,
                cancelled: 0,
                revenue: price("0.9")
            }
        );
    }
}
