//! Puts the contract around the routes of a service, and answers with them on a listener.

use poem::EndpointExt;
use std::convert::Infallible;
use std::sync::Arc;

use chassis::serve::run::RunError;
use chassis::serve::server;
use chassis::serve::service::Service;
use hyper::body::Incoming;
use hyper::service::service_fn;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Request, Route};
use tokio::net::TcpListener;

use crate::exchange::exchange;
use crate::operations::with_operations;

// ANCHOR: serve
/// Answers on `listener` with `routes`, which share `app`, until the service's
/// shutdown is over.
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
            // Nobody here looks at the addresses.
            let request = Request::from((
                request,
                LocalAddr::default(),
                RemoteAddr::default(),
                Scheme::HTTP,
            ));
            Ok::<_, Infallible>(hyper::Response::from(endpoint.get_response(request).await))
        }
    });
    server::serve(listener, http, &service).await;
    Ok(())
}
// ANCHOR_END: serve

// ANCHOR: with_rules
/// What all handlers share, and a middleware for every request, matched or not.
pub(crate) fn with_rules<A>(routes: Route, app: A, service: Arc<Service>) -> impl Endpoint
where
    A: Clone + Send + Sync + 'static,
{
    with_operations(routes)
        .data(app)
        .data(Arc::clone(&service))
        .around(move |endpoint, request| exchange(Arc::clone(&service), endpoint, request))
}
// ANCHOR_END: with_rules
