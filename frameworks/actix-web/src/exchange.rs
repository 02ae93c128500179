//! The middleware around every request, whether or not a route matches.

use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody as _};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{HeaderName, HeaderValue, LOCATION};
use actix_web::middleware::Next;
use actix_web::web::Data;
use chassis::serve::exchange::{Exchange, STANDARD_HEADERS};
use chassis::serve::service::Service;
use chassis::values::headers::REQUEST_ID;

use crate::answer::Answer;
use crate::connection::guarded;

// ANCHOR: exchange
/// A middleware around every request, whether or not a route matches.
pub(crate) async fn exchange(
    service: Data<Service>,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse, Error> {
    let header = |name| request.headers().get_all(name).map(HeaderValue::as_bytes);
    let exchange = Exchange::begin(&service, request.method().as_str(), request.path(), header);
    let mut result = match exchange.run(next.call(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(error.error_response()),
        // A response of actix contains its request, which the panic has dropped. So return
        // an error.
        Err(panicked) => Err(Answer(panicked).into_response()),
    };
    let response = match &mut result {
        Ok(response) => response.response_mut(),
        Err(response) => response,
    };
    let bytes = match response.body().size() {
        BodySize::Sized(bytes) => Some(bytes),
        BodySize::None | BodySize::Stream => None,
    };
    if let Err(refused) = exchange.reserve_memory(bytes) {
        *response = Answer(refused).into_response();
    }
    for (name, value) in STANDARD_HEADERS {
        response.headers_mut().insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    if let Ok(id) = HeaderValue::from_str(exchange.context().request_id()) {
        response
            .headers_mut()
            .insert(HeaderName::from_static(REQUEST_ID), id);
    }
    let location = response.headers().get(LOCATION);
    exchange.answered(
        response.status().as_u16(),
        location.map(HeaderValue::as_bytes),
    );
    match result {
        Ok(response) => Ok(response.map_body(|_, body| guarded(body, exchange, None))),
        Err(response) => {
            let response = response.map_body(|_, body| guarded(body, exchange, None));
            Err(InternalError::from_response("no response", response).into())
        }
    }
}
// ANCHOR_END: exchange
