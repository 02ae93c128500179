//! A span as `GET /lab/spans` of a service shows it, checked: what a service answers comes from
//! outside.

use chassis::values::time::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// The longest text in a span, in bytes. The longest that the services of the shop write is the
/// id of a request, with 128.
const MAX_TEXT: usize = 256;

/// The longest span: a day.
const MAX_MS: f64 = 24.0 * 60.0 * 60.0 * 1e3;

/// What a service recorded of a request that it answered, or of a call that it made.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The id of the whole trace.
    pub trace: u128,
    /// The id of this span.
    pub id: u64,
    /// The id of the span that it is a part of.
    pub parent: Option<u64>,
    /// The id in `X-Request-Id`.
    pub request_id: String,
    /// Who recorded it: the service that was asked, whatever it says.
    pub service: &'static str,
    /// What was done, such as `POST /api/orders`.
    pub name: String,
    /// Whether it is a request or a call.
    pub kind: Kind,
    /// When it began, in microseconds since 1970 on the clock of the service.
    pub start: i64,
    /// How long it took, in microseconds.
    pub duration: i64,
    /// The status of the response, if there was one.
    pub status: Option<u16>,
    /// What else is known.
    pub attributes: Attributes,
}

/// The two kinds of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A request that the service answered.
    Server,
    /// An attempt of a call to another service.
    Client,
}

/// What else is known of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attributes {
    /// The route of a request.
    #[serde(
        default,
        deserialize_with = "short",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(nullable = false, examples("/api/orders"))]
    pub route: Option<String>,
    /// The path of the record that a request created.
    #[serde(
        default,
        deserialize_with = "short",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(nullable = false, examples("/api/orders/7"))]
    pub created: Option<String>,
    /// The service that is called.
    #[serde(
        default,
        deserialize_with = "short",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(nullable = false, examples("user-service"))]
    pub dependency: Option<String>,
    /// The number of the attempt: 1 for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples(1))]
    pub attempt: Option<u32>,
    /// The circuit to that service before the call: `closed`, `half_open` or `open`.
    #[serde(
        default,
        deserialize_with = "short",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(nullable = false, examples("closed"))]
    pub circuit: Option<String>,
    /// Why the call failed, in one word.
    #[serde(
        default,
        deserialize_with = "short",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(nullable = false, examples("timed_out"))]
    pub failure: Option<String>,
    /// Why nothing was sent, in one word.
    #[serde(
        default,
        deserialize_with = "short",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(nullable = false, examples("circuit_open"))]
    pub not_made: Option<String>,
}

/// An entry of the list that a service answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its number among the spans of the service.
    pub number: u64,
    #[serde(deserialize_with = "hexadecimal")]
    trace_id: u128,
    #[serde(deserialize_with = "hexadecimal")]
    span_id: u128,
    #[serde(default, deserialize_with = "maybe_hexadecimal")]
    parent_id: Option<u128>,
    #[serde(deserialize_with = "short_text")]
    request_id: String,
    #[serde(deserialize_with = "short_text")]
    name: String,
    kind: Kind,
    start: Timestamp,
    #[serde(deserialize_with = "sane")]
    duration_ms: f64,
    status: Option<u16>,
    #[serde(default)]
    attributes: Attributes,
}

impl Entry {
    /// The span, which `service` recorded.
    pub fn of(self, service: &'static str) -> Span {
        // The digits of a longer id that count.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the id of a span has 64 bits"
        )]
        let id = |id: u128| id as u64;
        #[expect(clippy::cast_possible_truncation, reason = "at most a day")]
        let duration = (self.duration_ms * 1e3).round() as i64;
        Span {
            trace: self.trace_id,
            id: id(self.span_id),
            parent: self.parent_id.map(id),
            request_id: self.request_id,
            service,
            name: self.name,
            kind: self.kind,
            start: self.start.microseconds(),
            duration,
            status: self.status,
            attributes: self.attributes,
        }
    }
}

impl Span {
    /// When it ended.
    pub fn end(&self) -> i64 {
        self.start + self.duration
    }

