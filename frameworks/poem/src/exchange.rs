//! The middleware around every request, whether or not a route matches.

use std::sync::Arc;

use chassis::serve::exchange::{Exchange, STANDARD_HEADERS};
use chassis::serve::guarded::Guarded;
use chassis::serve::service::Service;
use chassis::values::headers::REQUEST_ID;
use http_body_util::combinators::BoxBody;
use hyper::body::Body as _;
use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::header::LOCATION;
use poem::http::{HeaderValue, Method};
use poem::{Endpoint, IntoResponse, Request, Response};

use crate::answer::Answer;

// ANCHOR: exchange
/// A middleware around every request, whether or not a route matches. The endpoint returns
/// poem's own refusals, such as 404, as errors that are not responses yet.
pub(crate) async fn exchange(
    service: Arc<Service>,
    endpoint: Arc<impl Endpoint>,
    request: Request,
) -> poem::Result<Response> {
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
    let (method, uri) = (request.method().clone(), request.uri().clone());
    // A preflight has headers that matter if no route matches.
    let headers = (method == Method::OPTIONS).then(|| request.headers().clone());
    let header = |name| headers.as_ref()?.get(name)?.to_str().ok();
    let answering = exchange.run(async {
        match endpoint.call(request).await {
            Ok(answer) => answer.into_response(),
            Err(error) if error.is::<NotFoundError>() || error.is::<MethodNotAllowedError>() => {
                let api = service.api();
                Answer(api.unrouted(method.as_str(), uri.path(), header)).into_response()
            }
            Err(error) => error.into_response(),
        }
    });
    let mut response = answering
        .await
        .unwrap_or_else(|panicked| Answer(panicked).into_response());
    let body = BoxBody::from(response.take_body());
    let bytes = body.size_hint().exact();
    response.set_body(body);
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
    let body = BoxBody::from(response.take_body());
    response.set_body(BoxBody::new(Guarded::new(body, exchange)));
    Ok(response)
}
// ANCHOR_END: exchange
