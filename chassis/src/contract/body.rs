//! Request bodies: checks before reading, and strict reading of JSON.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::contract::error::{ApiError, FieldError};
use crate::values::money::{Money, Number};

/// The largest body that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// Checks the headers before any of the body is read: refuses a body whose
/// `Content-Length` is over the limit or whose `Content-Type` is not JSON.
pub fn check_headers<'a>(header: impl Fn(&'static str) -> Option<&'a str>) -> Result<(), ApiError> {
    let length = header("content-length").and_then(|length| length.parse::<u64>().ok());
    let empty = length.unwrap_or(0) == 0 && header("transfer-encoding").is_none();
    if empty {
        return Err(missing());
    }
    if length.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(ApiError::payload_too_large(MAX_BODY));
    }
    let content_type = header("content-type");
    if content_type.is_some_and(is_json) {
        Ok(())
    } else {
        Err(ApiError::unsupported_media_type(content_type))
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Reads one whole JSON object.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // serde does not check the UTF-8 of fields that it skips.
    let text = str::from_utf8(bytes)
        .map_err(|cause| ApiError::invalid_json(format!("The body is not UTF-8: {cause}")))?;
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(missing()),
        // serde would accept a list for a struct and read it field by field.
        Some(b'{') => serde_json::from_str(text).map_err(|cause| {
            ApiError::invalid_json(format!("The body is not one whole JSON object: {cause}"))
        }),
        Some(_) => Err(ApiError::invalid_json(
            "The body is not a JSON object; it must start with {",
        )),
    }
}

/// The error for a body that could not be read to its end.
pub fn unreadable(cause: impl Display) -> ApiError {
    ApiError::invalid_json(format!("The body could not be read to its end: {cause}"))
}

fn missing() -> ApiError {
    ApiError::invalid_json("The body is missing; send a JSON object")
}

/// A field of a request body: absent, null, of the wrong type, or a value. It never
/// fails to deserialise, so that all invalid fields are reported at once.
#[derive(Debug, Default)]
pub enum Field<T> {
    /// The field was left out.
    #[default]
    Absent,
    /// The field was null.
    Null,
    /// The field had another JSON type; the text says which was expected.
    WrongType(String),
    /// The field had a value.
    Value(T),
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if raw == "null" {
            return Ok(Self::Null);
        }
        Ok(serde_json::from_str(raw).map_or_else(
            |cause| {
                // serde adds a position within the field's own text, which does not
                // help the sender of the whole body.
                let cause = cause.to_string();
                let cause = cause.split(" at line ").next().unwrap_or_default();
                Self::WrongType(cause.to_owned())
            },
            Self::Value,
        ))
    }
}

/// Checks the fields of a body one by one and collects all that is wrong.
///
/// ```
/// use chassis::contract::body::{Field, Form, text};
///
/// let mut form = Form::default();
/// let name = form.required("name", Field::Value("  Ada ".to_owned()), text(1..=100));
/// let email: Option<String> = form.required("email", Field::Absent, text(1..=254));
/// assert_eq!(name.as_deref(), Some("Ada"));
/// let error = form.finish(|| Some((name?, email?))).unwrap_err();
/// assert_eq!(error.status(), 400);
/// ```
#[derive(Debug, Default)]
pub struct Form {
    wrong_type: bool,
    faults: Vec<FieldError>,
}

impl Form {
    /// A field that must have a value. `check` returns the valid value or what is wrong
    /// with it, such as "must be 1 to 100 characters long".
    pub fn required<T, U>(
        &mut self,
        name: &str,
        field: Field<T>,
        check: impl FnOnce(T) -> Result<U, String>,
    ) -> Option<U> {
        match field {
            Field::Absent => self.fault(name, "is required"),
            Field::Null => self.fault(name, "is required and must not be null"),
            field => self.optional(name, field, check),
        }
    }

