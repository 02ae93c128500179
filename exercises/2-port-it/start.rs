//! Exercise 2: the server of the first exercise, on warp, as its guide writes one. The same route
//! is missing.
#![expect(
    clippy::needless_pass_by_value,
    reason = "a handler gets what the filters extract, by value"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use warp::http::StatusCode;
use warp::reply::{Response, json, with_status};
use warp::{Filter, Rejection, Reply};

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind(exercises::address()).await?;
    exercises::listening(listener.local_addr()?);
    let server = warp::serve(routes(Products::default()));
    server.incoming(listener).run().await;
    Ok(())
}

fn routes(
    products: Products,
) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone + Send + Sync + 'static {
    // Add yours: GET /api/products/count. Copy the rule from exercise 1.
    other_routes(with(products))
}

/// The state, as an argument of a handler.
fn with(products: Products) -> impl Filter<Extract = (Products,), Error = Infallible> + Clone {
    warp::any().map(move || products.clone())
}

fn other_routes(
    products: impl Filter<Extract = (Products,), Error = Infallible> + Clone + Send + Sync + 'static,
) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone + Send + Sync + 'static {
    let create = warp::path!("api" / "products")
        .and(warp::post())
        .and(products.clone())
        .and(warp::body::json())
        .map(create);
    let find = warp::path!("api" / "products" / String)
        .and(warp::get())
        .and(products.clone())
        .map(find);
    let remove = warp::path!("api" / "products" / String)
        .and(warp::delete())
        .and(products)
        .map(remove);
    create.or(find).or(remove)
}

fn create(products: Products, new: NewProduct) -> impl Reply {
    with_status(json(&products.create(new)), StatusCode::CREATED)
}

// The 404 is a response: after a rejection, warp would try the next route.
fn find(id: String, products: Products) -> Response {
    match products.find(&id) {
        Some(product) => json(&product).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn remove(id: String, products: Products) -> impl Reply {
    if products.remove(&id) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

// Below, nothing names the framework.

/// The body of `POST /api/products`.
#[derive(Deserialize)]
struct NewProduct {
    name: String,
    price: u64,
}

#[derive(Clone, Serialize)]
struct Product {
    id: String,
    name: String,
    price: u64,
}

/// The products in memory. Cheap to clone.
#[derive(Clone, Default)]
struct Products(Arc<RwLock<Inner>>);

#[derive(Default)]
struct Inner {
    by_id: BTreeMap<String, Product>,
    last_id: u64,
}

impl Products {
    fn create(&self, NewProduct { name, price }: NewProduct) -> Product {
        let mut inner = self.0.write();
        inner.last_id += 1;
        let id = inner.last_id.to_string();
        let product = Product { id, name, price };
        inner.by_id.insert(product.id.clone(), product.clone());
        product
    }

    fn find(&self, id: &str) -> Option<Product> {
        self.0.read().by_id.get(id).cloned()
    }

    fn remove(&self, id: &str) -> bool {
        self.0.write().by_id.remove(id).is_some()
    }
}
