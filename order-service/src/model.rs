//! Orders, and their validation.

use std::str::FromStr;

use chassis::contract::body::{Field, Form, whole};
use chassis::contract::error::ApiError;
use chassis::values::id::Id;
use chassis::values::money::{Money, Number};
use chassis::values::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The message for a user that does not exist.
pub const USER_NOT_FOUND: &str = "User not found";

/// The message for a product that does not exist.
pub const PRODUCT_NOT_FOUND: &str = "Product not found";

/// An order of the shop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// The id.
    pub id: Id,
    /// The user who ordered.
    pub user_id: Id,
    /// The product that was ordered.
    pub product_id: Id,
    /// How many pieces.
    #[schema(minimum = 1, maximum = 10_000, examples(2))]
    pub quantity: u32,
    /// The price of one piece when the stock was taken.
    pub unit_price: Money,
    /// The price of all pieces, exact.
    #[schema(value_type = f64, examples(39.98))]
    pub total_price: Money,
    /// Whether the order is confirmed or cancelled.
    pub status: Status,
    /// Whether the user was notified.
    pub notification: Notification,
    /// When it was placed.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The id of an order, in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderId(pub Id);

impl FromStr for OrderId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        Id::in_path("order", text).map(Self)
    }
}

/// The id of a user, in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserId(pub Id);

impl FromStr for UserId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        Id::in_path("user", text).map(Self)
    }
}

/// The status of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The order stands.
    Confirmed,
    /// The order was cancelled, and its stock returned.
    Cancelled,
}

/// Whether the user was notified of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Notification {
    /// notification-service accepted the message.
    Sent,
    /// It did not. The order stands.
    Failed,
}

/// The body that places an order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderBody {
    #[serde(default)]
    #[schema(value_type = String, required = true, examples("1"))]
    user_id: Field<String>,
    #[serde(default)]
    #[schema(value_type = String, required = true, examples("1"))]
    product_id: Field<String>,
    #[serde(default)]
    #[schema(value_type = u32, required = true, minimum = 1, maximum = 10_000, examples(2))]
    quantity: Field<Number>,
}

/// A valid new order. Whether its user and product exist is not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NewOrder {
    /// The user who orders.
    pub user_id: Id,
    /// The product to order.
    pub product_id: Id,
    /// How many pieces.
    pub quantity: u32,
}

impl NewOrder {
    /// Checks a body. The error names every invalid field. A malformed id is an
    /// unknown id.
    pub fn parse(body: OrderBody) -> Result<Self, ApiError> {
        let mut form = Form::default();
        let user_id = id(&mut form, "userId", body.user_id, USER_NOT_FOUND);
        let product_id = id(&mut form, "productId", body.product_id, PRODUCT_NOT_FOUND);
        let quantity = form.required("quantity", body.quantity, whole(1..=10_000));
        form.finish(|| {
            Some(Self {
                user_id: user_id?,
                product_id: product_id?,
                quantity: quantity?,
            })
        })
    }
}

fn id(form: &mut Form, name: &str, field: Field<String>, unknown: &str) -> Option<Id> {
    let text = form.required(name, field, Ok)?;
    let id = text.parse().ok();
    if id.is_none() {
        form.reject(name, unknown);
    }
    id
}

/// The totals of all orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Orders that stand.
    pub confirmed: u64,
    /// Orders that were cancelled.
    pub cancelled: u64,
    /// The sum of the orders that stand.
    pub revenue: Money,
}

/// The answer of `GET /api/orders/stats`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Stats {
    /// All orders.
    #[schema(examples(3))]
    total: u64,
    /// Orders that stand.
    #[schema(examples(2))]
    confirmed: u64,
    /// Orders that were cancelled.
    #[schema(examples(1))]
    cancelled: u64,
    /// The sum of the orders that stand.
    #[schema(value_type = f64, examples(79.96))]
    revenue: Money,
    /// The time of the answer.
    timestamp: Timestamp,
}

impl From<Totals> for Stats {
    fn from(
        Totals {
            confirmed,
            cancelled,
            revenue,
        }: Totals,
    ) -> Self {
        Self {
            total: confirmed + cancelled,
            confirmed,
            cancelled,
            revenue,
            timestamp: Timestamp::now(),
        }
    }
}
