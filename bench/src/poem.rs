//! poem, by its `Server`.

use std::net::SocketAddr;

use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Json, Path};
use poem::{EndpointExt, IntoResponse, Route, Server, get, handler, post};

use crate::data::{Failed, Health, Item, Items, NewItem};

// ANCHOR: serve
#[tokio::main]
pub(crate) async fn serve(address: SocketAddr) -> Result<(), Failed> {
    let app = Route::new()
        .at("/health", get(health))
        .at("/items/:id", get(get_item))
        .at("/items", post(create_item))
        .data(Items::default());
    let acceptor = TcpListener::bind(address).into_acceptor().await?;
    for address in acceptor.local_addr() {
        crate::listening(*address.as_socket_addr().ok_or("not a TCP address")?);
    }
    Server::new_with_acceptor(acceptor).run(app).await?;
    Ok(())
}
// ANCHOR_END: serve

#[handler]
fn health() -> Json<Health> {
    Json(Health::of("poem"))
}

// ANCHOR: get_item
#[handler]
fn get_item(Data(items): Data<&Items>, Path(id): Path<u64>) -> poem::Result<Json<Item>> {
    let item = items.find(id).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(item))
}
// ANCHOR_END: get_item

// ANCHOR: create_item
#[handler]
fn create_item(Data(items): Data<&Items>, Json(new): Json<NewItem>) -> impl IntoResponse {
    Json(items.create(new)).with_status(StatusCode::CREATED)
}
// ANCHOR_END: create_item
