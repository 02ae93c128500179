use std::io;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use poem::test::TestClient;
use poem::{Body, IntoResponse, Route, get, handler};

use super::{FIRST_THREE, NDJSON, products};

// ANCHOR: export
#[handler]
fn export() -> impl IntoResponse {
    let lines = Body::from_bytes_stream(products().map(Ok::<_, io::Error>));
    lines.with_content_type(NDJSON)
}
// ANCHOR_END: export

#[tokio::test]
async fn the_first_lines_arrive_although_the_stream_never_ends() {
    let routes = Route::new().at("/export", get(export));
    let answer = TestClient::new(routes).get("/export").send().await;
    answer.assert_content_type(NDJSON);
    let lines = answer.0.into_body().into_bytes_stream().take(3);
    let lines: Vec<Bytes> = lines.try_collect().await.expect("three lines");
    assert_eq!(lines.concat(), FIRST_THREE.as_bytes());
}
