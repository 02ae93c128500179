//! Adds the contract to the routes of a service, and serves them on a listener.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use chassis::serve::run::RunError;
use chassis::serve::server;
use chassis::serve::service::Service;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

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
/// Adds the operations, the reply to requests that no route matches, and the exchange
/// around every request.
fn with_rules(
    routes: Router,
    service: Arc<Service>,
) -> impl tower::Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone
{
    let routes = routes
        .merge(operations(service.lab().is_some()))
        .fallback(unrouted)
        .method_not_allowed_fallback(unrouted);
    // `Router::layer` would put a layer around each route, and every request would clone
    // it. Around the router, there is one.
    from_fn_with_state(service, exchange)
        .layer(routes)
        .map_request(|request: Request<Incoming>| request.map(Body::new))
}
// ANCHOR_END: with_rules