    /// A field that may be left out; null counts as left out.
    pub fn optional<T, U>(
        &mut self,
        name: &str,
        field: Field<T>,
        check: impl FnOnce(T) -> Result<U, String>,
    ) -> Option<U> {
        match field {
            Field::Absent | Field::Null => None,
            Field::WrongType(cause) => {
                self.wrong_type = true;
                self.fault(name, &format!("has the wrong type: {cause}"))
            }
            Field::Value(value) => match check(value) {
                Ok(valid) => Some(valid),
                Err(fault) => self.fault(name, &fault),
            },
        }
    }

    /// A field that may be left out but must not be null.
    pub fn not_null<T, U>(
        &mut self,
        name: &str,
        field: Field<T>,
        check: impl FnOnce(T) -> Result<U, String>,
    ) -> Option<U> {
        match field {
            Field::Null => self.fault(name, "must not be null; leave it out to keep its value"),
            field => self.optional(name, field, check),
        }
    }

    /// Adds a fault that another check found; `sentence` is shown as it is.
    pub fn reject(&mut self, name: &str, sentence: &str) {
        self.faults.push(FieldError::new(name, sentence));
    }

    /// The result of `make`, called with all fields valid, or all faults at once.
    pub fn finish<T>(self, make: impl FnOnce() -> Option<T>) -> Result<T, ApiError> {
        if self.wrong_type {
            return Err(ApiError::wrong_type(self.faults));
        }
        if !self.faults.is_empty() {
            return Err(ApiError::validation(self.faults));
        }
        make().ok_or_else(|| ApiError::internal("a required field was not checked"))
    }

    fn fault<U>(&mut self, name: &str, fault: &str) -> Option<U> {
        self.reject(name, &format!("{name} {fault}"));
        None
    }
}

/// Text with a length in characters, after surrounding white space and control characters
/// are trimmed. Its schema requires one other character with a `pattern`.
pub fn text(length: RangeInclusive<usize>) -> impl FnOnce(String) -> Result<String, String> {
    move |text| {
        let trimmed = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
        if !length.contains(&trimmed.chars().count()) {
            return Err(format!(
                "must be {} to {} characters long",
                length.start(),
                length.end()
            ));
        }
        Ok(if trimmed.len() == text.len() {
            text
        } else {
            trimmed.to_owned()
        })
    }
}

/// A whole number in a range.
pub fn whole(range: RangeInclusive<u32>) -> impl FnOnce(Number) -> Result<u32, String> {
    move |number| {
        let whole = number.whole().and_then(|n| u32::try_from(n).ok());
        whole.filter(|n| range.contains(n)).ok_or_else(|| {
            format!(
                "must be a whole number from {} to {}",
                range.start(),
                range.end()
            )
        })
    }
}

