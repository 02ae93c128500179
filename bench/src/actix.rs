//! actix-web, by its `HttpServer`.

use std::net::SocketAddr;

use actix_web::web::{Data, Json, Path};
use actix_web::{App, HttpResponse, HttpServer, Responder, get, post};

use crate::data::{Failed, Health, Items, NewItem};

// ANCHOR: serve
#[actix_web::main]
pub(crate) async fn serve(address: SocketAddr) -> Result<(), Failed> {
    let items = Data::new(Items::default());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(items.clone())
            .service(health)
            .service(get_item)
            .service(create_item)
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
