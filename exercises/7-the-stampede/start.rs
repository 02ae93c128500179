//! Exercise 7: a cache in front of a slow service.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use exercises::upstream::Products;
use parking_lot::Mutex;
use tokio::net::TcpListener;

/// How long a product is kept.
const TTL: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind(exercises::address()).await?;
    exercises::listening(listener.local_addr()?);
    let routes = Router::new().route("/api/products/{id}", get(product));
    axum::serve(listener, routes.with_state(Cache::default())).await
}

async fn product(State(cache): State<Cache>, Path(id): Path<String>) -> Result<String, StatusCode> {
    cache.product(id).await.map_err(|_| StatusCode::BAD_GATEWAY)
}

/// Products that were fetched. Cheap to clone.
#[derive(Clone, Default)]
struct Cache {
    products: Products,
    kept: Arc<Mutex<HashMap<String, (Instant, String)>>>,
}

impl Cache {
    /// A product, from the cache or from the service.
    async fn product(&self, id: String) -> io::Result<String> {
        if let Some((since, product)) = self.kept.lock().get(&id)
            && since.elapsed() < TTL
        {
            return Ok(product.clone());
        }
        let product = self.products.fetch(&id).await?;
        let kept = (Instant::now(), product.clone());
        self.kept.lock().insert(id, kept);
        Ok(product)
    }
}
