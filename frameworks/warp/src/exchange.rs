//! The middleware around every request, whether or not a route matches.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use chassis::serve::exchange::{Exchange, STANDARD_HEADERS};
use chassis::serve::guarded::Guarded;
use chassis::serve::service::Service;
use chassis::values::headers::REQUEST_ID;
use hyper::body::{Body, Incoming};
use tower::ServiceExt;
use warp::Reply as _;
use warp::http::header::LOCATION;
use warp::http::{HeaderValue, Request};
use warp::reply::Response;

use crate::answer::Answer;

/// The body of a response. warp's own type of body is private, so this trait names it.
pub(crate) trait Sent:
    Body<Data = Bytes, Error = warp::Error> + Send + Unpin + 'static
{
}

impl<B: Body<Data = Bytes, Error = warp::Error> + Send + Unpin + 'static> Sent for B {}

// ANCHOR: exchange
/// A tower service around every request, whether or not a route matches.
pub(crate) async fn exchange<S, A>(
    app: A,
    service: Arc<Service>,
    filters: S,
    mut request: Request<Incoming>,
) -> Result<hyper::Response<impl Sent>, Infallible>
where
    A: Clone + Send + Sync + 'static,
    S: tower::Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let header = |name| {
        let values = request.headers().get_all(name).into_iter();
        values.map(HeaderValue::as_bytes)
    };
    let exchange = Exchange::begin(
        &service,
        request.method().as_str(),
        request.uri().path(),
        header,
    );
    let api = service.api();
    request.extensions_mut().insert(app);
    request.extensions_mut().insert(service);
    let answering = async {
        // CONNECT has no path, and warp panics without one.
        if request.uri().path().is_empty() {
            let reply = api.unrouted(request.method().as_str(), "", |_| None);
            return Ok(Answer(reply).into_response());
        }
        filters.oneshot(request).await
    };
    let mut response = match exchange.run(answering).await {
        Ok(Ok(response)) => response,
        Err(panicked) => Answer(panicked).into_response(),
    };
    let bytes = response.body().size_hint().exact();
    if let Err(refused) = exchange.reserve_memory(bytes) {
        response = Answer(refused).into_response();
    }
    for (name, value) in STANDARD_HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(exchange.context().request_id()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let location = response.headers().get(LOCATION);
    exchange.answered(
        response.status().as_u16(),
        location.map(HeaderValue::as_bytes),
    );
    Ok(response.map(|body| Guarded::new(body, exchange)))
}
// ANCHOR_END: exchange
