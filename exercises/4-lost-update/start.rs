//! Exercise 4: stock on Rocket. It is right with one request at a time.

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
    let product = warehouse.find(id).ok_or(Status::NotFound)?;
    let stock = product.stock + change.delta;
    warehouse.note(id, change.delta).await;
    if stock < 0 {
        return Err(Status::Conflict);
    }
    Ok(Json(warehouse.set_stock(id, stock)))
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

    fn set_stock(&self, id: u64, stock: i64) -> Product {
        let product = Product { id, stock };
        self.products.write().insert(id, product);
        product
    }

    /// Writes a request to the journal, whether or not it succeeds. This is slow, like every
    /// write to a disk.
    async fn note(&self, id: u64, delta: i64) {
        rocket::tokio::time::sleep(Duration::from_millis(20)).await;
        self.journal.lock().push(Note { id, delta });
    }
}
