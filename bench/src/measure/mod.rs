//! What `compare` and `figures` have in common: processes and servers, the load
//! generators, what may be said about numbers, and how they are shown.

pub mod lines;
pub mod load;
pub mod machine;
pub mod process;
pub mod progress;
pub mod server;
pub mod stats;
pub mod table;
