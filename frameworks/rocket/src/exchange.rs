//! The middleware around every request, whether or not a route matches.

use std::sync::Arc;

use chassis::serve::exchange::{Exchange, STANDARD_HEADERS};
use chassis::serve::service::Service;
use chassis::values::headers::REQUEST_ID;
use rocket::data::Data;
use rocket::fairing::{Fairing, Info, Kind};
use rocket::http::Status;
use rocket::request::Request;
use rocket::response::{Responder, Response};
use rocket::route::{Handler, Outcome};

use crate::answer::Answer;
use crate::dispatch::{Arrived, arrived};

// ANCHOR: exchange
/// A fairing around every request, whether or not a route matches.
pub(crate) struct Rules;

#[rocket::async_trait]
impl Fairing for Rules {
    fn info(&self) -> Info {
        Info {
            name: "the contract of the shop",
            kind: Kind::Request | Kind::Response,
        }
    }

    async fn on_request(&self, request: &mut Request<'_>, _: &mut Data<'_>) {
        exchange(request);
    }

    async fn on_response<'r>(&self, request: &'r Request<'_>, response: &mut Response<'r>) {
        let exchange = exchange(request);
        let bytes = response.body().preset_size().map(|bytes| bytes as u64);
        if let Err(refused) = exchange.reserve_memory(bytes)
            && let Ok(refused) = Answer(refused).respond_to(request)
        {
            *response = refused;
        }
        for (name, value) in STANDARD_HEADERS {
            response.set_raw_header(name, value);
        }
        response.set_raw_header(REQUEST_ID, exchange.context().request_id());
        let location = response.headers().get_one("location");
        exchange.answered(response.status().code, location.map(str::as_bytes));
        // Nobody reads the rest of the body. hyper must know that before it sends the head.
        drop(arrived(request).body.lock().take());
    }
}
// ANCHOR_END: exchange

pub(crate) fn service<'r>(request: &'r Request<'_>) -> &'r Arc<Service> {
    let service: Option<&Arc<Service>> = request.rocket().state();
    service.expect("`with_rules` adds it to the state")
}

/// The exchange of a request. The fairing begins it.
pub(crate) fn exchange<'r>(request: &'r Request<'_>) -> &'r Exchange {
    request.local_cache(|| {
        let Arrived { method, uri, .. } = arrived(request);
        let header = |name| request.headers().get(name).map(str::as_bytes);
        Exchange::begin(service(request), method.as_str(), uri.path(), header)
    })
}

/// A header of visible ASCII. Rocket also passes on headers of other characters; they count as
/// absent, as on the other four frameworks.
pub(crate) fn header<'r>(request: &'r Request<'_>, name: &str) -> Option<&'r str> {
    let value = request.headers().get_one(name);
    value.filter(|value| value.is_ascii())
}

// ANCHOR: in_exchange
/// The handler of a route, run within the exchange.
#[derive(Clone)]
pub(crate) struct InExchange(pub(crate) Box<dyn Handler>);

#[rocket::async_trait]
impl Handler for InExchange {
    async fn handle<'r>(&self, request: &'r Request<'_>, data: Data<'r>) -> Outcome<'r> {
        let exchange = exchange(request);
        // Rocket ignores trailing and doubled slashes; by the contract they are other paths.
        if !exchange.has_route() {
            return Outcome::forward(data, Status::NotFound);
        }
        exchange
            .run(self.0.handle(request, data))
            .await
            .unwrap_or_else(|panicked| Outcome::from(request, Answer(panicked)))
    }
}
// ANCHOR_END: in_exchange
