//! product-service's API on bare hyper: the same store, the same rules for a body
//! and the same JSON, with nothing else that the contract asks for. No request ids,
//! no CORS, no metrics, no limits, no router.

use std::net::SocketAddr;
use std::sync::Arc;

use bench::Failed;
use bench::data::Health;
use chassis::body;
use chassis::error::ApiError;
use chassis::id::Id;
use chassis::reply::{Body, Reply};
use chassis::table::Page;
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use product_service::model::NewProduct;
use product_service::store::ProductStore;

use crate::hyper::Answer;

const PRODUCTS: &str = "/api/products";

pub(crate) fn serve(address: SocketAddr) -> Result<(), Failed> {
    let products = Arc::new(ProductStore::default());
    crate::hyper::serve(address, move |request| {
        let reply = answer(&products, &request);
        respond(reply.unwrap_or_else(ApiError::reply))
    })
}

fn answer(products: &ProductStore, request: &Request<Bytes>) -> Result<Reply, ApiError> {
    let path = request.uri().path();
    match (request.method(), path.strip_prefix(PRODUCTS)) {
        (&Method::GET, Some("")) => {
            let page = Page::parse(request.uri().query())?;
            Ok(Reply::listing(PRODUCTS, &products.list(page)))
        }
        (&Method::POST, Some("")) => {
            let new = NewProduct::parse(body::parse(request.body())?)?;
            let product = products.create(new)?;
            let location = format!("{PRODUCTS}/{}", product.id);
            Ok(Reply::created(location, &product))
        }
        (&Method::GET, Some(id)) => {
            let id = Id::in_path("product", id.strip_prefix('/').unwrap_or_default())?;
            Ok(Reply::json(200, &products.find(id)?))
        }
        (&Method::GET, None) if path == "/health" => {
            let health = Health::of_service("product-service", "hyper");
            Ok(Reply::json(200, &health))
        }
        _ => Err(ApiError::not_found(format!("There is no {path}"))),
    }
}

fn respond(reply: Reply) -> Answer {
    let mut answer = Answer::new(match reply.body {
        Body::Bytes(bytes) => bytes.into(),
        Body::Stream(_) => unreachable!("no reply of this server is a stream"),
    });
    *answer.status_mut() = StatusCode::from_u16(reply.status).unwrap_or_default();
    for (name, value) in reply.headers {
        // What the chassis writes is a header.
        if let Ok(value) = HeaderValue::from_str(&value) {
            let name = HeaderName::from_static(name);
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}
