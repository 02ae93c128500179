//! One route, asked by the client that each framework brings for its tests: no port,
//! no server, and everything between the router and the answer.

mod actix;
mod axum;
mod poem;
mod rocket;
mod warp;

use serde::Serialize;

#[derive(Serialize)]
struct Product {
    id: u64,
    name: &'static str,
}

/// The only product is the first.
fn find(id: u64) -> Option<Product> {
    let name = "Engine";
    (id == 1).then_some(Product { id, name })
}
