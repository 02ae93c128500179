//! Exercise 7: the service behind the cache.

use std::env;
use std::io;

/// The products of the service at `PRODUCTS`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Products {
    url: String,
    client: reqwest::Client,
}

impl Default for Products {
    fn default() -> Self {
        Self {
            url: env::var("PRODUCTS").unwrap_or_default(),
            client: reqwest::Client::new(),
        }
    }
}

impl Products {
    /// Asks the service for a product. An error if it does not answer with 200.
    pub async fn fetch(&self, id: &str) -> io::Result<String> {
        let asking = self.client.get(format!("{}/api/products/{id}", self.url));
        let answer = asking
            .send()
            .await
            .and_then(reqwest::Response::error_for_status);
        let answer = answer.map_err(io::Error::other)?;
        answer.text().await.map_err(io::Error::other)
    }
}
