use std::convert::Infallible;
use std::pin::pin;

use actix_web::body::MessageBody;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpResponse, Responder, get};
use bytes::Bytes;
use futures_util::stream::poll_fn;
use futures_util::{StreamExt, TryStreamExt};

use super::{FIRST_THREE, NDJSON, products};

// ANCHOR: export
#[get("/export")]
async fn export() -> impl Responder {
    let lines = products().map(Ok::<_, Infallible>);
    HttpResponse::Ok().content_type(NDJSON).streaming(lines)
}
// ANCHOR_END: export

#[actix_web::test]
async fn the_first_lines_arrive_although_the_stream_never_ends() {
    let app = init_service(App::new().service(export)).await;
    let request = TestRequest::get().uri("/export").to_request();
    let answer = call_service(&app, request).await;
    assert_eq!(answer.headers().get(CONTENT_TYPE).expect("a type"), NDJSON);
    let mut body = pin!(answer.into_body());
    let lines = poll_fn(|cx| body.as_mut().poll_next(cx)).take(3);
    let lines: Vec<Bytes> = lines.try_collect().await.expect("three lines");
    assert_eq!(lines.concat(), FIRST_THREE.as_bytes());
}
