//! The errors of product-service, and the error that a client gets for each.

use chassis::contract::error::{ApiError, FieldError};
use chassis::upstream::error::CallError;
use chassis::values::id::Id;

use crate::model::{MAX_STOCK, USER_NOT_FOUND};

/// Why a product could not be read or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProductError {
    /// 404: there is no product with this id.
    NotFound(Id),
    /// 400: the seller is not a user.
    UnknownSeller,
    /// 409: fewer in stock than asked for.
    InsufficientStock {
        /// The product.
        id: Id,
        /// How many are left.
        left: u32,
        /// How many were asked for.
        wanted: u64,
    },
    /// 400: the stock would exceed the maximum.
    TooMuchStock {
        /// The stock after the change.
        total: i64,
    },
    /// 503: a required service does not answer, or fails, or this service is at its limit of
    /// calls to it.
    Unavailable(&'static str, CallError),
}

impl From<ProductError> for ApiError {
    fn from(error: ProductError) -> Self {
        match error {
            ProductError::NotFound(id) => Self::no_such("product", id),
            ProductError::UnknownSeller => {
                Self::validation(vec![FieldError::new("sellerId", USER_NOT_FOUND)])
            }
            ProductError::InsufficientStock { id, left, wanted } => Self::insufficient_stock(
                format!("Product {id} has only {left} left in stock, and {wanted} were asked for"),
            ),
            ProductError::TooMuchStock { total } => Self::validation(vec![FieldError::new(
                "delta",
                format!("delta would bring the stock to {total}; the most is {MAX_STOCK}"),
            )]),
            ProductError::Unavailable(service, cause) => cause.for_client(service),
        }
    }
}
