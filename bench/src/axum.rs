//! axum, by `axum::serve`.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::net::TcpListener;

use crate::data::{Failed, Health, Item, Items, NewItem};

// ANCHOR: serve
#[tokio::main]
pub(crate) async fn serve(address: SocketAddr) -> Result<(), Failed> {
    let app = Router::new()
        .route("/health", get(health))
        .route("/items/{id}", get(get_item))
        .route("/items", post(create_item))
        .with_state(Items::default());
    let listener = TcpListener::bind(address).await?;
    crate::listening(listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
// ANCHOR_END: serve

/// Takes everything, and answers 200 with nothing.
#[tokio::main]
pub(crate) async fn sink(address: SocketAddr) -> Result<(), Failed> {
    let app = Router::new().fallback(async |_: Bytes| ());
    let listener = TcpListener::bind(address).await?;
    crate::listening(listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn health() -> Json<Health> {
    Json(Health::of("axum"))
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
