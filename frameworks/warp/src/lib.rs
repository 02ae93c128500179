//! The HTTP contract of the shop on warp: filters, replies and a tower service.
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
//! use chassis::contract::page::Page;
//! use on_warp::{Answer, app, get_or_head, page};
//! use warp::{Filter, Rejection};
//!
//! async fn list(things: Things, page: Page) -> Answer {
//!     Answer(things.list(page))
//! }
//!
//! fn routes() -> impl Filter<Extract = (impl warp::Reply,), Error = Rejection> + Copy {
//!     warp::path!("api" / "things")
//!         .and(get_or_head())
//!         .and(app())
//!         .and(page())
//!         .then(list)
//! }
//!
//! async fn run(
//!     listener: TcpListener,
//!     things: Things,
//!     service: Arc<Service>,
//! ) -> Result<(), RunError> {
//!     on_warp::serve(listener, routes(), things, service).await
//! }
//! ```

mod answer;
mod exchange;
mod extract;
mod operations;
mod serve;

pub use answer::{Answer, Failure};
pub use extract::{app, get_or_head, idempotency_key, json, page, parameter};
pub use serve::serve;
