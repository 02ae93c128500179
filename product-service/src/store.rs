//! Products in memory.

use std::sync::Arc;

use chassis::contract::page::{Listing, Page};
use chassis::store::{Capacity, Full, Table};
use chassis::values::id::Id;
use chassis::values::time::Timestamp;
use parking_lot::RwLock;

use crate::error::ProductError;
use crate::model::{Change, NewProduct, Product, StockChange};

/// The outcome of a change of stock: the product right after it.
pub type StockChanged = Result<Arc<Product>, ProductError>;

/// All products. A change reads and writes under one lock, so that no change is lost and
/// no piece is sold twice.
#[derive(Debug, Default)]
pub struct ProductStore {
    products: RwLock<Table<Product>>,
}

impl ProductStore {
    /// An empty store with this capacity.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            products: RwLock::new(Table::new(capacity)),
        }
    }

    /// Adds a product.
    pub fn create(&self, new: NewProduct) -> Result<Arc<Product>, Full> {
        let now = Timestamp::now();
        self.products.write().insert(|id| Product {
            id,
            name: new.name,
            price: new.price,
            stock: new.stock,
            seller_id: new.seller_id,
            created_at: now,
            updated_at: now,
        })
    }

    /// A page of all products.
    pub fn list(&self, page: Page) -> Listing<Product> {
        self.products.read().page(page)
    }

    /// The product with this id.
    pub fn find(&self, id: Id) -> Result<Arc<Product>, ProductError> {
        self.products
            .read()
            .get(id)
            .cloned()
            .ok_or(ProductError::NotFound(id))
    }

    /// Applies a change.
    pub fn change(&self, id: Id, change: Change) -> Result<Arc<Product>, ProductError> {
        self.update(id, |product| {
            change.apply(product);
            Ok(())
        })
    }

    /// Changes the stock of a product. Fails if there are too few pieces, or would be too many.
    pub fn change_stock(&self, change: StockChange) -> StockChanged {
        self.update(change.id, |product| {
            product.stock = product.stock_after(change.delta)?;
            Ok(())
        })
    }

    /// Removes a product.
    pub fn delete(&self, id: Id) -> Result<(), ProductError> {
        let removed = self.products.write().remove(id);
        removed.map(drop).ok_or(ProductError::NotFound(id))
    }

    /// Removes all products. The next id is 1 again.
    pub fn clear(&self) {
        self.products.write().clear();
    }

    /// Whether there has been a product.
    pub fn was_used(&self) -> bool {
        self.products.read().was_used()
    }

    /// Reads and writes a product under one lock. If `change` fails, it must not have
    /// modified the product.
    fn update(
        &self,
        id: Id,
        change: impl FnOnce(&mut Product) -> Result<(), ProductError>,
    ) -> Result<Arc<Product>, ProductError> {
        let mut products = self.products.write();
        let product = products.get_mut(id).ok_or(ProductError::NotFound(id))?;
        // A request that still serialises the product keeps the old version.
        let changed = Arc::make_mut(product);
        change(changed)?;
        changed.updated_at = Timestamp::now();
        Ok(Arc::clone(product))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use chassis::values::money::Money;

    use super::*;
    use crate::model::SellerChange;

    fn engines(stock: u32) -> NewProduct {
        NewProduct {
            name: "Analytical engine".to_owned(),
            price: Money::MAX_PRICE,
            stock,
            seller_id: None,
        }
    }

    #[test]
    fn of_fifty_concurrent_requests_for_the_last_five_pieces_five_succeed() {
        let store = ProductStore::default();
        let id = store.create(engines(5)).expect("capacity").id;
        let sold = thread::scope(|scope| {
            let takers: Vec<_> = (0..50)
                .map(|_| scope.spawn(|| store.change_stock(StockChange { id, delta: -1 }).is_ok()))
                .collect();
            takers
                .into_iter()
                .map(|taker| taker.join().expect("no panic"))
                .filter(|sold| *sold)
                .count()
        });
        assert_eq!(sold, 5);
        assert_eq!(store.find(id).expect("is there").stock, 0);
    }

    #[test]
    fn concurrent_additions_and_removals_add_up() {
        let store = ProductStore::default();
        let id = store.create(engines(100)).expect("capacity").id;
        thread::scope(|scope| {
            for n in 0..8 {
                let delta = if n % 2 == 0 { 1 } else { -1 };
                let store = &store;
                scope.spawn(move || {
                    for _ in 0..25 {
                        store
                            .change_stock(StockChange { id, delta })
                            .expect("never below zero");
                    }
                });
            }
        });
        assert_eq!(store.find(id).expect("is there").stock, 100);
    }

    #[test]
    fn a_refused_change_of_stock_changes_nothing() {
        let store = ProductStore::default();
        let before = store.create(engines(5)).expect("capacity");
        store
            .change_stock(StockChange {
                id: before.id,
                delta: -6,
            })
            .expect_err("one too many was asked for");
        assert_eq!(store.find(before.id), Ok(before));
    }

    #[test]
    fn a_change_keeps_other_fields_and_the_versions_that_readers_hold() {
        let store = ProductStore::default();
        let before = store.create(engines(5)).expect("capacity");
        let seller = Id::ZERO.next();
        let change = Change {
            name: Some("Difference engine".to_owned()),
            seller: SellerChange::Set(seller),
            ..Change::default()
        };
        let after = store.change(before.id, change).expect("is there");
        assert_eq!(before.name, "Analytical engine");
        assert_eq!(
            *after,
            Product {
                name: "Difference engine".to_owned(),
                seller_id: Some(seller),
                updated_at: after.updated_at,
                ..(*before).clone()
            }
        );

        let gone = ProductError::NotFound(before.id);
        store.delete(before.id).expect("is there");
        let one_more = StockChange {
            id: before.id,
            delta: 1,
        };
        assert_eq!(store.change_stock(one_more), Err(gone));
    }
}
