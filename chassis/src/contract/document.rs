//! What every operation of a service has in its OpenAPI document, besides what is written at it.

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Info, OpenApi, Ref, RefOr, Response, Server};
use utoipa::{OpenApi as _, ToSchema};

use crate::contract::api::{ALWAYS_OPEN, About};
use crate::contract::error::ErrorBody;
use crate::contract::examples::{self, ErrorExample};
use crate::contract::operations::Operations;

/// `document`, completed with the routes, the errors and the headers of every service, and with
/// examples of `errors`.
pub(super) fn complete(
    about: About,
    mut document: OpenApi,
    errors: &[ErrorExample<'_>],
) -> OpenApi {
    document.merge(Operations::openapi());
    document.info = Info::builder()
        .title(about.name)
        .version(about.version)
        .description(Some(format!(
            "{} Built on {}.",
            about.description, about.framework
        )))
        .build();
    // Relative to the document, so that "Try it out" works behind a path prefix.
    document.servers = Some(vec![Server::new(".")]);
    for (template, item) in &mut document.paths.paths {
        let has_parameter = template.contains('{');
        for operation in [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
        ]
        .into_iter()
        .flatten()
        {
            add_errors(
                operation,
                has_parameter,
                !ALWAYS_OPEN.contains(&template.as_str()),
            );
            add_headers(operation);
            examples::add(operation, errors);
        }
    }
    document
}

/// What any operation of its kind can answer, besides what is written at it.
fn add_errors(operation: &mut Operation, has_parameter: bool, has_limit: bool) {
    const OVERLOADED: &str = "`overloaded`: too many requests at once";
    const KEY_REUSED: &str = "`conflict`: the `Idempotency-Key` was used with another request";
    let has_key = has_parameter_named(operation, "Idempotency-Key");
    let has_body = operation.request_body.is_some();
    let creates = operation.responses.responses.contains_key("201");
    let has_query = operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| match parameter {
            RefOr::T(parameter) => {
                parameter.parameter_in == utoipa::openapi::path::ParameterIn::Query
            }
            RefOr::Ref(_) => false,
        });
    let errors = [
        (
            has_body,
            "400",
            "`invalid_json` or `validation_failed`: the body is not as described",
        ),
        (
            has_query,
            "400",
            "`validation_failed`: a query parameter is not as described",
        ),
        (
            has_key,
            "400",
            "`validation_failed`: the `Idempotency-Key` is not as described",
        ),
        (has_parameter, "404", "`not_found`: there is no such id"),
        (
            has_body,
            "408",
            "`request_timeout`: the body did not arrive in time",
        ),
        (has_key, "409", KEY_REUSED),
        (has_body, "413", "`payload_too_large`: a body over 64 KiB"),
        (
            has_body,
            "415",
            "`unsupported_media_type`: the body is not said to be JSON",
        ),
        (true, "500", "`internal`: a bug; the log has the detail"),
        (has_limit, "503", OVERLOADED),
        (
            creates,
            "507",
            "`store_full`: there are as many records as may be",
        ),
    ];
    for (applies, status, description) in errors {
        if applies {
            operation
                .responses
                .responses
                .entry(status.to_owned())
                .or_insert_with(|| RefOr::T(error_response(description)));
        }
    }
    // A status that stands at the operation without a body is an error too.
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && response.content.is_empty()
            && status.starts_with(['4', '5'])
        {
            *response = error_response(&response.description);
        }
    }
    // So is one that stands there for another reason to try again later.
    if has_limit && let Some(RefOr::T(response)) = operation.responses.responses.get_mut("503") {
        if response.description != OVERLOADED {
            response.description = format!("{}; or {OVERLOADED}", response.description);
        }
        let seconds = header("After how many seconds to try again");
        response.headers.insert("Retry-After".to_owned(), seconds);
    }
    if has_key
        && let Some(RefOr::T(response)) = operation.responses.responses.get_mut("409")
        && response.description != KEY_REUSED
    {
        response.description = format!("{}; or {KEY_REUSED}", response.description);
    }
}

fn has_parameter_named(operation: &Operation, name: &str) -> bool {
    let mut parameters = operation.parameters.iter().flatten();
    parameters.any(|parameter| matches!(parameter, RefOr::T(one) if one.name == name))
}

fn error_response(description: &str) -> Response {
    let body = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(ErrorBody::name())))
        .build();
    ResponseBuilder::new()
        .description(description)
        .content("application/json", body)
        .build()
}

fn add_headers(operation: &mut Operation) {
    // What is told in pages is a list of records; an array alone need not be one.
    let is_list = has_parameter_named(operation, "after");
    let has_key = has_parameter_named(operation, "Idempotency-Key");
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else {
            continue;
        };
        let mut add = |name: &str, description: &str| {
            response
                .headers
                .insert(name.to_owned(), header(description));
        };
        add("X-Request-Id", "The id of the request, as in the log");
        if has_key && (status.starts_with('2') || status == "404" || status == "409") {
            add(
                "Idempotency-Replayed",
                "`true` if this is the first answer again, and nothing was done",
            );
        }
        if status == "201" {
            add("Location", "Where the new record is");
        }
        if status == "202" {
            add("Location", "Where the outcome will be");
        }
        if status == "200" && is_list {
            add(
                "X-Total-Count",
                "The count of all records, not only of this page",
            );
            add("Link", "The next page, while more follow");
        }
    }
}

fn header(description: &str) -> RefOr<Header> {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let header = HeaderBuilder::new()
        .schema(Some(text))
        .description(Some(description))
        .build();
    RefOr::T(header)
}
