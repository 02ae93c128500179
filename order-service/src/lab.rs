//! What the lab does with the orders.

use std::sync::Arc;

use chassis::contract::error::ApiError;
use chassis::lab::data::Data;
use chassis::values::id::Id;
use chassis::values::money::Money;

use crate::error::OrderError;
use crate::model::{NewOrder, Order};
use crate::store::OrderStore;

impl OrderStore {
    fn seed_one(
        &self,
        user_id: Id,
        product_id: Id,
        quantity: u32,
        cents: u32,
    ) -> Result<Arc<Order>, OrderError> {
        let new = NewOrder {
            user_id,
            product_id,
            quantity,
        };
        let order = self.save(new, Money::from_cents(cents))?;
        self.notified(order.id)
    }
}

impl Data for OrderStore {
    fn clear(&self) {
        Self::clear(self);
    }

    fn was_used(&self) -> bool {
        Self::was_used(self)
    }

    /// The orders of the demo. Their users, products and prices are those that the other
    /// services have; the last one is cancelled.
    fn seed(&self) -> Result<(), ApiError> {
        let ada = Id::ZERO.next();
        let grace = ada.next();
        let keyboard = Id::ZERO.next();
        let engine = keyboard.next();
        let teapot = engine.next();
        self.seed_one(ada, keyboard, 2, 1999)?;
        self.seed_one(grace, teapot, 1, 2450)?;
        let last = self.seed_one(grace, engine, 1, 499_900)?;
        self.cancelled(last.id)?;
        Ok(())
    }
}
