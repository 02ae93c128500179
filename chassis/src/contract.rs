//! The HTTP contract, in plain data: it names no web framework.

pub mod accept;
pub mod api;
pub mod body;
pub mod cut;
mod document;
pub mod error;
pub mod examples;
pub mod health;
pub mod idempotency;
pub mod index;
mod operations;
pub mod page;
pub mod reply;
pub(crate) mod response_memory;
