//! Ids: decimal strings that count up from `"1"`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::error::ApiError;
use crate::path::shortened;

/// The id of a record: a number inside, a decimal string on the wire. Being a
/// number, it can go into another service's URL without escaping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

impl Id {
    /// Before the first id: no record has it, and a page after it starts at the
    /// beginning.
    pub const ZERO: Self = Self(0);

    /// The id of a `kind` in a path. A malformed one is as unknown as one that
    /// was never given.
    pub fn in_path(kind: &str, text: &str) -> Result<Self, ApiError> {
        text.parse()
            .map_err(|NotAnId| ApiError::no_such(kind, shortened(text)))
    }

    /// The id that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A text that is no id: not decimal, zero, with a sign or leading zeros, or too
/// long.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAnId;

impl FromStr for Id {
    type Err = NotAnId;

    /// Only the one spelling that the services print is an id, so that two
    /// spellings can never name the same record.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        if !canonical {
            return Err(NotAnId);
        }
        text.parse().map(Self).map_err(|_| NotAnId)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|NotAnId| serde::de::Error::custom(format!("{text:?} is not an id")))
    }
}

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[1-9][0-9]{0,18}$"))
            .description(Some("A decimal string that counts up from \"1\""))
            .examples([serde_json::json!("1")])
            .into()
    }
}

impl ToSchema for Id {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        for (text, reason) in [
            ("", "empty"),
            ("0", "before the first"),
            ("01", "a leading zero"),
            ("+1", "a sign"),
            ("-1", "negative"),
            (" 1", "white space"),
            ("1.0", "not whole"),
            ("1/../2", "a path"),
            ("٣", "a digit, but not an ASCII one"),
            ("18446744073709551616", "one more than fits"),
        ] {
            assert_eq!(text.parse::<Id>(), Err(NotAnId), "{reason}");
        }
    }

    #[test]
    fn an_error_repeats_only_the_beginning_of_a_text_that_is_too_long() {
        let error = Id::in_path("user", &"x".repeat(60_000)).expect_err("no id");
        let reply = format!("{:?}", error.reply());
        assert!(reply.len() < 2000, "{} bytes", reply.len());
    }

    proptest! {
        #[test]
        fn an_id_survives_the_wire(n in 1..=u64::MAX) {
            let json = serde_json::to_string(&Id(n)).expect("serialises");
            prop_assert_eq!(&json, &format!("\"{n}\""));
            prop_assert_eq!(serde_json::from_str::<Id>(&json).expect("parses"), Id(n));
        }

        #[test]
        fn what_parses_prints_as_it_was(text in "\\PC{0,24}") {
            if let Ok(id) = text.parse::<Id>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
