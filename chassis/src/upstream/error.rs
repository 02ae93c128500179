//! Why a call to another service failed, and what is known about its effect.

use std::fmt;
use std::time::Duration;

/// Why a call did not bring what it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The service answered, and refused: a 4xx with the contract's error.
    Refused {
        /// The status, 400 to 499.
        status: u16,
        /// What it is called in the contract.
        code: String,
        /// The sentence for a person.
        message: String,
    },
    /// No connection: nothing was sent.
    Unreachable(String),
    /// No whole answer in time; what was asked for may have been done.
    TimedOut(Duration),
    /// The connection broke; what was asked for may have been done.
    Broken(String),
    /// A 5xx; what was asked for may have been done.
    Failed(u16),
    /// An answer that is not the contract's: a redirect, no JSON; what was asked
    /// for may have been done.
    Unusable(String),
    /// It failed too often in a row: nothing was sent, nor will be for so long.
    CircuitOpen(Duration),
    /// So many calls to it are under way already: nothing was sent.
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
            Self::Broken(cause) => write!(f, "broke off: {cause}"),
            Self::Failed(status) => write!(f, "failed with {status}"),
            Self::Unusable(what) => write!(f, "gave an answer of no use: {what}"),
            Self::CircuitOpen(rest) => write!(
                f,
                "was not asked: it failed too often, and is left alone for another {} ms",
                rest.as_millis()
            ),
            Self::BulkheadFull(most) => {
                write!(f, "was not asked: {most} calls to it are under way already")
            }
        }
    }
}

impl std::error::Error for CallError {}

impl CallError {
    /// Whether the service has answered, if only to refuse.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether what was asked for may have been done all the same.
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

    /// How the attempt ended, in a word for metrics and spans.
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

    pub(super) fn from_reqwest(error: reqwest::Error) -> Self {
        let connect = error.is_connect();
        // reqwest's own text repeats the URL; the cause is at the end of the chain.
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        if connect {
            Self::Unreachable(cause.to_string())
        } else {
            Self::Broken(cause.to_string())
        }
    }
}
