//! What can go wrong with orders, and the error that a client gets.

use chassis::contract::error::{ApiError, FieldError};
use chassis::store::Full;
use chassis::upstream::error::CallError;
use chassis::values::id::Id;

use crate::model::{PRODUCT_NOT_FOUND, USER_NOT_FOUND};

/// Why an order could not be placed, read or cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderError {
    /// 404: there is no order with this id.
    NotFound(Id),
    /// 400: the order names a user or a product that does not exist.
    Unknown {
        /// Whether it is the user.
        user: bool,
        /// Whether it is the product.
        product: bool,
    },
    /// 409: fewer in stock than asked for; the sentence of product-service says
    /// how many are left.
    InsufficientStock(String),
    /// 409: the order is cancelled already.
    AlreadyCancelled(Id),
    /// 409: product-service refused to take the stock back.
    NotTakenBack(String),
    /// 503: a required service does not answer, or fails, or this service is at its limit of
    /// calls to it.
    Unavailable(&'static str, CallError),
    /// 507: the store is at its limit.
    Full(Full),
}

impl From<Full> for OrderError {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::NotFound(id) => Self::no_such("order", id),
            OrderError::Unknown { user, product } => {
                let faults = [
                    (user, "userId", USER_NOT_FOUND),
                    (product, "productId", PRODUCT_NOT_FOUND),
                ];
                let faults = faults.into_iter().filter(|(unknown, ..)| *unknown);
                Self::validation(
                    faults
                        .map(|(_, field, sentence)| FieldError::new(field, sentence))
                        .collect(),
                )
            }
            OrderError::InsufficientStock(sentence) => Self::insufficient_stock(sentence),
            OrderError::AlreadyCancelled(id) => {
                Self::conflict(format!("Order {id} is already cancelled"))
            }
            OrderError::NotTakenBack(sentence) => {
                Self::conflict(format!("The stock cannot be returned: {sentence}"))
            }
            OrderError::Unavailable(service, cause) => cause.for_client(service),
            OrderError::Full(full) => full.into(),
        }
    }
}
