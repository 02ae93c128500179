//! Adds the contract to the routes of a service, and serves them on a listener.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::{Extension, Router};
use chassis::contract::body::MAX_BODY;
use chassis::serve::run::RunError;
use chassis::serve::server;
use chassis::serve::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use crate::exchange::exchange;
use crate::operations::{operations, unrouted};

// ANCHOR: serve
/// Serves `routes` on `listener` until the service has shut down. `app` is the state that
/// the handlers share.
pub async fn serve<A>(
    listener: TcpListener,
    routes: Router<A>,
    app: A,
    service: Arc<Service>,
) -> Result<(), RunError>
where
    A: Clone + Send + Sync + 'static,
{
    let routes = routes.with_state(app);
    let http = TowerToHyperService::new(with_rules(routes, Arc::clone(&service)));
    server::serve(listener, http, &service).await;
    Ok(())
}
// ANCHOR_END: serve

// ANCHOR: with_rules
/// Adds the operations, the exchange around every request, and the reply to requests that
/// no route matches.
fn with_rules(routes: Router, service: Arc<Service>) -> Router {
    routes
        .merge(operations())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .fallback(unrouted)
        .method_not_allowed_fallback(unrouted)
        .layer(from_fn(exchange))
        .layer(Extension(service))
}
// ANCHOR_END: with_rules
