//! axum, by `axum::serve`.

use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::{A_WHILE, Failed, Item, Paging, listening};

/// Runs it on a free port.
#[tokio::main]
pub async fn serve() -> Result<(), Failed> {
    let app = Router::new()
        .route("/items", get(list).post(create))
        .route("/items/{id}", get(find))
        .route("/panic", get(panics))
        .route("/slow", get(slow));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    listening(listener.local_addr())?;
    axum::serve(listener, app).await?;
    Ok(())
}

async fn list(Query(paging): Query<Paging>) -> Json<Vec<Item>> {
    Json(paging.items())
}

async fn create(Json(item): Json<Item>) -> (StatusCode, Json<Item>) {
    (StatusCode::CREATED, Json(item))
}

async fn find(Path(_id): Path<u32>) -> Json<Item> {
    Json(Item::teapot())
}

async fn panics() -> Json<Item> {
    panic!("as the probe wants")
}

async fn slow() -> Json<Item> {
    sleep(A_WHILE).await;
    Json(Item::teapot())
}
