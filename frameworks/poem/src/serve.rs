//! Adds the contract to the routes of a service, and serves them on a listener.

use std::convert::Infallible;
use std::sync::Arc;

use chassis::serve::run::RunError;
use chassis::serve::server;
use chassis::serve::service::Service;
use hyper::body::Incoming;
use hyper::service::service_fn;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, EndpointExt, Request, Route};
use tokio::net::TcpListener;

use crate::exchange::exchange;
use crate::operations::with_operations;

// ANCHOR: serve
/// Serves `routes` on `listener` until the service has shut down. `app` is the state that
/// the handlers share.
pub async fn serve<A>(
    listener: TcpListener,
    routes: Route,
    app: A,
    service: Arc<Service>,
) -> Result<(), RunError>
where
    A: Clone + Send + Sync + 'static,
{
    let endpoint = with_rules(routes, app, Arc::clone(&service));
    let endpoint = Arc::new(endpoint);
    let http = service_fn(move |request: hyper::Request<Incoming>| {
        let endpoint = Arc::clone(&endpoint);
        async move {
            // No handler uses the addresses.
            let request = Request::from((
                request,
                LocalAddr::default(),
                RemoteAddr::default(),
                Scheme::HTTP,
            ));
            // In a box: the future has more than 16 KiB.
            let answering = Box::pin(endpoint.get_response(request));
            Ok::<_, Infallible>(hyper::Response::from(answering.await))
        }
    });
    server::serve(listener, http, &service).await;
    Ok(())
}
// ANCHOR_END: serve

// ANCHOR: with_rules
/// Adds the operations, the shared state, and the exchange around every request.
fn with_rules<A>(routes: Route, app: A, service: Arc<Service>) -> impl Endpoint
where
    A: Clone + Send + Sync + 'static,
{
    with_operations(routes, service.lab().is_some())
        .data(app)
        .data(Arc::clone(&service))
        .around(move |endpoint, request| exchange(Arc::clone(&service), endpoint, request))
}
// ANCHOR_END: with_rules
