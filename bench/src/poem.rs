//! The smallest server on poem with its `Server`.

use std::net::SocketAddr;

use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Json, Path, Query};
use poem::{EndpointExt, IntoResponse, Route, Server, get, handler};
use tokio::time::sleep;

use crate::data::{Health, Item, Items, NewItem, Paging};
use crate::{A_WHILE, Failed};

/// Runs the server at this address. Port 0 means any free port.
// ANCHOR: serve
#[tokio::main]
pub async fn serve(address: SocketAddr) -> Result<(), Failed> {
    let app = Route::new()
        .at("/health", get(health))
        .at("/items", get(list_items).post(create_item))
        .at("/items/:id", get(get_item))
        .at("/panic", get(panics))
        .at("/slow", get(slow))
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

#[handler]
fn list_items(Data(items): Data<&Items>, Query(paging): Query<Paging>) -> Json<Vec<Item>> {
    Json(items.list(paging.limit))
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

#[handler]
fn panics() -> &'static str {
    panic!("as requested")
}

#[handler]
async fn slow() -> &'static str {
    sleep(A_WHILE).await;
    "done"
}
