//! Exercise 3: a small server on actix-web, as its guide writes it, whose errors are
//! the framework's own.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use actix_web::web::{self, Data, Json, Path, ServiceConfig, get, post};
use actix_web::{App, HttpResponse, HttpServer};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

#[actix_web::main]
async fn main() -> io::Result<()> {
    let shelf = Data::new(Shelf::default());
    let server = HttpServer::new(move || App::new().app_data(shelf.clone()).configure(routes))
        .bind(exercises::address())?;
    exercises::listening(server.addrs()[0]);
    server.run().await
}

fn routes(routes: &mut ServiceConfig) {
    routes
        .service(web::resource("/api/products").route(post().to(create)))
        .service(web::resource("/api/products/{id}").route(get().to(find)));
}

async fn create(shelf: Data<Shelf>, Json(new): Json<NewProduct>) -> HttpResponse {
    HttpResponse::Created().json(shelf.create(new.name))
}

async fn find(shelf: Data<Shelf>, id: Path<u64>) -> HttpResponse {
    match shelf.find(*id) {
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
struct Shelf(Arc<RwLock<BTreeMap<u64, Product>>>);

impl Shelf {
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
