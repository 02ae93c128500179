//! Rocket's adapter is the one that product-service has.

pub use product_service::http::{API, serve};
