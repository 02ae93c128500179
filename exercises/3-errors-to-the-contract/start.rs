//! Exercise 3: a small server on actix-web, as its guide writes one, with the errors of the
//! framework.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use actix_web::web::{self, Data, Json, Path, ServiceConfig, get, post};
use actix_web::{App, HttpResponse, HttpServer};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

#[actix_web::main]
async fn main() -> io::Result<()> {
    let products = Data::new(Products::default());
    let server = HttpServer::new(move || App::new().app_data(products.clone()).configure(routes))
        .bind(exercises::address())?;
    exercises::listening(server.addrs()[0]);
    server.run().await
}

fn routes(routes: &mut ServiceConfig) {
    routes
        .service(web::resource("/api/products").route(post().to(create)))
        .service(web::resource("/api/products/{id}").route(get().to(find)));
}

async fn create(products: Data<Products>, Json(new): Json<NewProduct>) -> HttpResponse {
    HttpResponse::Created().json(products.create(new.name))
}

async fn find(products: Data<Products>, id: Path<u64>) -> HttpResponse {
    match products.find(*id) {
        Some(product) => HttpResponse::Ok().json(product),
        None => HttpResponse::NotFound().finish(),
    }
}

/// The body of `POST /api/products`.
#[derive(Deserialize)]
struct NewProduct {
    name: String,
}

#[derive(Clone, Serialize)]
struct Product {
    id: String,
    name: String,
}

/// The products in memory. Cheap to clone.
#[derive(Clone, Default)]
struct Products(Arc<RwLock<BTreeMap<u64, Product>>>);

impl Products {
    fn create(&self, name: String) -> Product {
        let mut products = self.0.write();
        let number = products.len() as u64 + 1;
        let id = number.to_string();
        let product = Product { id, name };
        products.insert(number, product.clone());
        product
    }

    fn find(&self, id: u64) -> Option<Product> {
        self.0.read().get(&id).cloned()
    }
}