    /// Whether something went wrong: a status of 500 or more, a call that failed or that was not
    /// made. A refusal is an answer.
    pub fn went_wrong(&self) -> bool {
        let failure = self.attributes.failure.as_deref();
        self.status.is_some_and(|status| status >= 500)
            || failure.is_some_and(|failure| failure != "refused")
            || self.attributes.not_made.is_some()
    }
}

fn hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let number = u128::from_str_radix(&text, 16).ok().filter(|_| digits);
    number.ok_or_else(|| D::Error::custom("an id has 1 to 32 hexadecimal digits"))
}

fn maybe_hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u128>, D::Error> {
    #[derive(Deserialize)]
    struct Id(#[serde(deserialize_with = "hexadecimal")] u128);
    let id = Option::<Id>::deserialize(deserializer)?;
    Ok(id.map(|Id(id)| id))
}

fn short_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > MAX_TEXT {
        return Err(D::Error::custom("a text is too long"));
    }
    Ok(text)
}

fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    struct Short(#[serde(deserialize_with = "short_text")] String);
    let text = Option::<Short>::deserialize(deserializer)?;
    Ok(text.map(|Short(text)| text))
}

fn sane<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let ms = f64::deserialize(deserializer)?;
    if (0.0..=MAX_MS).contains(&ms) {
        Ok(ms)
    } else {
        Err(D::Error::custom("a span takes 0 ms to a day"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry() -> Value {
        json!({
            "number": 3, "traceId": "103267cc1063452cba3832ec6563233a", "spanId": "a6290971d882e2f4",
            "parentId": null, "requestId": "demo-1", "service": "a", "name": "call b",
            "kind": "client", "start": "2026-01-01T12:00:00.000123Z", "durationMs": 3.511,
            "status": 200, "attributes": {"dependency": "b", "attempt": 1, "circuit": "closed"},
        })
    }

    fn parse(change: impl FnOnce(&mut Value)) -> Result<Span, serde_json::Error> {
        let mut value = entry();
        change(&mut value);
        serde_json::from_value::<Entry>(value).map(|entry| entry.of("user-service"))
    }

    #[test]
    fn an_entry_of_a_service_is_a_span_of_it() {
        let span = parse(|_| {}).expect("a span");
        assert_eq!(span.trace, 0x1032_67cc_1063_452c_ba38_32ec_6563_233a);
        assert_eq!(span.id, 0xa629_0971_d882_e2f4);
        assert_eq!((span.service, span.parent), ("user-service", None));
        assert_eq!((span.start % 1_000_000, span.duration), (123, 3511));
        assert_eq!(span.end() - span.start, 3511);
        assert_eq!(span.attributes.dependency.as_deref(), Some("b"));
    }

    #[test]
    fn what_no_service_of_the_shop_answers_is_refused() {
        for (field, value) in [
            ("traceId", json!("")),
            ("traceId", json!("xyz")),
            ("traceId", json!("+1")),
            ("traceId", json!("0".repeat(33))),
            ("spanId", json!(7)),
            ("parentId", json!("no")),
            ("name", json!("x".repeat(257))),
            ("kind", json!("producer")),
            ("start", json!("yesterday")),
            ("durationMs", json!(-1)),
            ("durationMs", json!(1e300)),
            ("status", json!(70000)),
            ("attributes", json!({"route": "x".repeat(257)})),
            ("attributes", json!({"attempt": -1})),
        ] {
            let parsed = parse(|entry| entry[field] = value.clone());
            assert!(parsed.is_err(), "{field}: {value}");
        }
    }

    #[test]
    fn a_refusal_is_an_answer_and_a_failure_is_not() {
        for (status, attributes, wrong) in [
            (json!(200), json!({}), false),
            (json!(404), json!({"failure": "refused"}), false),
            (json!(409), json!({}), false),
            (json!(503), json!({}), true),
            (json!(null), json!({"failure": "timed_out"}), true),
            (json!(null), json!({"notMade": "circuit_open"}), true),
        ] {
            let span = parse(|entry| {
                entry["status"] = status.clone();
                entry["attributes"] = attributes.clone();
            });
            assert_eq!(
                span.expect("a span").went_wrong(),
                wrong,
                "{status} {attributes}"
            );
        }
    }
}
