//! The values on the wire: ids, money, text, times and the names of headers.

pub mod clock;
pub mod headers;
pub mod id;
pub mod money;
pub(crate) mod path;
pub mod text;
pub mod time;
pub(crate) mod uri;
