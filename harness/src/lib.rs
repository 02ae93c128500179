//! Code that tests and tools share and no service needs.
//!
//! | module | contents |
//! |---|---|
//! | [`process`] | child processes: started, read, signalled and killed |
//! | [`raw`] | HTTP/1.1 byte by byte, where a client library would correct a request |
//! | [`Got`] | a response, read to its end |
//!
//! Of the shop, the crate knows only the form of errors, so that any other crate may use it.
#![allow(
    clippy::missing_panics_doc,
    reason = "a test helper panics: that is how a test fails"
)]

mod got;
pub mod process;
pub mod raw;

pub use got::Got;

use std::time::Duration;

/// Longer than anything in the tests takes: a wait that exceeds it hangs.
pub const TIMEOUT: Duration = Duration::from_secs(20);
