//! Money: exact from JSON to JSON.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A JSON number read digit by digit, never through binary floating point: `0.1` is one
/// tenth, and 19.999999999999999999 is not 20. A number with more digits than a decimal
/// holds (28) parses, but no field allows it.
///
/// ```
/// use chassis::values::money::Number;
///
/// let price: Number = serde_json::from_str("0.30").unwrap();
/// assert_eq!(price.money().unwrap().to_string(), "0.3");
/// assert_eq!(price.whole(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(Option<Decimal>);

impl Number {
    /// The number if it is whole, as `5`, `5.0` and `5e0` are.
    pub fn whole(self) -> Option<i64> {
        self.0
            .filter(Decimal::is_integer)
            .and_then(|exact| i64::try_from(exact).ok())
    }

    /// The number as an amount of money, if it has at most two decimals.
    pub fn money(self) -> Option<Money> {
        self.0
            .map(|exact| exact.normalize())
            .filter(|exact| exact.scale() <= 2)
            .map(Money)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        // Every JSON number starts like this, and no other JSON value does.
        if !raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            return Err(serde::de::Error::custom("expected a number"));
        }
        let decimal = if raw.contains(['e', 'E']) {
            Decimal::from_scientific(raw)
        } else {
            Decimal::from_str_exact(raw)
        };
        Ok(Self(decimal.ok()))
    }
}

/// An amount of money with at most two decimals.
///
/// The largest total the shop can hold is the revenue of a full store: a
/// million orders of 10 000 pieces at 1 000 000 000, 10^19, far below the
/// 7.9 × 10^26 that fits with two decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(Decimal);

impl Money {
    /// No money.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// The most that anything in the shop may cost.
    pub const MAX_PRICE: Self = Self(Decimal::from_parts(1_000_000_000, 0, 0, false, 0));

    /// The price of `quantity` pieces, exact.
    #[must_use]
    pub fn times(self, quantity: u32) -> Self {
        Self(self.0 * Decimal::from(quantity))
    }

    /// This amount divided by `count`, rounded half to even to two decimals; zero if
    /// `count` is zero.
    #[must_use]
    pub fn average_over(self, count: u64) -> Self {
        self.0
            .checked_div(Decimal::from(count))
            .map_or(Self::ZERO, |share| Self(share.round_dp(2)))
    }
}

impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.normalize().fmt(f)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string())
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Number::deserialize(deserializer)?
            .money()
            .ok_or_else(|| serde::de::Error::custom("expected at most two decimals"))
    }
}

impl PartialSchema for Money {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Number)
            .description(Some("An exact amount with at most two decimals"))
            .examples([serde_json::json!(19.99)])
            .into()
    }
}

impl ToSchema for Money {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(json: &str) -> Money {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn a_tenth_and_two_tenths_are_three_tenths() {
        assert_eq!(
            serde_json::to_string(&(money("0.1") + money("0.2"))).expect("serialises"),
            "0.3"
        );
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for (json, reason) in [
            ("0.001", "three decimals"),
            ("19.999999999999999999", "20 to a float, but not 20"),
            ("1e-3", "three decimals, written otherwise"),
            ("1e400", "more digits than anything has"),
            ("\"19.99\"", "a string is not a number"),
            ("true", "nor is a boolean"),
            ("[1]", "nor is a list"),
        ] {
            assert!(serde_json::from_str::<Money>(json).is_err(), "{reason}");
        }
    }

    #[test]
    fn every_spelling_of_a_number_is_read() {
        for (json, expected) in [
            ("20", "20"),
            ("20.0", "20"),
            ("2e1", "20"),
            ("1.990", "1.99"),
            ("-0", "0"),
            ("1E2", "100"),
        ] {
            assert_eq!(money(json).to_string(), expected, "{json}");
        }
    }

    #[test]
    fn an_average_is_rounded_to_cents_and_nobody_gets_nothing() {
        assert_eq!(money("10").average_over(3).to_string(), "3.33");
        assert_eq!(money("10").average_over(0), Money::ZERO);
    }

    proptest! {
        #[test]
        fn cents_survive_the_wire(cents in 0..=100_000_000_000_i64) {
            let json = format!("{}.{:02}", cents / 100, cents % 100);
            let written = serde_json::to_string(&money(&json)).expect("serialises");
            prop_assert_eq!(money(&written), money(&json));
            prop_assert_eq!(written.parse::<Decimal>().expect("a decimal"), Decimal::new(cents, 2));
        }

        #[test]
        fn a_total_is_the_price_added_up(cents in 0..=100_000_000_000_i64, quantity in 1..=200_u32) {
            let price = Money(Decimal::new(cents, 2));
            let added: Money = std::iter::repeat_n(price, quantity as usize).sum();
            prop_assert_eq!(price.times(quantity), added);
        }
    }
}
