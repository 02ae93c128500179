//! Rocket's adapter: that of product-service.

pub use product_service::http::{API, serve};
