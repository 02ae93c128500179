//! The shared code of the tests of the whole shop. In reading order:
//!
//! | module | contents |
//! |---|---|
//! | [`shop`] | the five real servers, on free ports, wired to each other |
//! | [`faults`] | a list of failed expectations, so that one run shows all of them |
//! | [`fake`] | an upstream whose answers the test provides, and that records its requests |
//! | [`collector`] | receives the spans of the services |
//! | [`program`] | the built services as processes, which tests can kill and restart |
//! | [`scripts`] | a shop that the scripts start, swap and stop |
//! | [`ask`] | requests of clients to the programs |
//! | [`document`] | an OpenAPI document: whether it is valid, and whether an answer matches it |
//!
//! Processes and HTTP/1.1 byte by byte are in [`harness`].
//!
//! The tests themselves:
//!
//! | file | contents |
//! |---|---|
//! | `tests/contract` | the contract, written once, run against all five, against product-service on each framework, and through the gateway |
//! | `tests/gateway` | the gateway: what it changes on the way, what it refuses, and what it says when a service fails |
//! | `tests/openapi` | the documents describe the contract, and the answers match them |
//! | `tests/shop` | the five together: the golden journey, races, outages |
//! | `tests/binaries` | the programs: start, log, stop |
//! | `tests/lab` | the lab: faults, reset, seed, clock and spans, on all five frameworks and the gateway |
//! | `tests/limits` | the programs: time-outs and limits against slow and greedy clients |
//! | `tests/faults` | the programs: each upstream dies, hangs, is slow or answers garbage |
//! | `tests/chaos` | the programs: thousands of orders while they die and hang at random |
//! | `tests/telemetry.rs` | one trace through all services, sent to a collector that may fail |
//! | `tests/scripts.rs` | the scripts: run from any directory, the demo, the swap |
//! | `tests/verbs.rs` | the same verbs break the shop and the lab in containers |
//! | `tests/compose.rs` | the lab in containers: the compose file matches the diagram, and every service is locked down |
//! | `tests/dashboard.rs` | every metric and label of the Grafana dashboard exists |
//! | `tests/editors.rs` | the requests of `shop.http`, and the dev container |
//! | `tests/kubernetes` | the manifests: known fields only, and the network matches the diagram |
//! | `tests/docs.rs` | links and paths in the documents exist, and all variables are documented |
//! | `tests/snippets.rs` | the code in `docs/frameworks/` matches the sources |
#![allow(
    clippy::missing_panics_doc,
    reason = "a test helper panics: that is how a test fails"
)]

pub mod ask;
pub mod collector;
pub mod document;
pub mod fake;
pub mod faults;
pub mod program;
pub mod scripts;
pub mod shop;
