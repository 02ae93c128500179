//! warp, by `warp::serve`.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use warp::http::StatusCode;
use warp::reply::{Json, WithStatus, json, with_status};
use warp::{Filter, Rejection, Reply};

use crate::data::{Failed, Health, Items, NewItem};

// ANCHOR: serve
#[tokio::main]
pub(crate) async fn serve(address: SocketAddr) -> Result<(), Failed> {
    let items = Items::default();
    let items = warp::any().map(move || items.clone());

    let health = warp::path!("health").and(warp::get()).map(health);
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

    let listener = TcpListener::bind(address).await?;
    crate::listening(listener.local_addr()?);
    let routes = health.or(get_item).or(create_item);
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
