//! What two or more of the shop's services need and that names no web framework.
//!
//! In reading order:
//!
//! | room | what is in it |
//! |---|---|
//! | [`config`] | typed configuration from environment variables |
//! | [`run`](mod@run), `healthcheck` | the frame of every `main`; asking the one that runs |
//! | [`service`] | what every service carries; health, readiness |
//! | [`exchange`] | one request: what is logged, counted, added and refused |
//! | [`context`] | the ids of the request being answered |
//! | [`error`] | the one error of the contract |
//! | [`reply`] | a response in plain data |
//! | [`api`] | the OpenAPI document; 404, 405 and preflights that follow from it |
//! | [`body`] | request bodies: limits, JSON, every fault at once |
//! | [`table`] | records in ascending id, and pages of them |
//! | [`id`], [`money`], [`time`] | the values on the wire |
//! | [`client`] | calls to other services |
//! | [`resilience`], [`breaker`] | how those fail: soon, seldom, and alone |
//! | [`idempotency`] | changes that are done once, however often they are asked for |
//! | [`server`], [`connection`], [`shutdown`] | the accept loop under four of the frameworks; time-outs; stopping |
//! | [`telemetry`], [`export`] | log lines; spans on their way to a collector |
//! | `testkit` | servers on port 0, stub upstreams (feature `testkit`) |

pub mod api;
pub mod body;
pub mod breaker;
pub mod client;
pub mod config;
pub mod connection;
pub mod context;
pub mod error;
pub mod exchange;
pub mod export;
pub mod guarded;
mod healthcheck;
pub mod id;
pub mod idempotency;
mod metrics;
pub mod money;
mod operations;
mod output;
mod path;
pub mod reply;
pub mod resilience;
pub mod run;
pub mod server;
pub mod service;
pub mod shutdown;
mod spans;
pub mod table;
pub mod telemetry;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod time;

pub use run::run;
