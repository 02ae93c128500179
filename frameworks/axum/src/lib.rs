//! The HTTP contract of the shop on axum: extractors, responses and a layer.
//!
//! A service passes its routes to [`serve`], which adds the operations (health, metrics,
//! docs), the log line, the limits and the errors of the contract. Handlers return an
//! [`Answer`] or a [`Failure`].
//!
//! ```
//! # use std::sync::Arc;
//! # use chassis::contract::reply::Reply;
//! # use chassis::serve::run::RunError;
//! # use chassis::serve::service::Service;
//! # use chassis::contract::page::Page as PageBounds;
//! # use tokio::net::TcpListener;
//! # #[derive(Clone)]
//! # struct Things;
//! # impl Things {
//! #     fn list(&self, _: PageBounds) -> Reply {
//! #         Reply::no_content()
//! #     }
//! # }
//! use axum::Router;
//! use axum::extract::State;
//! use axum::routing::get;
//! use on_axum::{Answer, PageOf};
//!
//! async fn list(State(things): State<Things>, PageOf(page): PageOf) -> Answer {
//!     Answer(things.list(page))
//! }
//!
//! fn routes() -> Router<Things> {
//!     Router::new().route("/api/things", get(list))
//! }
//!
//! async fn run(
//!     listener: TcpListener,
//!     things: Things,
//!     service: Arc<Service>,
//! ) -> Result<(), RunError> {
//!     on_axum::serve(listener, routes(), things, service).await
//! }
//! ```

mod answer;
mod exchange;
mod extract;
mod operations;
mod serve;

pub use answer::{Answer, Failure};
pub use extract::{IdempotencyKey, Json, PageOf, Path};
pub use serve::serve;
