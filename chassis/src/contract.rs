//! The HTTP contract, in plain data: it names no web framework.

pub mod api;
pub mod body;
pub mod error;
pub mod health;
pub mod idempotency;
mod operations;
pub mod page;
pub mod reply;
pub(crate) mod room;
