//! Request bodies: checks before reading, and strict reading of JSON.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::contract::error::{ApiError, FieldError};
use crate::values::money::{Money, NotANumber, Number};
use crate::values::text;

/// The largest body that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// Checks the headers before any of the body is read: refuses a body whose
/// `Content-Length` is over the limit, which has a `Content-Encoding`, or whose
/// `Content-Type` is not JSON.
pub fn check_headers<'a>(header: impl Fn(&'static str) -> Option<&'a str>) -> Result<(), ApiError> {
    let length = header("content-length").and_then(|length| length.parse::<u64>().ok());
    let empty = length.unwrap_or(0) == 0 && header("transfer-encoding").is_none();
    if empty {
        return Err(missing());
    }
    if length.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(ApiError::payload_too_large(MAX_BODY));
    }
    if let Some(encoding) = header("content-encoding")
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Err(ApiError::unsupported_encoding(encoding));
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
    read(bytes, '{', "object")
}

/// Reads one whole JSON list.
pub(crate) fn parse_list<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, ApiError> {
    read(bytes, '[', "list")
}

/// Reads JSON that starts with `start`, which makes it a `kind`.
fn read<T: DeserializeOwned>(bytes: &[u8], start: char, kind: &str) -> Result<T, ApiError> {
    // serde does not check the UTF-8 of fields that it skips.
    let text = str::from_utf8(bytes).map_err(|cause| {
        let byte = cause.valid_up_to() + 1;
        ApiError::invalid_json(format!("The body is not UTF-8 from byte {byte} on"))
    })?;
    match text.trim_ascii_start().chars().next() {
        None => Err(missing()),
        // serde would accept a list for a struct and read it field by field.
        Some(first) if first == start => serde_json::from_str(text)
            .map_err(|cause| ApiError::invalid_json(fault_of_json(&cause))),
        Some('\u{feff}') => Err(ApiError::invalid_json(
            "The body starts with a byte order mark; send it without one",
        )),
        Some(_) => Err(ApiError::invalid_json(format!(
            "The body is not a JSON {kind}; it must start with {start}"
        ))),
    }
}

/// What is wrong with the JSON of a body, in a sentence for people who do not know serde.
fn fault_of_json(cause: &serde_json::Error) -> String {
    let at = format!("at line {}, column {}", cause.line(), cause.column());
    let said = cause.to_string();
    if let Some((field, _)) = said
        .strip_prefix("duplicate field `")
        .and_then(|rest| rest.split_once('`'))
    {
        return format!("The body has the field {field} twice; send it once");
    }
    if cause.is_eof() {
        return format!("The body ends {at}, before its JSON object does; send all of it");
    }
    // The start of what serde says, and what it means. Another fault is told by its place.
    let known = [
        ("trailing characters", "has more than one JSON object"),
        ("trailing comma", "has a comma too many"),
        (
            "key must be a string",
            "has a field name without double quotes",
        ),
        (
            "control character",
            "has a control character that is not escaped",
        ),
        ("lone leading surrogate", HALF_A_CHARACTER),
        ("unexpected end of hex escape", HALF_A_CHARACTER),
    ];
    let known = known.iter().find(|(start, _)| said.starts_with(start));
    let fault = known.map_or("is not JSON", |(_, fault)| fault);
    format!("The body {fault} {at}")
}

/// A `\u` escape of UTF-16 that needs another one to be a character.
const HALF_A_CHARACTER: &str = "has half of a character (a \\u escape of a lone surrogate)";

/// The error for a body that could not be read to its end. `cause` is the framework's, and
/// each has other words.
pub fn unreadable(cause: impl Display) -> ApiError {
    tracing::debug!(%cause, "a body could not be read");
    ApiError::invalid_json(
        "The body could not be read to its end; its length or its chunks are not as announced",
    )
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

/// A type that a field can have.
pub trait FieldType: Sized {
    /// Reads the JSON of a value. The error is what is wrong with it, such as "must be a
    /// string, such as "1"".
    fn read(json: &str) -> Result<Self, String>;
}

impl FieldType for String {
    /// Reads a text, trimmed. A field that is a secret needs a type of its own.
    fn read(json: &str) -> Result<Self, String> {
        match serde_json::from_str::<Self>(json) {
            Ok(text) => {
                let trimmed = text::trim(&text);
                let is_trimmed = trimmed.len() == text.len();
                Ok(if is_trimmed { text } else { trimmed.to_owned() })
            }
            // The JSON as a whole is well-formed, so this is the only fault that it can have.
            Err(_) if json.starts_with('"') => Err(HALF_A_CHARACTER.to_owned()),
            Err(_) => {
                let number = json.parse::<Number>().is_ok() && json.len() <= MAX_EXAMPLE;
                let example = if number { json } else { "text" };
                Err(format!("must be a string, such as \"{example}\""))
            }
        }
    }
}

impl FieldType for Number {
    fn read(json: &str) -> Result<Self, String> {
        json.parse().map_err(|NotANumber| {
            let inside = json.trim_matches('"');
            let number = inside.parse::<Self>().is_ok() && inside.len() <= MAX_EXAMPLE;
            let example = if number { inside } else { "1" };
            format!("must be a number, such as {example}")
        })
    }
}

/// The longest value of a client that is repeated to it as an example.
const MAX_EXAMPLE: usize = 20;

impl<T: FieldType> Field<T> {
    /// The field whose JSON this is.
    pub(crate) fn read(json: &str) -> Self {
        if json == "null" {
            return Self::Null;
        }
        T::read(json).map_or_else(Self::WrongType, Self::Value)
    }
}

impl<'de, T: FieldType> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::read(<&RawValue>::deserialize(deserializer)?.get()))
    }
}

