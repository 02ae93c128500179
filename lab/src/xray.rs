//! The X-ray of a request: a trace, drawn in the terminal.
//!
//! | module | contents |
//! |---|---|
//! | [`trace`] | a trace as analytics-service shows it, and the rows that are drawn of it |
//! | [`waterfall`] | what took how long, as bars |
//! | [`sequence`] | who called whom, as a sequence diagram |
//! | [`screen`] | lines of 80 columns, with or without colour |
//!
//! Whatever a trace contains, no line gets longer, and no control character is printed.

pub mod screen;
pub mod sequence;
pub mod trace;
pub mod waterfall;
