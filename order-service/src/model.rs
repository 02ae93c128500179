//! Orders, and the rules for one.

use std::str::FromStr;

use chassis::contract::body::{Field, Form, whole};
use chassis::contract::error::ApiError;
use chassis::values::id::Id;
use chassis::values::money::{Money, Number};
use chassis::values::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a client is told of an order for a user that does not exist.
pub const USER_NOT_FOUND: &str = "User not found";

/// What a client is told of an order for a product that does not exist.
pub const PRODUCT_NOT_FOUND: &str = "Product not found";

/// An order of the shop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// The id.
    pub id: Id,
    /// Who ordered.
    pub user_id: Id,
    /// What was ordered.
    pub product_id: Id,
    /// How many pieces.
    #[schema(minimum = 1, maximum = 10_000, examples(2))]
    pub quantity: u32,
    /// The price of one piece as the stock was taken.
    pub unit_price: Money,
    /// The price of all pieces, exact.
    pub total_price: Money,
    /// Whether it stands.
    pub status: Status,
    /// Whether the user was told.
    pub notification: Notification,
    /// When it was placed.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The id of an order, as it stands in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderId(pub Id);

impl FromStr for OrderId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        Id::in_path("order", text).map(Self)
    }
}

/// The id of a user, as it stands in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserId(pub Id);

impl FromStr for UserId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        Id::in_path("user", text).map(Self)
    }
}

/// Whether an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does.
    Confirmed,
    /// It was cancelled, and its stock given back.
    Cancelled,
}

/// Whether the user was told of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Notification {
    /// notification-service took the message.
    Sent,
    /// It did not; the order stands all the same.
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

/// What is to be ordered; the quantity is valid and the ids could exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// Who orders.
    pub user_id: Id,
    /// What is ordered.
    pub product_id: Id,
    /// How many pieces.
    pub quantity: u32,
}

impl NewOrder {
    /// Checks a body; every field at fault is named. An id that is malformed
    /// belongs to nobody, and goes no further than this.
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
    let id = text.trim().parse().ok();
    if id.is_none() {
        form.reject(name, unknown);
    }
    id
}

/// What all orders come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Orders that stand.
    pub confirmed: u64,
    /// Orders that were cancelled.
    pub cancelled: u64,
    /// What the orders that stand bring in.
    pub revenue: Money,
}

/// The answer of `GET /api/orders/stats`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Stats {
    /// All orders.
    total: u64,
    /// Orders that stand.
    confirmed: u64,
    /// Orders that were cancelled.
    cancelled: u64,
    /// What the orders that stand bring in.
    revenue: Money,
    /// When this was so.
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
