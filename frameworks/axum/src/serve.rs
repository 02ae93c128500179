//! Puts the contract around the routes of a service, and answers with them on a listener.

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
/// Answers on `listener` with `routes`, which share `app`, until the service's
/// shutdown is over.
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
/// A layer for every request, and fallbacks for those that no route matches.
pub(crate) fn with_rules(routes: Router, service: Arc<Service>) -> Router {
    routes
        .merge(operations())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .fallback(unrouted)
        .method_not_allowed_fallback(unrouted)
        .layer(from_fn(exchange))
        .layer(Extension(service))
}
// ANCHOR_END: with_rules
