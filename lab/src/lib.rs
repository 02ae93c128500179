//! The tools of the lab, which look at a running shop through HTTP alone.
//!
//! | module | contents |
//! |---|---|
//! | [`shop`] | where the five services and the gateway are |
//! | [`client`] | a small HTTP client: time-outs, bounded bodies, errors in one sentence |

pub mod client;
pub mod shop;
