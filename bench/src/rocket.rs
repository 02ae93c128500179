//! Rocket, by its own `launch`.

use std::net::SocketAddr;

use rocket::fairing::AdHoc;
use rocket::http::Status;
use rocket::response::status::Custom;
use rocket::serde::json::Json;
use rocket::{Config, State, get, post, routes};

use crate::data::{Failed, Health, Item, Items, NewItem};

// ANCHOR: serve
pub(crate) fn serve(address: SocketAddr) -> Result<(), Failed> {
    let config = Config {
        address: address.ip(),
        port: address.port(),
        // Rocket logs every request unless told not to; the others do not.
        log_level: rocket::config::LogLevel::Off,
        ..Config::release_default()
    };
    let server = rocket::custom(config)
        .manage(Items::default())
        .mount("/", routes![health, get_item, create_item])
        .attach(AdHoc::on_liftoff("address", |rocket| {
            Box::pin(async {
                let config = rocket.config();
                crate::listening(SocketAddr::new(config.address, config.port));
            })
        }));
    // What `#[launch]` on `main` does.
    rocket::execute(server.launch())?;
    Ok(())
}
// ANCHOR_END: serve

#[get("/health")]
fn health() -> Json<Health> {
    Json(Health::of("rocket"))
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
