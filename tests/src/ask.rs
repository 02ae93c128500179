//! What clients ask the programs for. A program may be dead: then there is no
//! answer, which is for the test to judge.

use std::net::SocketAddr;

use chassis::testkit::Got;
use harness::raw;
use serde_json::{Value, json};

/// The most records on a page.
const PAGE: usize = 1000;

/// Orders so much of a product, for user 1.
pub async fn place(
    orders: SocketAddr,
    product: u32,
    quantity: u32,
    headers: &[(&str, &str)],
) -> Result<Got, String> {
    let order = json!({"userId": "1", "productId": product.to_string(), "quantity": quantity});
    raw::post(orders, "/api/orders", headers, &order).await
}

/// All of a list, however many pages it has.
pub async fn all(address: SocketAddr, list: &str) -> Result<Vec<Value>, String> {
    let mut records = Vec::new();
    let mut path = format!("{list}?limit={PAGE}");
    loop {
        let page = raw::get(address, &path).await?.expect(200);
        let page = page.as_array().ok_or("not a list")?;
        records.extend_from_slice(page);
        match page.last().and_then(|last| last["id"].as_str()) {
            Some(id) if page.len() == PAGE => path = format!("{list}?limit={PAGE}&after={id}"),
            _ => return Ok(records),
        }
    }
}

/// How many of a product are in stock.
pub async fn stock(products: SocketAddr, product: u32) -> Result<u64, String> {
    let product = raw::get(products, &format!("/api/products/{product}")).await?;
    Ok(product.expect(200)["stock"].as_u64().expect("a number"))
}
