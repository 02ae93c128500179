//! Products, and their validation.

use std::str::FromStr;

use chassis::contract::body::{Field, Form, money, text, whole};
use chassis::contract::error::ApiError;
use chassis::values::id::Id;
use chassis::values::money::{Money, Number};
use chassis::values::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ProductError;

/// The largest stock of a product.
pub const MAX_STOCK: u32 = 1_000_000_000;

/// The message for a seller that does not exist.
pub const USER_NOT_FOUND: &str = "User not found";

/// A product of the shop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// The id.
    pub id: Id,
    /// The name, 1 to 200 characters.
    #[schema(examples("Analytical engine"))]
    pub name: String,
    /// The price of one piece.
    pub price: Money,
    /// How many pieces are in stock.
    #[schema(minimum = 0, maximum = 1_000_000_000, examples(10))]
    pub stock: u32,
    /// The user who sells it, if any.
    #[schema(required = true)]
    pub seller_id: Option<Id>,
    /// When the product was created.
    pub created_at: Timestamp,
    /// When the product, or its stock, was last changed.
    pub updated_at: Timestamp,
}

impl Product {
    /// The stock after `delta` is added.
    pub fn stock_after(&self, delta: i64) -> Result<u32, ProductError> {
        let total = i64::from(self.stock) + delta;
        match u32::try_from(total) {
            Ok(stock @ 0..=MAX_STOCK) => Ok(stock),
            _ if total < 0 => Err(ProductError::InsufficientStock {
                id: self.id,
                left: self.stock,
                wanted: delta.unsigned_abs(),
            }),
            _ => Err(ProductError::TooMuchStock { total }),
        }
    }
}

/// The id of a product, in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductId(pub Id);

impl FromStr for ProductId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        Id::in_path("product", text).map(Self)
    }
}

/// The body that creates a product.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewProductBody {
    #[serde(default)]
    #[schema(value_type = String, required = true, min_length = 1, max_length = 200, pattern = r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]", examples("Analytical engine"))]
    name: Field<String>,
    /// An amount with at most two decimals.
    #[serde(default)]
    #[schema(value_type = f64, required = true, minimum = 0, maximum = 1_000_000_000, examples(19.99))]
    price: Field<Number>,
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 1_000_000_000, default = 0, examples(10))]
    stock: Field<Number>,
    #[serde(default)]
    #[schema(value_type = Option<String>, examples(json!(null)))]
    seller_id: Field<String>,
}

/// A valid new product. Its seller is not checked yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NewProduct {
    /// 1 to 200 characters.
    pub name: String,
    /// The price of one piece.
    pub price: Money,
    /// How many pieces are in stock.
    pub stock: u32,
    /// The user who sells it, if any.
    pub seller_id: Option<Id>,
}

impl NewProduct {
    /// Checks a body. The error names every invalid field.
    pub fn parse(body: NewProductBody) -> Result<Self, ApiError> {
        let mut form = Form::default();
        let name = form.required("name", body.name, text(1..=200));
        let price = form.required("price", body.price, money(Money::MAX_PRICE));
        let stock = form.optional("stock", body.stock, whole(0..=MAX_STOCK));
        let seller_id = seller(&mut form, body.seller_id);
        form.finish(|| {
            Some(Self {
                name: name?,
                price: price?,
                stock: stock.unwrap_or(0),
                seller_id,
            })
        })
    }
}

/// The body that changes a product. A field that is left out keeps its value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeBody {
    #[serde(default)]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200, pattern = r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]", examples("Difference engine"))]
    name: Field<String>,
    /// An amount with at most two decimals.
    #[serde(default)]
    #[schema(value_type = f64, required = false, minimum = 0, maximum = 1_000_000_000, examples(24.5))]
    price: Field<Number>,
    #[serde(default)]
    #[schema(value_type = u32, required = false, minimum = 0, maximum = 1_000_000_000, examples(10))]
    stock: Field<Number>,
    #[serde(default)]
    #[schema(value_type = Option<String>, examples(json!(null)))]
    seller_id: Field<String>,
}

/// A valid change of a product. `None` keeps the value of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// 1 to 200 characters.
    pub name: Option<String>,
    /// The price of one piece.
    pub price: Option<Money>,
    /// How many pieces are in stock.
    pub stock: Option<u32>,
    /// The seller.
    pub seller: SellerChange,
}

/// A change of the seller of a product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SellerChange {
    /// The seller stays.
    #[default]
    Keep,
    /// The product has no seller any more.
    Clear,
    /// This user is the new seller.
    Set(Id),
}

