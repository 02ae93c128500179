//! What the checks ask, and answers in a line.

use std::net::SocketAddr;
use std::time::Duration;

use chassis::testkit::Got;
use harness::raw;
use serde_json::Value;
use tokio::time::timeout;

/// A program that takes longer than this hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The header of a body that says what it is.
pub(crate) const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// What of a body is shown, in characters.
const SHOWN: usize = 100;

/// Sends one request on a connection of its own.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Got, String> {
    let request = raw::request(method, path, headers, body.as_bytes());
    let asking = timeout(PATIENCE, raw::exchange(address, &request));
    let asked = asking.await;
    asked.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
}

/// The status and the body; of an error its code, and what it has not of the shape
/// of the contract.
pub(crate) fn told(got: &Result<Got, String>) -> String {
    let got = match got {
        Ok(got) => got,
        Err(cause) => return cause.clone(),
    };
    let status = got.status;
    if got.body.is_empty() {
        return format!("{status} and no body");
    }
    if status < 400 {
        return format!("{status} {}", shown(&got.body));
    }
    let Ok(body) = serde_json::from_slice::<Value>(&got.body) else {
        return format!("{status} and no JSON: {}", shown(&got.body));
    };
    let text = |field: &str| body[field].as_str().unwrap_or_default();
    let mut told = match text("code") {
        "" => format!("{status} without a code"),
        code => format!("{status} {code}"),
    };
    if text("error").is_empty() {
        told.push_str(", no sentence in error");
    }
    if got.header("content-type") != "application/json" {
        told.push_str(", Content-Type not application/json");
    }
    if text("requestId").is_empty() || text("requestId") != got.header("x-request-id") {
        told.push_str(", requestId not that of X-Request-Id");
    }
    told
}

/// The same with the methods that it allows.
pub(crate) fn told_with_allow(got: &Result<Got, String>) -> String {
    format!("{}, Allow: {}", told(got), allowed(got))
}

/// The methods that an answer says are allowed.
pub(crate) fn allowed(got: &Result<Got, String>) -> &str {
    match got.as_ref().map(|got| got.header("allow")) {
        Ok("") | Err(_) => "none",
        Ok(methods) => methods,
    }
}

/// What came as JSON, or null.
pub(crate) fn json(got: &Result<Got, String>) -> Value {
    let body = got.as_ref().ok().map(|got| got.body.as_slice());
    body.and_then(|body| serde_json::from_slice(body).ok())
        .unwrap_or_default()
}

fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}
