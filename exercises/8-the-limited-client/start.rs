//! Exercise 8: a client that reads products through a gateway with a limit.

use std::env;

use reqwest::{Client, Error};

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
    let response = client.get(url).send().await?;
    let is_there = response.status().is_success();
    response.bytes().await?;
    Ok(is_there)
}
