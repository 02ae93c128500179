//! The floor: product-service's API on bare hyper, as the base line for the frameworks. It has
//! the same store, the same validation and the same JSON, and nothing else of the contract: no
//! request ids, CORS, metrics or limits.
//!
//! [`on_rocket`] does the same work on Rocket's own server. In the shop, Rocket answers through its
//! in-process client; the difference shows what that costs.

use std::net::SocketAddr;
use std::sync::Arc;

use bench::Failed;
use bench::data::Health;
use chassis::contract::body;
use chassis::contract::error::ApiError;
use chassis::contract::page::Page;
use chassis::contract::reply::{Body, Reply};
use chassis::values::id::Id;
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use product_service::model::NewProduct;
use product_service::store::ProductStore;

use crate::hyper::Answer;

#[cfg(feature = "rocket")]
pub(crate) mod on_rocket;

const PRODUCTS: &str = "/api/products";

type Replied = Result<Reply, ApiError>;

pub(crate) async fn serve(address: SocketAddr) -> Result<(), Failed> {
    let products = Arc::new(ProductStore::default());
    crate::hyper::serve(address, move |request| {
        let reply = answer(&products, &request);
        respond(reply.unwrap_or_else(ApiError::reply))
    })
    .await
}

fn answer(products: &ProductStore, request: &Request<Bytes>) -> Replied {
    let path = request.uri().path();
    match (request.method(), path.strip_prefix(PRODUCTS)) {
        (&Method::GET, Some("")) => list(products, request.uri().query()),
        (&Method::POST, Some("")) => create(products, request.body()),
        (&Method::GET, Some(id)) => find(products, id.strip_prefix('/').unwrap_or_default()),
        (&Method::GET, None) if path == "/health" => Ok(health("hyper")),
        _ => Err(ApiError::not_found(format!("There is no {path}"))),
    }
}

fn health(framework: &'static str) -> Reply {
    Reply::json(200, &Health::of_service("product-service", framework))
}

fn list(products: &ProductStore, query: Option<&str>) -> Replied {
    let page = Page::parse(query)?;
    Ok(Reply::page(PRODUCTS, &products.list(page)))
}

fn create(products: &ProductStore, body: &[u8]) -> Replied {
    let new = NewProduct::parse(body::parse(body)?)?;
    let product = products.create(new)?;
    let location = format!("{PRODUCTS}/{}", product.id);
    Ok(Reply::created(location, &product))
}

fn find(products: &ProductStore, id: &str) -> Replied {
    let id = Id::in_path("product", id)?;
    Ok(Reply::json(200, &products.find(id)?))
}

fn respond(reply: Reply) -> Answer {
    let mut answer = Answer::new(match reply.body {
        Body::Bytes(bytes) => bytes.into(),
        Body::Stream(_) => unreachable!("no reply of this server is a stream"),
    });
    *answer.status_mut() = StatusCode::from_u16(reply.status).unwrap_or_default();
    for (name, value) in reply.headers {
        // The values that the chassis writes are always valid.
        if let Ok(value) = HeaderValue::from_str(&value) {
            let name = HeaderName::from_static(name);
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}
