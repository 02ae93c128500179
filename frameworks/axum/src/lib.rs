//! The contract of the shop's HTTP APIs, on axum: extractors, responses and a layer of its own.
//!
//! A service brings its routes; [`serve`] adds the routes that every service has, the
//! log line, the limits and the errors. Handlers return an [`Answer`] or a [`Failure`].
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
