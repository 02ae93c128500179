//! Exercise 1: a small server on axum, as its guide writes one, with one more route.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind(exercises::address()).await?;
    exercises::listening(listener.local_addr()?);
    axum::serve(listener, routes().with_state(Products::default())).await
}

fn routes() -> Router<Products> {
    Router::new()
        .route("/api/products", post(create))
        .route("/api/products/count", get(count))
        .route("/api/products/{id}", get(find).delete(remove))
}

async fn create(
    State(products): State<Products>,
    Json(new): Json<NewProduct>,
) -> (StatusCode, Json<Product>) {
    (StatusCode::CREATED, Json(products.create(new)))
}

async fn find(
    State(products): State<Products>,
    Path(id): Path<String>,
) -> Result<Json<Product>, StatusCode> {
    products.find(&id).map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn remove(State(products): State<Products>, Path(id): Path<String>) -> StatusCode {
    if products.remove(&id) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

async fn count(State(products): State<Products>, Query(which): Query<Which>) -> Json<Count> {
    let total = products.count(which.max_price);
    Json(Count { total })
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

/// The query of `GET /api/products/count`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Which {
    max_price: Option<u64>,
}

/// The answer to it.
#[derive(Serialize)]
struct Count {
    total: usize,
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

    /// The number of products that cost no more than `max_price`; without it, of all.
    fn count(&self, max_price: Option<u64>) -> usize {
        let inner = self.0.read();
        let affordable = |product: &&Product| max_price.is_none_or(|most| product.price <= most);
        inner.by_id.values().filter(affordable).count()
    }
}
