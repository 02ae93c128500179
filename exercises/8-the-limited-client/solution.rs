//! Exercise 8: a client that reads products through a gateway with a limit, and waits when it is
//! told to.

use std::env;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Error, StatusCode};
use tokio::time::sleep;

/// The number of products that it reads.
const PRODUCTS: usize = 40;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let gateway = env::var("GATEWAY").unwrap_or("http://127.0.0.1:8000".to_owned());
    let client = Client::new();
    let mut read = 0;
    for id in 1..=PRODUCTS {
        if has_read(&client, &format!("{gateway}/api/products/{id}")).await? {
            read += 1;
        }
    }
    println!("{read} of {PRODUCTS}");
    Ok(())
}

/// Reads a product. Returns whether that worked.
async fn has_read(client: &Client, url: &str) -> Result<bool, Error> {
    loop {
        let response = client.get(url).send().await?;
        let status = response.status();
        let seconds = response.headers().get(RETRY_AFTER);
        let seconds = seconds.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        response.bytes().await?;
        if status != StatusCode::TOO_MANY_REQUESTS {
            return Ok(status.is_success());
        }
        sleep(Duration::from_secs(seconds.unwrap_or(1))).await;
    }
}
