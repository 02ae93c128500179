//! Features of the frameworks that the lab does not use, and the failure when a handler asks
//! for state that the application does not have.

mod actix;
mod axum;
mod poem;
mod rocket;
mod warp;

/// The state that handlers ask for. No application here has it.
#[derive(Clone)]
struct Forgotten;
