//! Exercise 4: stock on Rocket that adds up under concurrent requests.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rocket::http::Status;
use rocket::response::status::Custom;
use rocket::serde::json::Json;
use rocket::{State, get, patch, post, routes};
use serde::{Deserialize, Serialize};

#[rocket::main]
async fn main() -> Result<(), Box<rocket::Error>> {
    let routes = routes![create, find, change_stock, journal];
    exercises::rocket(Warehouse::default(), routes).await
}

#[post("/api/products", data = "<new>")]
fn create(warehouse: &State<Warehouse>, new: Json<NewProduct>) -> Custom<Json<Product>> {
    Custom(
        Status::Created,
        Json(warehouse.create(new.into_inner().stock)),
    )
}

#[get("/api/products/<id>")]
fn find(warehouse: &State<Warehouse>, id: u64) -> Option<Json<Product>> {
    warehouse.find(id).map(Json)
}

#[patch("/api/products/<id>/stock", data = "<change>")]
async fn change_stock(
    warehouse: &State<Warehouse>,
    id: u64,
    change: Json<Change>,
) -> Result<Json<Product>, Status> {
    // Before or after the change, but not between its read and its write.
    warehouse.note(id, change.delta).await;
    warehouse.change_stock(id, change.delta).map(Json)
}

#[get("/api/journal")]
fn journal(warehouse: &State<Warehouse>) -> Json<Vec<Note>> {
    Json(warehouse.journal.lock().clone())
}

/// The body of `POST /api/products`.
#[derive(Deserialize)]
struct NewProduct {
    stock: i64,
}

/// The body of `PATCH /api/products/{id}/stock`.
#[derive(Deserialize)]
struct Change {
    delta: i64,
}

#[derive(Clone, Copy, Serialize)]
struct Product {
    id: u64,
    stock: i64,
}

/// A requested change of stock.
#[derive(Clone, Copy, Serialize)]
struct Note {
    id: u64,
    delta: i64,
}

#[derive(Default)]
struct Warehouse {
    products: RwLock<BTreeMap<u64, Product>>,
    journal: Mutex<Vec<Note>>,
}

impl Warehouse {
    fn create(&self, stock: i64) -> Product {
        let mut products = self.products.write();
        let id = products.len() as u64 + 1;
        let product = Product { id, stock };
        products.insert(id, product);
        product
    }

    fn find(&self, id: u64) -> Option<Product> {
        self.products.read().get(&id).copied()
    }

    /// Reads, checks and writes under one lock, so that no other request comes between.
    fn change_stock(&self, id: u64, delta: i64) -> Result<Product, Status> {
        let mut products = self.products.write();
        let product = products.get_mut(&id).ok_or(Status::NotFound)?;
        let stock = product.stock + delta;
        if stock < 0 {
            return Err(Status::Conflict);
        }
        product.stock = stock;
        Ok(*product)
    }

    /// Writes a request to the journal, whether or not it succeeds. This is slow, like every
    /// write to a disk.
    async fn note(&self, id: u64, delta: i64) {
        rocket::tokio::time::sleep(Duration::from_millis(20)).await;
        self.journal.lock().push(Note { id, delta });
    }
}
