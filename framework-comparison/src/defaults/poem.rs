//! poem, by its `Server`.

use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Json, Path, Query};
use poem::{IntoResponse, Route, Server, get, handler};
use tokio::time::sleep;

use super::{A_WHILE, Failed, Item, Paging, listening};

/// Runs it on a free port.
#[tokio::main]
pub async fn serve() -> Result<(), Failed> {
    let app = Route::new()
        .at("/items", get(list).post(create))
        .at("/items/:id", get(find))
        .at("/panic", get(panics))
        .at("/slow", get(slow));
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await?;
    for address in acceptor.local_addr() {
        listening(Ok(*address.as_socket_addr().ok_or("not a TCP address")?))?;
    }
    Server::new_with_acceptor(acceptor).run(app).await?;
    Ok(())
}

#[handler]
fn list(Query(paging): Query<Paging>) -> Json<Vec<Item>> {
    Json(paging.items())
}

#[handler]
fn create(Json(item): Json<Item>) -> impl IntoResponse {
    Json(item).with_status(StatusCode::CREATED)
}

#[handler]
fn find(Path(_id): Path<u32>) -> Json<Item> {
    Json(Item::teapot())
}

#[handler]
fn panics() -> Json<Item> {
    panic!("as the probe wants")
}

#[handler]
async fn slow() -> Json<Item> {
    sleep(A_WHILE).await;
    Json(Item::teapot())
}
