//! The tools of the lab, which look at a running shop through HTTP alone.
//!
//! | module | contents |
//! |---|---|
//! | [`shop`] | where the five services and the gateway are |
//! | [`client`] | a small HTTP client: time-outs, bounded bodies, errors in one sentence |
//! | [`load`] | customers who browse, order and cancel, and what becomes of their requests |
//! | [`scenario`] | lessons: something changes while there is load, and the outcome is checked |

pub mod client;
pub mod load;
pub mod scenario;
pub mod shop;
