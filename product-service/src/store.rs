//! Products in memory.

use std::sync::Arc;

use chassis::contract::page::{Listing, Page};
use chassis::store::{Capacity, Full, Table};
use chassis::values::id::Id;
use chassis::values::time::Timestamp;
use parking_lot::RwLock;

use crate::error::ProductError;
use crate::model::{Change, NewProduct, Product, StockChange};

/// What became of a change of stock: the product as it was right after it.
pub type StockChanged = Result<Arc<Product>, ProductError>;

/// All products. A change reads and writes under one lock, so that none is lost
/// and stock is never sold twice.
#[derive(Debug, Default)]
pub struct ProductStore {
    products: RwLock<Table<Product>>,
}

impl ProductStore {
    /// No products yet, and never more than `capacity` has.
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

    /// Makes the whole of a change.
    pub fn change(&self, id: Id, change: Change) -> Result<Arc<Product>, ProductError> {
        self.update(id, |product| {
            change.apply(product);
            Ok(())
        })
    }

    /// Changes the stock of a product, unless there are too few.
    pub fn change_stock(&self, change: StockChange) -> StockChanged {
        self.update(change.id, |product| {
            product.stock = product.stock_after(change.delta)?;
            Ok(())
        })
    }

    /// Takes a product out.
    pub fn delete(&self, id: Id) -> Result<(), ProductError> {
        let removed = self.products.write().remove(id);
        removed.map(drop).ok_or(ProductError::NotFound(id))
    }

    /// Reads and writes a product under one lock. `change` must leave the
    /// product as it was if it fails.
    fn update(
        &self,
        id: Id,
        change: impl FnOnce(&mut Product) -> Result<(), ProductError>,
    ) -> Result<Arc<Product>, ProductError> {
        let mut products = self.products.write();
        let product = products.get_mut(id).ok_or(ProductError::NotFound(id))?;
        // Whoever is still writing the product as JSON keeps it as it was.
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
    fn fifty_takers_of_the_last_five_leave_none_and_get_five() {
        let store = ProductStore::default();
        let id = store.create(engines(5)).expect("room").id;
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
    fn stock_that_comes_and_goes_at_once_adds_up() {
        let store = ProductStore::default();
        let id = store.create(engines(100)).expect("room").id;
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
        let before = store.create(engines(5)).expect("room");
        store
            .change_stock(StockChange {
                id: before.id,
                delta: -6,
            })
            .expect_err("one too many was asked for");
        assert_eq!(store.find(before.id), Ok(before));
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name_and_whoever_reads_meanwhile() {
        let store = ProductStore::default();
        let before = store.create(engines(5)).expect("room");
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
