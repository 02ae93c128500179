use axum::body::{Body, to_bytes};
use axum::extract::Path;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use tower::ServiceExt;

use super::{Product, find};

fn routes() -> Router {
    Router::new().route("/products/{id}", get(get_product))
}

async fn get_product(Path(id): Path<u64>) -> Result<Json<Product>, StatusCode> {
    find(id).map(Json).ok_or(StatusCode::NOT_FOUND)
}

// ANCHOR: test
#[tokio::test]
async fn a_product_is_found_by_its_id() {
    let get = |path| Request::get(path).body(Body::empty()).expect("a request");

    let found = routes()
        .oneshot(get("/products/1"))
        .await
        .expect("an answer");
    assert_eq!(found.status(), StatusCode::OK);
    let body = to_bytes(found.into_body(), 1024).await.expect("a body");
    assert_eq!(body, r#"{"id":1,"name":"Engine"}"#);

    let missing = routes()
        .oneshot(get("/products/2"))
        .await
        .expect("an answer");
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}
// ANCHOR_END: test
