//! What the tests of the whole shop share. In reading order:
//!
//! | room | what is in it |
//! |---|---|
//! | [`shop`] | the five real servers, on free ports, wired to each other |
//! | [`faults`] | a list of what was not as expected, so that one run shows all of it |
//! | [`fake`] | a neighbour that the test answers for, and that remembers what it was asked |
//! | [`collector`] | what takes the spans of the services, and shows them |
//! | [`program`] | the built services as processes, that can be killed and come back |
//! | [`scripts`] | a shop that the scripts start, swap and stop |
//! | [`ask`] | what clients ask the programs for |
//! | [`document`] | an OpenAPI document: its own rules, and whether an answer is as it says |
//!
//! Processes and HTTP/1.1 byte by byte are in [`harness`].
//!
//! The tests themselves:
//!
//! | file | what it shows |
//! |---|---|
//! | `tests/contract` | the contract, written once, run against all five, and against product-service on each framework |
//! | `tests/openapi` | the documents describe the contract, and the answers match them |
//! | `tests/shop` | the five together: the golden journey, races, outages |
//! | `tests/binaries` | the programs: start, log, stop |
//! | `tests/limits` | the programs: time-outs and limits against slow and greedy clients |
//! | `tests/faults` | the programs: each one that is called dies, hangs, is slow or talks nonsense |
//! | `tests/chaos` | the programs: thousands of orders while they die and hang at random |
//! | `tests/telemetry.rs` | one trace through all of them, sent to a collector that may be ill |
//! | `tests/scripts.rs` | the scripts that swap and start: which framework product-service is on |
//! | `tests/compose.rs` | the lab in containers: its file is the diagram, and locks all of them down |
//! | `tests/kubernetes` | the manifests: known fields only, and the network is the diagram |
//! | `tests/docs.rs` | what the documents point at is there, and the variables are all told |
//! | `tests/snippets.rs` | the code in `docs/frameworks/` is that of the sources |
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
