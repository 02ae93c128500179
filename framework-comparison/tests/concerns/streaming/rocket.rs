use bytes::Bytes;
use rocket::http::ContentType;
use rocket::local::asynchronous::Client;
use rocket::response::stream::ByteStream;
use rocket::tokio::io::AsyncReadExt;
use rocket::{get, routes};

use super::{FIRST_THREE, NDJSON, products};

// ANCHOR: export
#[get("/export")]
fn export() -> (ContentType, ByteStream![Bytes]) {
    let ndjson = ContentType::new("application", "x-ndjson");
    (ndjson, ByteStream(products()))
}
// ANCHOR_END: export

#[tokio::test]
async fn the_first_lines_arrive_although_the_stream_never_ends() {
    let rocket = rocket::build().mount("/", routes![export]);
    let client = Client::untracked(rocket).await.expect("a rocket");
    let mut answer = client.get("/export").dispatch().await;
    let content_type = answer.content_type().expect("a type");
    assert_eq!(content_type.to_string(), NDJSON);
    let mut lines = vec![0; FIRST_THREE.len()];
    answer.read_exact(&mut lines).await.expect("three lines");
    assert_eq!(lines, FIRST_THREE.as_bytes());
}
