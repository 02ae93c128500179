use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tower::ServiceExt;

use super::{FIRST_THREE, NDJSON, products};

// ANCHOR: export
async fn export() -> impl IntoResponse {
    let lines = Body::from_stream(products().map(Ok::<_, Infallible>));
    ([(CONTENT_TYPE, NDJSON)], lines)
}
// ANCHOR_END: export

#[tokio::test]
async fn the_first_lines_arrive_although_the_stream_never_ends() {
    let routes = Router::new().route("/export", get(export));
    let request = Request::get("/export").body(Body::empty());
    let answer = routes.oneshot(request.expect("a request")).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.headers()[CONTENT_TYPE], NDJSON);
    let lines = answer.into_body().into_data_stream().take(3);
    let lines: Vec<Bytes> = lines.try_collect().await.expect("three lines");
    assert_eq!(lines.concat(), FIRST_THREE.as_bytes());
}
