//! The parts that `compare` and `figures` share: processes and servers, load generators,
//! statistics, and tables.

pub mod lines;
pub mod load;
pub mod machine;
pub mod process;
pub mod progress;
pub mod server;
pub mod stats;
pub mod table;
