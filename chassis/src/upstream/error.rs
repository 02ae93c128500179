//! Why a call to another service failed, and what is known about its effect.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use hyper_util::client::legacy;

/// Why a call failed. All but the first, the second and the last two are ambiguous: the
/// request may have taken effect ([`CallError::in_doubt`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The service refused the request: a 4xx with the contract's error.
    Refused {
        /// The status, 400 to 499.
        status: u16,
        /// The contract's code for the error, such as `insufficient_stock`.
        code: String,
        /// The sentence for a person.
        message: String,
    },
    /// No connection: nothing was sent.
    Unreachable(String),
    /// No complete response in time.
    TimedOut(Duration),
    /// The connection broke before the response was complete.
    Broken(String),
    /// The status of a 5xx response.
    Failed(u16),
    /// A response that does not follow the contract: a redirect, or no JSON.
    Unusable(String),
    /// The circuit is open for this much longer: nothing was sent.
    CircuitOpen(Duration),
    /// This many calls to the service are in flight, the most allowed: nothing was sent.
    BulkheadFull(u32),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused {
                status, message, ..
            } => write!(f, "refused with {status}: {message}"),
            Self::Unreachable(cause) => write!(f, "cannot be reached: {cause}"),
            Self::TimedOut(limit) => write!(f, "did not answer within {} ms", limit.as_millis()),
            Self::Broken(cause) => write!(f, "broke off the connection: {cause}"),
            Self::Failed(status) => write!(f, "failed with {status}"),
            Self::Unusable(what) => write!(f, "sent an unusable response: {what}"),
            Self::CircuitOpen(rest) => write!(
                f,
                "was not called: its circuit is open for another {} ms, after failures in a row",
                rest.as_millis()
            ),
            Self::BulkheadFull(most) => {
                write!(
                    f,
                    "was not called: {most} calls to it are in flight, the most allowed"
                )
            }
        }
    }
}

impl Error for CallError {}

impl CallError {
    /// Whether the service processed the request and refused it.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether the request may have taken effect although the call failed.
    pub fn in_doubt(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Broken(_) | Self::Failed(_) | Self::Unusable(_) => true,
            Self::Refused { .. }
            | Self::Unreachable(_)
            | Self::CircuitOpen(_)
            | Self::BulkheadFull(_) => false,
        }
    }

    /// Whether the next attempt may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut(_) | Self::Broken(_) => true,
            Self::Failed(status) => matches!(status, 502..=504),
            Self::Refused { .. }
            | Self::Unusable(_)
            | Self::CircuitOpen(_)
            | Self::BulkheadFull(_) => false,
        }
    }

    /// The outcome in one word, for metrics and spans.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timed_out",
            Self::Broken(_) => "broken",
            Self::Failed(_) => "failed",
            Self::Unusable(_) => "unusable",
            Self::CircuitOpen(_) => "circuit_open",
            Self::BulkheadFull(_) => "bulkhead_full",
        }
    }

    pub(super) fn from_client(error: &legacy::Error) -> Self {
        if error.is_connect() {
            Self::Unreachable(root_cause(error))
        } else {
            Self::broken(error)
        }
    }

    pub(super) fn broken(error: &(dyn Error + 'static)) -> Self {
        Self::Broken(root_cause(error))
    }
}

/// The last source in the chain: what comes before says only that a request failed.
fn root_cause(mut error: &(dyn Error + 'static)) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
