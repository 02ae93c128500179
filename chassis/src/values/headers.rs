//! The names of the headers that services add to requests and responses, in lower
//! case.

/// The id of a request, on the request, on its response and on every call it causes.
pub const REQUEST_ID: &str = "x-request-id";

/// The key that makes a repeated change take effect once.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The position in a trace ([W3C Trace Context](https://www.w3.org/TR/trace-context/)).
pub const TRACEPARENT: &str = "traceparent";

/// What other tracing systems have recorded about the trace.
pub const TRACESTATE: &str = "tracestate";

/// What a 404 did not find. The one value is `route`: there is no such path. Without the
/// header, the path is known and the record is not.
pub const NOT_FOUND: &str = "x-not-found";
