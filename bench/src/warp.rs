//! The smallest server on warp with `warp::serve`.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::time::sleep;
use warp::http::StatusCode;
use warp::reply::{Json, WithStatus, json, with_status};
use warp::{Filter, Rejection, Reply};

use crate::data::{Health, Items, NewItem, Paging};
use crate::{A_WHILE, Failed};

/// Runs the server at this address. Port 0 means any free port.
// ANCHOR: serve
#[tokio::main]
pub async fn serve(address: SocketAddr) -> Result<(), Failed> {
    let items = Items::default();
    let items = warp::any().map(move || items.clone());

    let health = warp::path!("health").and(warp::get()).map(health);
    let list_items = warp::path!("items")
        .and(warp::get())
        .and(items.clone())
        .and(warp::query())
        .map(|items: Items, paging: Paging| json(&items.list(paging.limit)));
    let get_item = warp::path!("items" / u64)
        .and(warp::get())
        .and(items.clone())
        .and_then(get_item);
    // ANCHOR: create_item_filter
    let create_item = warp::path!("items")
        .and(warp::post())
        .and(items)
        .and(warp::body::json())
        .map(|items: Items, new| create_item(&items, new));
    // ANCHOR_END: create_item_filter
    let panics = warp::path!("panic").and(warp::get()).map(panics);
    let slow = warp::path!("slow").and(warp::get()).then(slow);

    let listener = TcpListener::bind(address).await?;
    crate::listening(listener.local_addr()?);
    let routes = health
        .or(list_items)
        .or(get_item)
        .or(create_item)
        .or(panics)
        .or(slow);
    warp::serve(routes).incoming(listener).run().await;
    Ok(())
}
// ANCHOR_END: serve

fn health() -> impl Reply {
    json(&Health::of("warp"))
}

// ANCHOR: get_item
async fn get_item(id: u64, items: Items) -> Result<impl Reply, Rejection> {
    let item = items.find(id).ok_or_else(warp::reject::not_found)?;
    Ok(json(&item))
}
// ANCHOR_END: get_item

// ANCHOR: create_item
fn create_item(items: &Items, new: NewItem) -> WithStatus<Json> {
    with_status(json(&items.create(new)), StatusCode::CREATED)
}
// ANCHOR_END: create_item

fn panics() -> &'static str {
    panic!("as requested")
}

async fn slow() -> &'static str {
    sleep(A_WHILE).await;
    "done"
}
