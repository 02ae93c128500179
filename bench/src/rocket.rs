//! The smallest server on Rocket with its own `launch`.

use std::net::SocketAddr;

use rocket::fairing::AdHoc;
use rocket::http::Status;
use rocket::response::status::Custom;
use rocket::serde::json::Json;
use rocket::{Config, State, get, post, routes};
use tokio::time::sleep;

use crate::data::{Health, Item, Items, NewItem};
use crate::{A_WHILE, Failed};

/// Runs the server at this address. Port 0 means any free port.
// ANCHOR: serve
pub fn serve(address: SocketAddr) -> Result<(), Failed> {
    let config = Config {
        address: address.ip(),
        port: address.port(),
        ..Config::release_default()
    };
    let server = rocket::custom(config)
        .manage(Items::default())
        .mount(
            "/",
            routes![health, list_items, get_item, create_item, panics, slow],
        )
        .attach(AdHoc::on_liftoff("address", |rocket| {
            Box::pin(async {
                let config = rocket.config();
                crate::listening(SocketAddr::new(config.address, config.port));
            })
        }));
    // Like `#[launch]` on `main`.
    rocket::execute(server.launch())?;
    Ok(())
}
// ANCHOR_END: serve

#[get("/health")]
fn health() -> Json<Health> {
    Json(Health::of("rocket"))
}

#[get("/items?<limit>")]
fn list_items(items: &State<Items>, limit: Option<usize>) -> Json<Vec<Item>> {
    Json(items.list(limit))
}

// ANCHOR: get_item
#[get("/items/<id>")]
fn get_item(items: &State<Items>, id: u64) -> Option<Json<Item>> {
    items.find(id).map(Json)
}
// ANCHOR_END: get_item

// ANCHOR: create_item
#[post("/items", data = "<new>")]
fn create_item(items: &State<Items>, new: Json<NewItem>) -> Custom<Json<Item>> {
    Custom(Status::Created, Json(items.create(new.into_inner())))
}
// ANCHOR_END: create_item

#[get("/panic")]
fn panics() -> &'static str {
    panic!("as requested")
}

#[get("/slow")]
async fn slow() -> &'static str {
    sleep(A_WHILE).await;
    "done"
}
