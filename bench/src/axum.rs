//! The smallest server on axum with `axum::serve`.

use std::net::SocketAddr;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::data::{Health, Item, Items, NewItem, Paging};
use crate::{A_WHILE, Failed};

/// Runs the server at this address. Port 0 means any free port.
// ANCHOR: serve
#[tokio::main]
pub async fn serve(address: SocketAddr) -> Result<(), Failed> {
    let app = Router::new()
        .route("/health", get(health))
        .route("/items", get(list_items).post(create_item))
        .route("/items/{id}", get(get_item))
        .route("/panic", get(panics))
        .route("/slow", get(slow))
        .with_state(Items::default());
    let listener = TcpListener::bind(address).await?;
    crate::listening(listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
// ANCHOR_END: serve

async fn health() -> Json<Health> {
    Json(Health::of("axum"))
}

async fn list_items(State(items): State<Items>, Query(paging): Query<Paging>) -> Json<Vec<Item>> {
    Json(items.list(paging.limit))
}

// ANCHOR: get_item
async fn get_item(
    State(items): State<Items>,
    Path(id): Path<u64>,
) -> Result<Json<Item>, StatusCode> {
    items.find(id).map(Json).ok_or(StatusCode::NOT_FOUND)
}
// ANCHOR_END: get_item

// ANCHOR: create_item
async fn create_item(
    State(items): State<Items>,
    Json(new): Json<NewItem>,
) -> (StatusCode, Json<Item>) {
    (StatusCode::CREATED, Json(items.create(new)))
}
// ANCHOR_END: create_item

async fn panics() -> &'static str {
    panic!("as requested")
}

async fn slow() -> &'static str {
    sleep(A_WHILE).await;
    "done"
}
