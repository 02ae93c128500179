//! The HTTP contract of the shop on Rocket: guards, responders and a fairing.
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
//! use on_rocket::{Answer, Checked, Failure, PageOf};
//! use rocket::{Route, State, get, routes};
//!
//! #[get("/api/things")]
//! fn list(things: &State<Things>, page: Checked<PageOf>) -> Result<Answer, Failure> {
//!     let PageOf(page) = page?;
//!     Ok(Answer(things.list(page)))
//! }
//!
//! fn routes() -> Vec<Route> {
//!     routes![list]
//! }
//!
//! async fn run(
//!     listener: TcpListener,
//!     things: Things,
//!     service: Arc<Service>,
//! ) -> Result<(), RunError> {
//!     on_rocket::serve(listener, routes(), things, service).await
//! }
//! ```

mod answer;
mod dispatch;
mod exchange;
mod extract;
mod operations;
mod serve;

pub use answer::{Answer, Failure};
pub use extract::{Checked, IdempotencyKey, Json, PageOf, Path};
pub use serve::serve;
