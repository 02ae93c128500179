//! actix-web, by its `HttpServer`.

use actix_web::web::{Json, Path, Query};
use actix_web::{App, HttpResponse, HttpServer, Responder, get, post};
use tokio::time::sleep;

use super::{A_WHILE, Failed, Item, Paging, listening};

/// Runs it on a free port.
#[actix_web::main]
pub async fn serve() -> Result<(), Failed> {
    let server = HttpServer::new(|| {
        App::new()
            .service(list)
            .service(create)
            .service(find)
            .service(panics)
            .service(slow)
    })
    .bind("127.0.0.1:0")?;
    for address in server.addrs() {
        listening(Ok(address))?;
    }
    server.run().await?;
    Ok(())
}

#[get("/items")]
async fn list(paging: Query<Paging>) -> impl Responder {
    Json(paging.items())
}

#[post("/items")]
async fn create(item: Json<Item>) -> impl Responder {
    HttpResponse::Created().json(item)
}

#[get("/items/{id}")]
async fn find(_id: Path<u32>) -> impl Responder {
    Json(Item::teapot())
}

#[get("/panic")]
async fn panics() -> Json<Item> {
    panic!("as the probe wants")
}

#[get("/slow")]
async fn slow() -> impl Responder {
    sleep(A_WHILE).await;
    Json(Item::teapot())
}