impl Change {
    /// Checks a body. The error names every invalid field.
    pub fn parse(body: ChangeBody) -> Result<Self, ApiError> {
        let mut form = Form::default();
        let name = form.not_null("name", body.name, text(1..=200));
        let price = form.not_null("price", body.price, money(Money::MAX_PRICE));
        let stock = form.not_null("stock", body.stock, whole(0..=MAX_STOCK));
        let seller = if matches!(body.seller_id, Field::Null) {
            SellerChange::Clear
        } else {
            seller(&mut form, body.seller_id).map_or(SellerChange::Keep, SellerChange::Set)
        };
        form.finish(|| {
            Some(Self {
                name,
                price,
                stock,
                seller,
            })
        })
    }

    /// The new seller, if the change sets one.
    pub fn new_seller(&self) -> Option<Id> {
        match self.seller {
            SellerChange::Set(id) => Some(id),
            SellerChange::Keep | SellerChange::Clear => None,
        }
    }

    /// Applies the change.
    pub fn apply(self, product: &mut Product) {
        if let Some(name) = self.name {
            product.name = name;
        }
        if let Some(price) = self.price {
            product.price = price;
        }
        if let Some(stock) = self.stock {
            product.stock = stock;
        }
        match self.seller {
            SellerChange::Keep => {}
            SellerChange::Clear => product.seller_id = None,
            SellerChange::Set(id) => product.seller_id = Some(id),
        }
    }
}

/// A malformed id is not the id of a user, so user-service is not asked.
fn seller(form: &mut Form, field: Field<String>) -> Option<Id> {
    let text = form.optional("sellerId", field, Ok)?;
    let id = text.parse().ok();
    if id.is_none() {
        form.reject("sellerId", USER_NOT_FOUND);
    }
    id
}

/// The body that takes from the stock of a product or adds to it.
#[derive(Debug, Deserialize, ToSchema)]
pub struct StockBody {
    #[serde(default)]
    #[schema(value_type = i64, required = true, minimum = -1_000_000_000, maximum = 1_000_000_000, examples(-2))]
    delta: Field<Number>,
}

/// A valid change of stock. Whether enough is in stock is not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StockChange {
    /// The product.
    pub id: Id,
    /// The number of pieces to add; negative to take.
    pub delta: i64,
}

impl StockChange {
    /// Checks a body.
    pub fn parse(id: Id, body: StockBody) -> Result<Self, ApiError> {
        let mut form = Form::default();
        let delta = form.required("delta", body.delta, delta);
        form.finish(|| Some(Self { id, delta: delta? }))
    }
}

/// A whole number from -[`MAX_STOCK`] to [`MAX_STOCK`].
fn delta(number: Number) -> Result<i64, String> {
    let whole = number.whole();
    whole
        .filter(|delta| delta.unsigned_abs() <= u64::from(MAX_STOCK))
        .ok_or_else(|| format!("must be a whole number from -{MAX_STOCK} to {MAX_STOCK}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(stock: u32) -> Product {
        let now = Timestamp::now();
        Product {
            id: Id::ZERO.next(),
            name: "Analytical engine".to_owned(),
            price: Money::MAX_PRICE,
            stock,
            seller_id: None,
            created_at: now,
            updated_at: now,
        }
    }

    #[test]
    fn stock_stays_between_zero_and_the_maximum() {
        let short = |left, wanted| {
            let id = Id::ZERO.next();
            Err(ProductError::InsufficientStock { id, left, wanted })
        };
        let most = i64::from(MAX_STOCK);
        for (stock, delta, expected, reason) in [
            (5, -2, Ok(3), "some"),
            (5, -5, Ok(0), "all"),
            (5, -6, short(5, 6), "one too many"),
            (
                0,
                -most,
                short(0, 1_000_000_000),
                "the most that can be taken",
            ),
            (5, 0, Ok(5), "none"),
            (0, most, Ok(MAX_STOCK), "up to the most"),
            (
                1,
                most,
                Err(ProductError::TooMuchStock { total: most + 1 }),
                "one above the most",
            ),
        ] {
            assert_eq!(engine(stock).stock_after(delta), expected, "{reason}");
        }
    }

    #[test]
    fn a_delta_is_a_whole_number_with_a_sign_or_without() {
        for (json, expected, reason) in [
            (r#"{"delta":-2}"#, Some(-2), "taken"),
            (r#"{"delta":2.0}"#, Some(2), "added, written with a point"),
            (r#"{"delta":0}"#, Some(0), "nothing"),
            (r#"{"delta":-1000000000}"#, Some(-1_000_000_000), "the most"),
            (r#"{"delta":1000000001}"#, None, "above the maximum"),
            (r#"{"delta":-9223372036854775808}"#, None, "far more"),
            (r#"{"delta":0.5}"#, None, "half a piece"),
            (r#"{"delta":null}"#, None, "null"),
            (r#"{"delta":"1"}"#, None, "a string"),
            ("{}", None, "missing"),
        ] {
            let body: StockBody = chassis::contract::body::parse(json.as_bytes()).expect(reason);
            let change = StockChange::parse(Id::ZERO.next(), body).ok();
            assert_eq!(change.map(|change| change.delta), expected, "{reason}");
        }
    }
}
