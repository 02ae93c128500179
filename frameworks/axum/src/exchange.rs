//! The middleware around every request, whether or not a route matches.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::LOCATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chassis::serve::exchange::{Exchange, STANDARD_HEADERS};
use chassis::serve::guarded::Guarded;
use chassis::serve::service::Service;
use chassis::values::headers::REQUEST_ID;
use hyper::body::Body as _;

use crate::answer::Answer;

// ANCHOR: exchange
/// A layer around every request, whether or not a route matches.
pub(crate) async fn exchange(
    State(service): State<Arc<Service>>,
    mut request: Request,
    next: Next,
) -> Response {
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
    request.extensions_mut().insert(service);
    let mut response = exchange
        .run(next.run(request))
        .await
        .unwrap_or_else(|panicked| Answer(panicked).into_response());
    if let Err(refused) = exchange.reserve_memory(response.body().size_hint().exact()) {
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
    response.map(|body| Body::new(Guarded::new(body, exchange)))
}
// ANCHOR_END: exchange
