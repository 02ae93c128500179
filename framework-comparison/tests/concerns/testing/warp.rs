use warp::http::StatusCode;
use warp::reply::{Json, json};
use warp::test::request;
use warp::{Filter, Rejection, Reply, reject};

use super::find;

fn routes() -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Copy {
    warp::path!("products" / u64)
        .and(warp::get())
        .and_then(get_product)
}

async fn get_product(id: u64) -> Result<Json, Rejection> {
    let product = find(id).ok_or_else(reject::not_found)?;
    Ok(json(&product))
}

// ANCHOR: test
#[tokio::test]
async fn a_product_is_found_by_its_id() {
    let found = request().path("/products/1").reply(&routes()).await;
    assert_eq!(found.status(), StatusCode::OK);
    assert_eq!(found.body(), r#"{"id":1,"name":"Engine"}"#);

    let missing = request().path("/products/2").reply(&routes()).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}
// ANCHOR_END: test
