//! The error of the contract, the same from every layer.

use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::values::text::shortened;

/// An error as a client sees it, with a cause that only the log shows.
///
/// Each service maps its own errors to this one (`error.rs`), and each framework's
/// adapter turns it into a response.
///
/// ```
/// use chassis::contract::error::ApiError;
///
/// let reply = ApiError::no_such("user", 7).reply();
/// assert_eq!(reply.status, 404);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) details: Vec<FieldError>,
    pub(super) allow: Option<String>,
    /// For a 429 or 503: after how many seconds to try again.
    pub(super) retry_after: u32,
    /// Whether the encoding of the body was refused.
    pub(super) refuses_encoding: bool,
    pub(super) cause: Option<String>,
}

/// After how many seconds a client is asked to try again, if nothing else is known.
const SOON: u32 = 1;

/// `time` in seconds, for a client that is to wait so long.
fn whole_seconds(time: Duration) -> u32 {
    let seconds = time.as_millis().div_ceil(1000);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(SOON)
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field at fault.
    pub field: String,
    /// A sentence for a person.
    pub message: String,
}

impl FieldError {
    /// A fault of `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// The JSON of every error.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody<'a> {
    /// A sentence for a person.
    pub(super) error: &'a str,
    /// For a program.
    pub(super) code: &'a str,
    /// The id in the `X-Request-Id` header and in the log.
    pub(super) request_id: &'a str,
    /// The fields at fault, all of them at once.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) details: &'a [FieldError],
}

