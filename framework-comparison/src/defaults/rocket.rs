//! Rocket, by its own `launch`.

use std::net::SocketAddr;

use rocket::fairing::AdHoc;
use rocket::http::Status;
use rocket::serde::json::Json;
use rocket::{Config, get, post, routes};
use tokio::time::sleep;

use super::{A_WHILE, Failed, Item, Paging, listening};

/// Runs it on a free port.
pub fn serve() -> Result<(), Failed> {
    let config = Config {
        port: 0,
        ..Config::release_default()
    };
    let server = rocket::custom(config)
        .mount("/", routes![list, create, find, panics, slow])
        .attach(AdHoc::on_liftoff("port", |rocket| {
            let address = SocketAddr::new(rocket.config().address, rocket.config().port);
            Box::pin(async move { listening(Ok(address)).expect("an address") })
        }));
    // What `#[launch]` makes of a `main`.
    rocket::execute(server.launch())?;
    Ok(())
}

#[get("/items?<limit>")]
fn list(limit: Option<usize>) -> Json<Vec<Item>> {
    Json(Paging { limit }.items())
}

#[post("/items", data = "<item>")]
fn create(item: Json<Item>) -> (Status, Json<Item>) {
    (Status::Created, item)
}

#[get("/items/<_id>")]
fn find(_id: u32) -> Json<Item> {
    Json(Item::teapot())
}

#[get("/panic")]
fn panics() -> Json<Item> {
    panic!("as the probe wants")
}

#[get("/slow")]
async fn slow() -> Json<Item> {
    sleep(A_WHILE).await;
    Json(Item::teapot())
}
