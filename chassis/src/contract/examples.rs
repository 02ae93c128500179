//! What errors look like, as examples in the OpenAPI document. They are made by the code that
//! makes the errors, so they are as clients get them.

use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::Operation;

use crate::contract::body::{self, MAX_BODY};
use crate::contract::error::{ApiError, ErrorBody};
use crate::contract::idempotency::Key;
use crate::contract::page::Page;

/// An error of a service, and the operations that answer it, by the names of their functions.
pub type ErrorExample<'a> = (&'a [&'a str], ApiError);

/// The id of a request, as a service makes one.
const REQUEST_ID: &str = "5f0c3d5e-0f4b-4c4e-9f55-3b6c2a4a7a11";

/// Adds an example for each code that the description of a response names. `own` are the
/// errors of the service; they come before those of every service.
pub(super) fn add(operation: &mut Operation, own: &[ErrorExample<'_>]) {
    let id = operation.operation_id.as_deref().unwrap_or_default();
    let own = own.iter().filter(|(ids, _)| ids.contains(&id));
    let errors: Vec<_> = own
        .map(|(_, error)| error.clone())
        .chain(common())
        .collect();
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else {
            continue;
        };
        let Some(RefOr::T(content)) = response.content.get_mut("application/json") else {
            continue;
        };
        for error in &errors {
            let code = format!("`{}`", error.code);
            let names = |text: &str| text.contains("Idempotency-Key");
            if *status == error.status.to_string()
                && response.description.contains(&code)
                && (names(&response.description) || !names(&error.message))
            {
                let built = ExampleBuilder::new().value(Some(example(error))).build();
                let examples = &mut content.examples;
                examples
                    .entry(error.code.to_owned())
                    .or_insert(RefOr::T(built));
            }
        }
    }
}

/// Errors that no service has a better example of.
fn common() -> impl Iterator<Item = ApiError> {
    let no_key = Key::parse(Some(b""), "POST", "/", None).err();
    let no_body = body::parse::<IgnoredAny>(b"").err();
    let no_page = Page::parse(Some("limit=0")).err();
    let others = [
        ApiError::not_found("The page has no file \"nothing.js\""),
        ApiError::request_timeout(Duration::from_secs(10)),
        ApiError::conflict(
            "This Idempotency-Key was used with another body; use a new key for a new change",
        ),
        ApiError::payload_too_large(MAX_BODY),
        ApiError::unsupported_media_type(Some("text/plain")),
        ApiError::internal("only the log has this"),
        ApiError::dependency_unavailable("user-service", "only the log has this"),
        ApiError::overloaded(1024),
        ApiError::store_full(1_000_000),
    ];
    let parsed = [no_key, no_body, no_page].into_iter().flatten();
    parsed.chain(others)
}

/// The body of a response with this error.
pub fn example(error: &ApiError) -> Value {
    let body = ErrorBody {
        error: &error.message,
        code: error.code,
        request_id: REQUEST_ID,
        details: &error.details,
    };
    serde_json::to_value(body).expect("an error is JSON")
}