impl ApiError {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: Vec::new(),
            allow: None,
            retry_after: SOON,
            refuses_encoding: false,
            cause: None,
        }
    }

    /// 400: the body is not one whole JSON object.
    pub fn invalid_json(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_json", message)
    }

    /// 400: fields have a value of the wrong JSON type.
    pub fn wrong_type(details: Vec<FieldError>) -> Self {
        Self {
            code: "invalid_json",
            ..Self::validation(details)
        }
    }

    /// 400: required fields are missing, or values are not allowed.
    pub fn validation(details: Vec<FieldError>) -> Self {
        let faults: Vec<_> = details.iter().map(|fault| fault.message.as_str()).collect();
        let sentence = faults.join("; ");
        let message = if faults.len() == 1 {
            sentence
        } else {
            format!("The request is not valid: {sentence}")
        };
        Self {
            details,
            ..Self::new(400, "validation_failed", message)
        }
    }

    /// 400: the head of the request is not valid HTTP, so no route is looked for.
    pub(crate) fn invalid_head(message: impl Into<String>) -> Self {
        Self::new(400, "validation_failed", message)
    }

    /// 401: the request does not say who sends it, or not rightly.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(401, "unauthenticated", message)
    }

    /// 403: whoever sends it may not do that.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "forbidden", message)
    }

    /// 404: no such route or record.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "not_found", message)
    }

    /// 404: there is no record of this kind with this id.
    pub fn no_such(kind: &str, id: impl Display) -> Self {
        Self::not_found(format!("There is no {kind} {id}"))
    }

    /// 404: a segment of the path is not UTF-8.
    pub fn undecodable() -> Self {
        Self::not_found("A part of the path is not UTF-8, so it names nothing")
    }

    /// 405: the route exists, the method does not; `allow` lists those that do.
    pub fn method_not_allowed(method: &str, allow: &str) -> Self {
        let message = format!("{} is not allowed here; use {allow}", shortened(method));
        Self {
            allow: Some(allow.to_owned()),
            ..Self::new(405, "method_not_allowed", message)
        }
    }

    /// 408: only a part of the body has arrived `after` this time.
    pub fn request_timeout(after: Duration) -> Self {
        let message = format!(
            "Only a part of the body arrived within {:.1} s; send it all at once",
            after.as_secs_f64()
        );
        Self::new(408, "request_timeout", message)
    }

    /// 408: more than `limit` bodies are still arriving, and this one has taken longest.
    pub fn too_many_bodies(limit: usize) -> Self {
        let message = format!(
            "The server is at its limit of {limit} bodies that are still arriving, and this one \
             has taken longest; send it all at once"
        );
        Self::new(408, "request_timeout", message)
    }

    /// 409: the request does not fit the state of the record.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "conflict", message)
    }

    /// 409: fewer in stock than asked for; the message says how many are left.
    pub fn insufficient_stock(message: impl Into<String>) -> Self {
        Self::new(409, "insufficient_stock", message)
    }

    /// 410: it was there, and is gone for good.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "gone", message)
    }

    /// 413: a body over the limit, in bytes.
    pub fn payload_too_large(limit: usize) -> Self {
        Self::new(
            413,
            "payload_too_large",
            format!("The body is over the limit of {limit} bytes"),
        )
    }

    /// 415: a body that does not say it is JSON.
    pub fn unsupported_media_type(content_type: Option<&str>) -> Self {
        let what = match content_type {
            None | Some("") => "has no Content-Type".to_owned(),
            Some(other) => format!("is {:?}", shortened(other)),
        };
        let message = format!("The body {what}; send it with Content-Type: application/json");
        Self::new(415, "unsupported_media_type", message)
    }

    /// 415: a body that is compressed or encoded in another way.
    pub fn unsupported_encoding(encoding: &str) -> Self {
        let encoding = shortened(encoding);
        Self {
            refuses_encoding: true,
            ..Self::new(
                415,
                "unsupported_media_type",
                format!("The body has the encoding {encoding:?}; send it without Content-Encoding"),
            )
        }
    }

    /// 429: the client has sent more than `per_second` requests a second. The next one is accepted
    /// `retry_after` from now.
    pub fn rate_limited(per_second: u32, retry_after: Duration) -> Self {
        let retry_after = whole_seconds(retry_after);
        let message = format!(
            "This client sends more than the {per_second} requests a second that one client may \
             send; nothing was changed, try again in {retry_after} s"
        );
        Self {
            retry_after,
            ..Self::new(429, "rate_limited", message)
        }
    }

    /// 431: the head of the request is over `limit`.
    pub(crate) fn head_too_large(limit: impl Display) -> Self {
        let message = format!("The head of the request is over the limit of {limit}");
        Self::new(431, "head_too_large", message)
    }

    /// 500: a bug. `cause` goes to the log, not to the client.
    pub fn internal(cause: impl Display) -> Self {
        Self {
            cause: Some(cause.to_string()),
            ..Self::new(
                500,
                "internal",
                "Something went wrong on our side; the log has the details",
            )
        }
    }

    /// 501: the body has a transfer coding that this server does not know
    /// ([RFC 9112, 6.1](https://www.rfc-editor.org/rfc/rfc9112#section-6.1)).
    pub(crate) fn unknown_coding(coding: impl Display) -> Self {
        let message = format!(
            "This server does not know the Transfer-Encoding {coding}; send the body chunked, or \
             with Content-Length"
        );
        Self::new(501, "not_implemented", message)
    }

    /// 502: `service` got the request, and then broke off or answered with something that is no
    /// response. `cause` is only logged.
    pub fn outcome_unknown(service: &str, cause: impl Display) -> Self {
        Self {
            cause: Some(format!("{service}: {cause}")),
            ..Self::new(
                502,
                "outcome_unknown",
                format!(
                    "{service} has not given a usable response; what was asked for may have been \
                     done: repeat it with the same Idempotency-Key, or look"
                ),
            )
        }
    }

    /// 503: `service`, which this request needs, does not answer. `cause` is only logged.
    pub fn dependency_unavailable(service: &str, cause: impl Display) -> Self {
        Self {
            cause: Some(format!("{service}: {cause}")),
            ..Self::new(
                503,
                "dependency_unavailable",
                format!("{service} is not available; nothing was changed, try again in a moment"),
            )
        }
    }

    /// 503: `limit` requests are in flight, the most allowed.
    pub fn overloaded(limit: u32) -> Self {
        Self::overloaded_by(format_args!(
            "The server is at its limit of {limit} concurrent requests"
        ))
    }

    /// 503: another limit is reached; `sentence` says which.
    pub fn overloaded_by(sentence: impl Display) -> Self {
        let message = format!("{sentence}; try again in a moment");
        Self::new(503, "overloaded", message)
    }

    /// 503: `limit` calls to `service` are in flight, the most that this service makes.
    pub fn too_many_calls(limit: u32, service: &str) -> Self {
        let message = format!(
            "This service is at its limit of {limit} concurrent calls to {service}; nothing was changed, try again in a moment"
        );
        Self::new(503, "overloaded", message)
    }

    /// 503: another request with the same `Idempotency-Key` is still in progress.
    pub fn key_in_progress() -> Self {
        let message = "Another request with this Idempotency-Key is still in progress; \
             try again in a moment, with the same key";
        Self::new(503, "overloaded", message)
    }

    /// 503: no more idempotency keys can be remembered until one is old enough to forget,
    /// `retry_after` from now.
    pub fn keys_full(retry_after: Duration) -> Self {
        let retry_after = whole_seconds(retry_after);
        let message = format!(
            "No more idempotency keys can be remembered for the next {retry_after} s; \
             nothing was changed, try again later, or raise MAX_KEYS"
        );
        Self {
            retry_after,
            ..Self::new(503, "overloaded", message)
        }
    }

    /// 504: `service` got the request, and has not responded within `limit`.
    pub fn gateway_timeout(service: &str, limit: Duration) -> Self {
        let limit = limit.as_millis();
        Self {
            cause: Some(format!("{service}: no response within {limit} ms")),
            ..Self::new(
                504,
                "gateway_timeout",
                format!(
                    "{service} has not responded within {limit} ms; what was asked for may still \
                     be done: repeat it with the same Idempotency-Key, or look"
                ),
            )
        }
    }

    /// Any status: a fault of the lab answers in place of the handler.
    pub(crate) fn fault(status: u16) -> Self {
        let message =
            format!("A fault of the lab answers with {status}; DELETE /lab/faults ends it");
        Self::new(status, "fault", message)
    }

    /// 507: the store holds `limit` records, the most allowed.
    pub fn store_full(limit: usize) -> Self {
        Self::full(format!(
            "The store is full, at its limit of {limit} records; delete some, or raise MAX_RECORDS"
        ))
    }

    /// 507: something else holds as much as it may.
    pub fn full(message: impl Into<String>) -> Self {
        Self::new(507, "store_full", message)
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }
}
