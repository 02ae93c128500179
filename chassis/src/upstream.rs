//! Calls to other services, and how they fail: fast, rarely, and without taking
//! their caller along.

pub mod breaker;
pub mod budget;
pub mod bulkhead;
pub mod call;
pub mod client;
pub mod error;
pub mod instances;
pub(crate) mod line;
pub mod metrics;
pub mod registry;
pub mod resilience;
pub mod shared_poll;
pub mod url;
