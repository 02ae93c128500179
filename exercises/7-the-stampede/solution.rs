//! Exercise 7: a cache in front of a slow service, whose misses wait for each other.

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

/// What is kept of a product. The lock is held during the call that fetches it.
type Slot = Arc<tokio::sync::Mutex<Option<(Instant, String)>>>;

/// Products that were fetched. Cheap to clone.
#[derive(Clone, Default)]
struct Cache {
    products: Products,
    slots: Arc<Mutex<HashMap<String, Slot>>>,
}

impl Cache {
    /// A product, from the cache or from the service.
    async fn product(&self, id: String) -> io::Result<String> {
        let slot = Arc::clone(self.slots.lock().entry(id.clone()).or_default());
        let mut kept = slot.lock().await;
        if let Some((since, product)) = &*kept
            && since.elapsed() < TTL
        {
            return Ok(product.clone());
        }
        let product = self.products.fetch(&id).await?;
        *kept = Some((Instant::now(), product.clone()));
        Ok(product)
    }
}
