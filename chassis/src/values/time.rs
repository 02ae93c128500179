//! Timestamps: RFC 3339 in UTC with milliseconds and `Z`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

/// A moment, such as `2026-01-01T12:00:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// This moment.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now())
    }

    /// Whole microseconds since 1970.
    pub fn microseconds(self) -> i64 {
        self.0.as_microsecond()
    }

    /// The moment so many microseconds after 1970; the nearest one that a timestamp can have, if
    /// that is beyond them.
    pub fn at_microseconds(microseconds: i64) -> Self {
        Self(
            jiff::Timestamp::from_microsecond(microseconds).unwrap_or(if microseconds < 0 {
                jiff::Timestamp::MIN
            } else {
                jiff::Timestamp::MAX
            }),
        )
    }
}

/// A duration in milliseconds, to the microsecond.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339 in UTC, with milliseconds"))
            .examples([serde_json::json!("2026-01-01T12:00:00.000Z")])
            .into()
    }
}

impl ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_milliseconds_even_when_they_are_zero() {
        let moment = Timestamp("2026-01-01T12:00:00Z".parse().expect("a timestamp"));
        assert_eq!(moment.to_string(), "2026-01-01T12:00:00.000Z");
        let moment = Timestamp(
            "2026-01-01T12:00:00.123999999Z"
                .parse()
                .expect("a timestamp"),
        );
        assert_eq!(moment.to_string(), "2026-01-01T12:00:00.123Z");
    }

    #[test]
    fn a_moment_is_a_number_of_microseconds() {
        let moment = Timestamp("2026-01-01T12:00:00.123456Z".parse().expect("a timestamp"));
        assert_eq!(Timestamp::at_microseconds(moment.microseconds()), moment);
        for beyond in [i64::MIN, i64::MAX] {
            let nearest = Timestamp::at_microseconds(beyond).microseconds();
            assert_eq!(nearest < 0, beyond < 0);
        }
    }
}
