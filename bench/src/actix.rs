//! The smallest server on actix-web with its `HttpServer`.

use std::net::SocketAddr;

use actix_web::web::{Data, Json, Path, Query};
use actix_web::{App, HttpResponse, HttpServer, Responder, get, post};
use tokio::time::sleep;

use crate::data::{Health, Items, NewItem, Paging};
use crate::{A_WHILE, Failed};

/// Runs the server at this address. Port 0 means any free port.
// ANCHOR: serve
#[actix_web::main]
pub async fn serve(address: SocketAddr) -> Result<(), Failed> {
    let items = Data::new(Items::default());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(items.clone())
            .service(health)
            .service(list_items)
            .service(get_item)
            .service(create_item)
            .service(panics)
            .service(slow)
    })
    .bind(address)?;
    for address in server.addrs() {
        crate::listening(address);
    }
    server.run().await?;
    Ok(())
}
// ANCHOR_END: serve

#[get("/health")]
async fn health() -> impl Responder {
    Json(Health::of("actix-web"))
}

#[get("/items")]
async fn list_items(items: Data<Items>, paging: Query<Paging>) -> impl Responder {
    Json(items.list(paging.limit))
}

// ANCHOR: get_item
#[get("/items/{id}")]
async fn get_item(items: Data<Items>, id: Path<u64>) -> impl Responder {
    match items.find(*id) {
        Some(item) => HttpResponse::Ok().json(item),
        None => HttpResponse::NotFound().finish(),
    }
}
// ANCHOR_END: get_item

// ANCHOR: create_item
#[post("/items")]
async fn create_item(items: Data<Items>, Json(new): Json<NewItem>) -> impl Responder {
    HttpResponse::Created().json(items.create(new))
}
// ANCHOR_END: create_item

#[get("/panic")]
async fn panics() -> &'static str {
    panic!("as requested")
}

#[get("/slow")]
async fn slow() -> &'static str {
    sleep(A_WHILE).await;
    "done"
}
