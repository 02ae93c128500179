//! Adds the contract to the routes of a service, and serves them on a listener.

use std::convert::Infallible;
use std::sync::Arc;

use chassis::serve::run::RunError;
use chassis::serve::server;
use chassis::serve::service::Service;
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::service_fn;
use warp::http::Request;
use warp::path::FullPath;
use warp::{Filter, Rejection};

use crate::answer::failed;
use crate::exchange::{Sent, exchange};
use crate::extract::service;
use crate::operations::{operations, unrouted};

// ANCHOR: serve
/// Serves `routes` on `listener` until the service has shut down. `app` is the state that
/// the handlers share.
pub async fn serve<F, R, A>(
    listener: TcpListener,
    routes: F,
    app: A,
    service: Arc<Service>,
) -> Result<(), RunError>
where
    F: Filter<Extract = (R,), Error = Rejection> + Copy + Send + Sync + 'static,
    R: warp::Reply + 'static,
    A: Clone + Send + Sync + 'static,
{
    let http = TowerToHyperService::new(with_rules(routes, app, Arc::clone(&service)));
    server::serve(listener, http, &service).await;
    Ok(())
}
// ANCHOR_END: serve

// ANCHOR: with_rules
/// Adds the operations, the exchange around every request, and the reply to requests that
/// no route matches.
fn with_rules<F, R, A>(
    routes: F,
    app: A,
    service: Arc<Service>,
) -> impl tower::Service<
    Request<Incoming>,
    Response = hyper::Response<impl Sent>,
    Error = Infallible,
    Future: Send,
> + Clone
where
    F: Filter<Extract = (R,), Error = Rejection> + Copy + Send + Sync + 'static,
    R: warp::Reply + 'static,
    A: Clone + Send + Sync + 'static,
{
    let fallback = warp::method()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(self::service())
        .then(unrouted);
    let routes = no_trailing_slash().and(routes.or(operations()));
    let filters = warp::service(routes.recover(failed).or(fallback));
    service_fn(move |request| exchange(app.clone(), Arc::clone(&service), filters, request))
}
// ANCHOR_END: with_rules

/// Rejects a trailing slash, except in `/`: warp matches `/health/` like `/health`.
fn no_trailing_slash() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::path::full()
        .and_then(async |path: FullPath| {
            if path.as_str().len() > 1 && path.as_str().ends_with('/') {
                Err(warp::reject())
            } else {
                Ok(())
            }
        })
        .untuple_one()
}
