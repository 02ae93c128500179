//! Requests of the checks, and a summary line for each response.

use std::net::SocketAddr;
use std::time::Duration;

use chassis::testkit::Got;
use harness::raw;
use serde_json::Value;
use tokio::time::timeout;

/// The time-out of a request.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// The header of a JSON body.
pub(crate) const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// The most characters of a body that a summary shows.
const SHOWN: usize = 100;

/// Sends a request on a new connection.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Got, String> {
    let request = raw::request(method, path, headers, body.as_bytes());
    let asking = timeout(TIMEOUT, raw::exchange(address, &request));
    let asked = asking.await;
    asked.unwrap_or_else(|_| Err(format!("no answer within {TIMEOUT:?}")))
}

/// A summary of a response: its status and body. For an error: its code, and how it differs from
/// the contract.
pub(crate) fn summary(got: &Result<Got, String>) -> String {
    let got = match got {
        Ok(got) => got,
        Err(cause) => return cause.clone(),
    };
    let status = got.status;
    if got.body.is_empty() {
        return format!("{status}, no body");
    }
    if status < 400 {
        return format!("{status} {}", shown(&got.body));
    }
    let Ok(body) = serde_json::from_slice::<Value>(&got.body) else {
        return format!("{status}, not JSON: {}", shown(&got.body));
    };
    let text = |field: &str| body[field].as_str().unwrap_or_default();
    let mut summary = match text("code") {
        "" => format!("{status}, no code"),
        code => format!("{status} {code}"),
    };
    if text("error").is_empty() {
        summary.push_str(", no message in error");
    }
    if got.header("content-type") != "application/json" {
        summary.push_str(", Content-Type not application/json");
    }
    if text("requestId").is_empty() || text("requestId") != got.header("x-request-id") {
        summary.push_str(", requestId differs from X-Request-Id");
    }
    summary
}

/// The methods in `Allow`.
pub(crate) fn allowed(got: &Result<Got, String>) -> &str {
    match got.as_ref().map(|got| got.header("allow")) {
        Ok("") | Err(_) => "none",
        Ok(methods) => methods,
    }
}

/// The body as JSON, or null.
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
