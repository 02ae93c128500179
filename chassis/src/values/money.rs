//! Money: exact from JSON to JSON.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, RangeInclusive, Sub};
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// The most digits that a [`Decimal`] always holds.
const MAX_DIGITS: usize = 28;

/// A JSON number read digit by digit, never through binary floating point: `0.1` is one
/// tenth, and 19.999999999999999999 is not 20. How it is written does not matter: `2e1`
/// and `20.000…` of any length are 20. A number with more than 28 significant digits
/// parses, but no field allows it.
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

    /// The number if it is whole and in `range`.
    pub fn whole_in(self, range: RangeInclusive<u32>) -> Option<u32> {
        let whole = self.whole().and_then(|whole| u32::try_from(whole).ok());
        whole.filter(|whole| range.contains(whole))
    }

    /// The number as an amount of money, if it has at most two decimals.
    pub fn money(self) -> Option<Money> {
        self.0
            .map(|exact| exact.normalize())
            .filter(|exact| exact.scale() <= 2)
            .map(Money)
    }
}

/// A text that is not a number.
#[derive(Debug, PartialEq, Eq)]
pub struct NotANumber;

impl FromStr for Number {
    type Err = NotANumber;

    /// Reads what JSON calls a number, of any length. Leading zeros are allowed, because
    /// a query string is no JSON.
    fn from_str(text: &str) -> Result<Self, NotANumber> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, power(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (digits(whole)?, digits(fraction)?),
            None => (digits(mantissa)?, ""),
        };
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0').trim_end_matches('0');
        if significant.is_empty() {
            return Ok(Self(Some(Decimal::ZERO)));
        }
        // The number is `significant` divided by ten to the power of `scale`.
        let dropped = all.len() - all.trim_end_matches('0').len();
        let scale = length(fraction.len()) - length(dropped) - exponent;
        let exact = exact(significant, scale);
        Ok(Self(
            exact.map(|exact| if negative { -exact } else { exact }),
        ))
    }
}

fn digits(text: &str) -> Result<&str, NotANumber> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then_some(text).ok_or(NotANumber)
}

/// An exponent. One that is too large for the type is as good as its largest value.
fn power(text: &str) -> Result<i64, NotANumber> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let size = digits(unsigned)?
        .parse()
        .map_or(i64::from(i32::MAX), |size: i64| {
            size.min(i64::from(i32::MAX))
        });
    Ok(if negative { -size } else { size })
}

/// A length of a text in memory, which always fits.
fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX / 4)
}

/// `significant` divided by ten to the power of `scale`, unless it has too many digits.
fn exact(significant: &str, scale: i64) -> Option<Decimal> {
    let zeros = usize::try_from((-scale).max(0)).ok()?;
    let scale = u32::try_from(scale.max(0)).ok()?;
    if significant.len().checked_add(zeros)? > MAX_DIGITS {
        return None;
    }
    let digits = format!("{significant}{:0<zeros$}", "");
    Decimal::try_from_i128_with_scale(digits.parse().ok()?, scale).ok()
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        raw.parse()
            .map_err(|NotANumber| serde::de::Error::custom("expected a number"))
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

    /// So many cents.
    pub const fn from_cents(cents: u32) -> Self {
        Self(Decimal::from_parts(cents, 0, 0, false, 2))
    }

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
            (
                "19.99999999999999999999999999999999e0",
                "nearly 20, and more digits than a decimal has",
            ),
            ("0.00000000000000000000000000000000001", "nearly 0"),
            ("1e400", "more digits than anything has"),
            ("1e-400", "nearly 0 again"),
            ("1e99999999999999999999", "a huge exponent"),
            ("1e-99999999999999999999", "a tiny one"),
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
            ("-0.0e5", "0"),
            ("0e99999999999999999999", "0"),
            ("1E2", "100"),
            ("1.5e+1", "15"),
            ("1999e-2", "19.99"),
            ("-0.01", "-0.01"),
            (&format!("0.{}1999e38", "0".repeat(36)), "19.99"),
            (&format!("1.{}", "0".repeat(32)), "1"),
            (&format!("1.{}e0", "0".repeat(60_000)), "1"),
            (&format!("1{}e-60000", "0".repeat(60_000)), "1"),
            (&format!("0.{}1e60001", "0".repeat(60_000)), "1"),
        ] {
            assert_eq!(money(json).to_string(), expected, "{json}");
        }
    }

    #[test]
    fn a_text_that_is_no_number_is_none() {
        for text in [
            "", "-", "+1", ".5", "5.", "1e", "1e+", "1e5.0", "1 ", " 1", "0x1", "1_000", "١",
            "NaN", "Infinity", "--1", "1-1", "1.2.3", "1e2e3",
        ] {
            assert_eq!(text.parse::<Number>(), Err(NotANumber), "{text:?}");
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
        fn a_number_is_the_same_in_every_notation(
            digits in -1_000_000_000_000..=1_000_000_000_000_i64, scale in 0..=4_u32, zeros in 0..=40_u32,
        ) {
            let written = format!("{digits}{}e-{}", "0".repeat(zeros as usize), scale + zeros);
            let read: Number = written.parse().expect("a number");
            prop_assert_eq!(read, Number(Some(Decimal::new(digits, scale))), "{}", written);
        }

        #[test]
        fn a_total_is_the_price_added_up(cents in 0..=100_000_000_000_i64, quantity in 1..=200_u32) {
            let price = Money(Decimal::new(cents, 2));
            let added: Money = std::iter::repeat_n(price, quantity as usize).sum();
            prop_assert_eq!(price.times(quantity), added);
        }
    }
}
