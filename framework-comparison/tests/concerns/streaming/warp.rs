use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::{BodyExt, Empty};
use tower::ServiceExt;
use warp::http::Request;
use warp::{Filter, Rejection, Reply, reply};

use super::{FIRST_THREE, NDJSON, products};

// ANCHOR: export
fn export() -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Copy {
    warp::path!("export").and(warp::get()).map(|| {
        let lines = reply::stream(products().map(Ok::<_, Infallible>));
        reply::with_header(lines, "content-type", NDJSON)
    })
}
// ANCHOR_END: export

#[tokio::test]
async fn the_first_lines_arrive_although_the_stream_never_ends() {
    // Not with `warp::test`, which collects the whole response.
    let request = Request::get("/export").body(Empty::<Bytes>::new());
    let answer = warp::service(export()).oneshot(request.expect("a request"));
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], NDJSON);
    let lines = answer.into_body().into_data_stream().take(3);
    let lines: Vec<Bytes> = lines.try_collect().await.expect("three lines");
    assert_eq!(lines.concat(), FIRST_THREE.as_bytes());
}
