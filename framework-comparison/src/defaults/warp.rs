//! warp, by `warp::serve`.

use tokio::net::TcpListener;
use tokio::time::sleep;
use warp::http::StatusCode;
use warp::reply::{Json, json, with_status};
use warp::{Filter, Reply};

use super::{A_WHILE, Failed, Item, Paging, listening};

/// Runs it on a free port.
#[tokio::main]
pub async fn serve() -> Result<(), Failed> {
    let list = warp::path!("items")
        .and(warp::get())
        .and(warp::query())
        .map(|paging: Paging| json(&paging.items()));
    let create = warp::path!("items")
        .and(warp::post())
        .and(warp::body::json())
        .map(create);
    let find = warp::path!("items" / u32)
        .and(warp::get())
        .map(|_id| json(&Item::teapot()));
    let panics = warp::path!("panic").and(warp::get()).map(panics);
    let slow = warp::path!("slow").and(warp::get()).then(slow);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    listening(listener.local_addr())?;
    let routes = list.or(create).or(find).or(panics).or(slow);
    warp::serve(routes).incoming(listener).run().await;
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "as a filter hands it over")]
fn create(item: Item) -> impl Reply {
    with_status(json(&item), StatusCode::CREATED)
}

fn panics() -> Json {
    panic!("as the probe wants")
}

async fn slow() -> Json {
    sleep(A_WHILE).await;
    json(&Item::teapot())
}
