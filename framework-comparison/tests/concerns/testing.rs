//! One route, tested with the test client of each framework: without a port or a server, but
//! with everything from the router to the response.

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

/// The only product has the id 1.
fn find(id: u64) -> Option<Product> {
    let name = "Engine";
    (id == 1).then_some(Product { id, name })
}
