//! What the pages say of a framework's own means that no room of the lab uses, and of
//! the state that a handler asks for and nobody has given.

mod actix;
mod axum;
mod poem;
mod rocket;
mod warp;

/// What handlers ask for. It is in no application here.
#[derive(Clone)]
struct Forgotten;
