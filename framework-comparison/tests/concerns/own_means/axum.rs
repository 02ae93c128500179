use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use axum::{Extension, Router};
use tower::ServiceExt;

use super::Forgotten;

#[tokio::test]
async fn a_missing_extension_fails_the_first_request() {
    let routes = Router::new().route("/", get(async |_: Extension<Forgotten>| ()));
    let request = Request::get("/").body(Body::empty());
    let answer = routes.oneshot(request.expect("a request")).await;
    let status = answer.expect("an answer").status();
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
}