/// An amount of money from 0 to `max`.
pub fn money(max: Money) -> impl FnOnce(Number) -> Result<Money, String> {
    move |number| {
        number
            .money()
            .filter(|amount| (Money::ZERO..=max).contains(amount))
            .ok_or_else(|| format!("must be an amount from 0 to {max} with at most two decimals"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::reply::Body;

    #[derive(Deserialize)]
    struct Wire {
        #[serde(default)]
        name: Field<String>,
        #[serde(default)]
        price: Field<Number>,
        #[serde(default)]
        stock: Field<Number>,
    }

    fn check(json: &str) -> Result<(String, Money, Option<u32>), ApiError> {
        let body: Wire = parse(json.as_bytes())?;
        let mut form = Form::default();
        let name = form.required("name", body.name, text(1..=5));
        let price = form.required("price", body.price, money(Money::MAX_PRICE));
        let stock = form.optional("stock", body.stock, whole(0..=10));
        form.finish(|| Some((name?, price?, stock)))
    }

    fn error(json: &str) -> (u16, serde_json::Value) {
        let reply = check(json).expect_err(json).reply();
        let Body::Bytes(body) = reply.body else {
            panic!("an error is no stream");
        };
        (reply.status, serde_json::from_slice(&body).expect("JSON"))
    }

    #[test]
    fn a_good_body_is_trimmed_and_unknown_fields_are_ignored() {
        let (name, price, stock) =
            check(r#"{"name":" Ada\t\u0000","price":1.50,"more":[1]}"#).expect("good");
        assert_eq!(
            (name.as_str(), price.to_string().as_str(), stock),
            ("Ada", "1.5", None)
        );
    }

    #[test]
    fn what_is_not_one_whole_object_is_invalid_json() {
        for (json, reason) in [
            ("", "nothing"),
            (" ", "white space"),
            ("{", "half an object"),
            ("{} {}", "two objects"),
            ("{}x", "something behind it"),
            (r#"["Ada",1]"#, "a list"),
            ("null", "null"),
            (r#"{"name":"a","name":"b"}"#, "a field twice"),
            ("{\"name\":\"\u{1}\"}", "a raw control character"),
        ] {
            let (status, body) = error(json);
            assert_eq!(
                (status, &body["code"]),
                (400, &"invalid_json".into()),
                "{reason}: {body}"
            );
        }
        assert_eq!(
            check("{\"name\":\"\\ud800\",\"price\":1}")
                .expect_err("half a surrogate pair")
                .status(),
            400
        );
    }

    #[test]
    fn every_field_at_fault_is_named_at_once() {
        for (json, code, fields, reason) in [
            (
                "{}",
                "validation_failed",
                vec!["name", "price"],
                "both are missing",
            ),
            (
                r#"{"name":null,"price":1}"#,
                "validation_failed",
                vec!["name"],
                "null is missing",
            ),
            (
                r#"{"name":"  ","price":1.001,"stock":2.5}"#,
                "validation_failed",
                vec!["name", "price", "stock"],
                "bad values",
            ),
            (
                r#"{"name":1,"price":"1","stock":99}"#,
                "invalid_json",
                vec!["name", "price", "stock"],
                "wrong types count more",
            ),
            (
                r#"{"name":"Ada","price":-0.01}"#,
                "validation_failed",
                vec!["price"],
                "below nothing",
            ),
            (
                r#"{"name":"Ada","price":1000000000.01}"#,
                "validation_failed",
                vec!["price"],
                "above the most",
            ),
            (
                r#"{"name":"Ada","price":1e99}"#,
                "validation_failed",
                vec!["price"],
                "a number that is far too large is still a number",
            ),
            (
                r#"{"name":"Ada","price":1,"stock":-1}"#,
                "validation_failed",
                vec!["stock"],
                "below zero",
            ),
        ] {
            let (status, body) = error(json);
            let named: Vec<_> = body["details"]
                .as_array()
                .expect("details")
                .iter()
                .map(|d| d["field"].as_str().expect("a name"))
                .collect();
            assert_eq!(
                (status, body["code"].as_str(), named),
                (400, Some(code), fields),
                "{reason}: {body}"
            );
        }
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        assert_eq!(
            check(r#"{"name":"Ada","price":1,"stock":5.0}"#)
                .expect("good")
                .2,
            Some(5)
        );
    }

    #[test]
    fn a_body_is_refused_by_its_headers() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<u16>, &'a str);
        let cases: [Case<'_>; 8] = [
            (
                &[
                    ("content-length", "2"),
                    ("content-type", "application/json"),
                ],
                None,
                "JSON",
            ),
            (
                &[
                    ("transfer-encoding", "chunked"),
                    ("content-type", "Application/JSON; charset=utf-8"),
                ],
                None,
                "JSON in chunks",
            ),
            (
                &[
                    ("content-length", "2"),
                    ("content-type", "application/merge-patch+json"),
                ],
                None,
                "JSON of a kind",
            ),
            (&[], Some(400), "no body"),
            (
                &[("content-length", "0"), ("content-type", "text/plain")],
                Some(400),
                "an empty body",
            ),
            (&[("content-length", "2")], Some(415), "no content type"),
            (
                &[
                    ("content-length", "2"),
                    ("content-type", "application/jsonx"),
                ],
                Some(415),
                "another content type",
            ),
            (
                &[
                    ("content-length", "65537"),
                    ("content-type", "application/json"),
                ],
                Some(413),
                "one byte too many",
            ),
        ];
        for (headers, status, reason) in cases {
            let header = |name: &str| {
                headers
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| *value)
            };
            assert_eq!(
                check_headers(header).err().map(|error| error.status()),
                status,
                "{reason}"
            );
        }
    }
}
