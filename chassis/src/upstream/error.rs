//! Why a call to another service failed, and what is known about its effect.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use hyper_util::client::legacy;

use crate::contract::error::ApiError;

/// Why a call failed. After some failures nobody knows whether the request took effect
/// ([`CallError::in_doubt`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The service judged the request and refused it: a 4xx about a record or a value, with
    /// the contract's error.
    Refused {
        /// The status, 400 to 499.
        status: u16,
        /// The contract's code for the error, such as `insufficient_stock`.
        code: String,
        /// The sentence for a person.
        message: String,
    },
    /// Nobody judged the request: a 4xx of a rate limiter, of something else in between, or of
    /// a service that has no such route. This attempt had no effect, and it says nothing
    /// about an attempt before it.
    TurnedAway {
        /// The status, 400 to 499.
        status: u16,
        /// The sentence for a person, if there is one.
        message: String,
        /// How long to wait before the next attempt, if the response says so.
        retry_after: Option<Duration>,
    },
    /// No connection: nothing was sent.
    Unreachable(String),
    /// No complete response in time.
    TimedOut(Duration),
    /// The connection broke before the response was complete.
    Broken(String),
    /// A 5xx response.
    Failed {
        /// The status, 500 to 599.
        status: u16,
        /// How long to wait before the next attempt, if the response says so.
        retry_after: Option<Duration>,
    },
    /// A response that does not follow the contract: a redirect, no JSON, or a value that the
    /// contract excludes.
    Unusable(String),
    /// The circuit is open for this much longer: nothing was sent.
    CircuitOpen(Duration),
    /// So many calls to the service were in flight, the most allowed, that this one got no
    /// place before its deadline: nothing was sent.
    BulkheadFull(u32),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused {
                status, message, ..
            } => write!(f, "refused with {status}: {message}"),
            Self::TurnedAway {
                status, message, ..
            } => write!(f, "turned the request away with {status}: {message}"),
            Self::Unreachable(cause) => write!(f, "cannot be reached: {cause}"),
            Self::TimedOut(limit) => {
                let limit = (limit.as_secs_f64() * 1000.0).round();
                write!(f, "did not answer within {limit} ms")
            }
            Self::Broken(cause) => write!(f, "broke off the connection: {cause}"),
            Self::Failed { status, .. } => write!(f, "failed with {status}"),
            Self::Unusable(what) => write!(f, "sent an unusable response: {what}"),
            Self::CircuitOpen(rest) => write!(
                f,
                "was not called: its circuit is open for another {} ms, after too many failures",
                rest.as_millis()
            ),
            Self::BulkheadFull(most) => {
                write!(
                    f,
                    "was not called: {most} calls to it were in flight, the most allowed, until the deadline"
                )
            }
        }
    }
}

impl Error for CallError {}

impl CallError {
    /// The service answered with another record than the one asked for.
    pub fn other_record(asked: impl fmt::Display, got: impl fmt::Display) -> Self {
        Self::Unusable(format!("asked for {asked}, got {got}"))
    }

    /// Whether the service judged the request and refused it.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether the request may have taken effect although the call failed.
    pub fn in_doubt(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Broken(_) | Self::Failed { .. } | Self::Unusable(_) => true,
            Self::Refused { .. }
            | Self::TurnedAway { .. }
            | Self::Unreachable(_)
            | Self::CircuitOpen(_)
            | Self::BulkheadFull(_) => false,
        }
    }

    /// How long the response asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TurnedAway { retry_after, .. } | Self::Failed { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the next attempt may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut(_) | Self::Broken(_) => true,
            Self::Failed { status, .. } => matches!(status, 502..=504),
            Self::TurnedAway {
                status,
                retry_after,
                ..
            } => retry_after.is_some() || matches!(status, 408 | 425 | 429),
            Self::Refused { .. }
            | Self::Unusable(_)
            | Self::CircuitOpen(_)
            | Self::BulkheadFull(_) => false,
        }
    }

    /// The error for a client of this service, which needs `service`. A full bulkhead is a
    /// limit of this service; anything else is a failure of the other one.
    pub fn for_client(&self, service: &str) -> ApiError {
        match self {
            Self::BulkheadFull(most) => ApiError::too_many_calls(*most, service),
            cause => ApiError::dependency_unavailable(service, cause),
        }
    }

    /// The outcome in one word, for metrics and spans.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::TurnedAway { .. } => "turned_away",
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timed_out",
            Self::Broken(_) => "broken",
            Self::Failed { .. } => "failed",
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
