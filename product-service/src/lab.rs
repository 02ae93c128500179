//! What the lab does with the products.

use chassis::contract::error::ApiError;
use chassis::lab::data::Data;
use chassis::values::id::Id;
use chassis::values::money::Money;

use crate::model::NewProduct;
use crate::store::ProductStore;

/// The products of the demo: the name, the price in cents, and the stock that the orders of the
/// demo have left. The keyboard is product 1.
const PRODUCTS: [(&str, u32, u32); 3] = [
    ("Keyboard", 1999, 8),
    ("Analytical engine", 499_900, 3),
    ("Teapot", 2450, 39),
];

impl Data for ProductStore {
    fn clear(&self) {
        Self::clear(self);
    }

    fn was_used(&self) -> bool {
        Self::was_used(self)
    }

    fn seed(&self) -> Result<(), ApiError> {
        // User 1 sells all of them.
        let seller = Id::ZERO.next();
        for (name, cents, stock) in PRODUCTS {
            self.create(NewProduct {
                name: name.to_owned(),
                price: Money::from_cents(cents),
                stock,
                seller_id: Some(seller),
            })?;
        }
        Ok(())
    }
}
