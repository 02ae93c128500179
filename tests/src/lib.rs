//! What the tests of the whole shop share. In reading order:
//!
//! | room | what is in it |
//! |---|---|
//! | [`shop`] | the five real servers, on free ports, wired to each other |
//! | [`faults`] | a list of what was not as expected, so that one run shows all of it |
//! | [`raw`] | HTTP/1.1 byte by byte, where a client library would tidy up |
//! | [`fake`] | a neighbour that the test answers for, and that remembers what it was asked |
//! | [`collector`] | what takes the spans of the services, and shows them |
//! | [`program`] | the built services as processes |
//! | [`document`] | an `OpenAPI` document: its own rules, and whether an answer is as it says |
//!
//! The tests themselves:
//!
//! | file | what it shows |
//! |---|---|
//! | `tests/contract.rs` | the contract, written once, run against all five, and against product-service on each framework |
//! | `tests/openapi.rs` | the documents describe the contract, and the answers match them |
//! | `tests/shop.rs` | the five together: the golden journey, races, outages |
//! | `tests/binaries.rs` | the programs: start, log, stop |
//! | `tests/front_door.rs` | the programs: slow and greedy clients, and more than there is room for |
//! | `tests/telemetry.rs` | one trace through all of them, sent to a collector that may be ill |
//! | `tests/docs.rs` | what the documents point at is there |
#![allow(
    clippy::missing_panics_doc,
    reason = "a test helper panics: that is how a test fails"
)]

pub mod collector;
pub mod document;
pub mod fake;
pub mod faults;
pub mod program;
pub mod raw;
pub mod shop;

use std::time::Duration;

/// Longer than anything here takes: a wait that exceeds it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);
