//! What two or more of the shop's programs need and that names no web framework.
//!
//! A module may import the modules in its row, and no others; `tests/layers.rs` reads
//! this table and every `use` line. Read it from top to bottom.
//!
//! | module | what it holds | may import |
//! |---|---|---|
//! | [`values`] | ids, money, text, times, the names of headers | |
//! | [`env`](mod@env) | environment variables, typed | |
//! | [`telemetry`] | log lines, metrics, spans, the ids of the current request | `values`, `env` |
//! | [`contract`] | errors, replies, bodies, pages, idempotency, the OpenAPI document | `values`, `telemetry` |
//! | [`store`] | records in ascending id, up to a limit | `values`, `contract` |
//! | [`upstream`] | calls to other services: time-out, retry, circuit breaker, bulkhead | `values`, `env`, `telemetry`, `contract` |
//! | [`lab`] | what breaks and resets a service on purpose: faults, the clock, the demo's data | `values`, `env`, `telemetry`, `contract` |
//! | [`serve`] | running a service: configuration, connections, requests, shutdown | all of the above |
//! | `testkit` | servers on port 0, stub upstreams (feature `testkit`) | all of the above |
//!
//! Start with [`serve::exchange`]: it is what happens around every request.

pub mod contract;
pub mod env;
pub mod lab;
pub mod serve;
pub mod store;
pub mod telemetry;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod upstream;
pub mod values;