/// Checks the fields of a body one by one and collects all that is wrong.
///
/// ```
/// use chassis::contract::body::{Field, Form, text};
///
/// let mut form = Form::default();
/// let name = form.required("name", Field::Value("Ada".to_owned()), text(1..=100));
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
                self.fault(name, &cause)
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

/// Text with a length in characters. A field is trimmed when it is read; its schema
/// requires a character that somebody sees with a `pattern`.
pub fn text(length: RangeInclusive<usize>) -> impl FnOnce(String) -> Result<String, String> {
    move |text| {
        if length.contains(&text.chars().count()) {
            Ok(text)
        } else {
            let (least, most) = length.into_inner();
            Err(format!("must be {least} to {most} characters long"))
        }
    }
}

/// A whole number in a range.
pub fn whole(range: RangeInclusive<u32>) -> impl FnOnce(Number) -> Result<u32, String> {
    move |number| {
        number.whole_in(range.clone()).ok_or_else(|| {
            let (least, most) = range.into_inner();
            format!("must be a whole number from {least} to {most}")
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
            check(r#"{"name":" \u200bAda\t\u0000","price":1.50,"more":[1]}"#).expect("good");
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
    }

    #[test]
    fn an_error_is_one_plain_sentence() {
        for (json, sentence) in [
            ("", "The body is missing; send a JSON object"),
            ("[]", "The body is not a JSON object; it must start with {"),
            (
                "\u{feff}{}",
                "The body starts with a byte order mark; send it without one",
            ),
            (
                r#"{"name":"Ada","name":"Ada"}"#,
                "The body has the field name twice; send it once",
            ),
            (
                r#"{"name":"#,
                "The body ends at line 1, column 8, before its JSON object does; send all of it",
            ),
            (
                "{}\n{}",
                "The body has more than one JSON object at line 2, column 1",
            ),
            (
                r#"{"price":1,}"#,
                "The body has a comma too many at line 1, column 12",
            ),
            (
                "{'price':1}",
                "The body has a field name without double quotes at line 1, column 2",
            ),
            (
                "{\"name\":\"\n\"}",
                "The body has a control character that is not escaped at line 1, column 9",
            ),
            (
                r#"{"\ud800":1}"#,
                "The body has half of a character (a \\u escape of a lone surrogate) at line 1, column 9",
            ),
            (
                r#"{"price":NaN}"#,
                "The body is not JSON at line 1, column 10",
            ),
            (
                r#"{"name":"\ud800","price":1}"#,
                "name has half of a character (a \\u escape of a lone surrogate)",
            ),
            (
                r#"{"name":1,"price":1}"#,
                "name must be a string, such as \"1\"",
            ),
            (
                r#"{"name":1e9999,"price":1}"#,
                "name must be a string, such as \"1e9999\"",
            ),
            (
                r#"{"name":{},"price":1}"#,
                "name must be a string, such as \"text\"",
            ),
            (
                r#"{"name":"Ada","price":"19.99"}"#,
                "price must be a number, such as 19.99",
            ),
            (
                r#"{"name":"Ada","price":true}"#,
                "price must be a number, such as 1",
            ),
            (
                r#"{"name":"Ada","price":"\ud800"}"#,
                "price must be a number, such as 1",
            ),
            (
                r#"{"name":"Ada","price":1e9999}"#,
                "price must be an amount from 0 to 1000000000 with at most two decimals",
            ),
            (
                r#"{"name":7,"price":"1"}"#,
                "The request is not valid: name must be a string, such as \"7\"; price must be a number, such as 1",
            ),
        ] {
            let (status, body) = error(json);
            assert_eq!((status, body["error"].as_str()), (400, Some(sentence)));
        }
        let latin = parse::<Number>(b"{\"name\":\"\xfc\"}").expect_err("not UTF-8");
        assert_eq!(latin.message, "The body is not UTF-8 from byte 10 on");
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
        let empty = |name| match name {
            "content-length" => Some("2"),
            "content-type" => Some(""),
            _ => None,
        };
        let message = check_headers(empty).expect_err("no type").message;
        assert!(
            message.starts_with("The body has no Content-Type;"),
            "{message}"
        );
    }
}
