use poem::http::StatusCode;
use poem::test::TestClient;
use poem::web::{Json, Path};
use poem::{Route, get, handler};

use super::{Product, find};

fn routes() -> Route {
    Route::new().at("/products/:id", get(get_product))
}

#[handler]
fn get_product(Path(id): Path<u64>) -> poem::Result<Json<Product>> {
    let product = find(id).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(product))
}

// ANCHOR: test
#[tokio::test]
async fn a_product_is_found_by_its_id() {
    let client = TestClient::new(routes());

    let found = client.get("/products/1").send().await;
    found.assert_status_is_ok();
    found.assert_text(r#"{"id":1,"name":"Engine"}"#).await;

    let missing = client.get("/products/2").send().await;
    missing.assert_status(StatusCode::NOT_FOUND);
}
// ANCHOR_END: test
