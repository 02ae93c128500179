use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::Data;
use actix_web::{App, HttpResponse, Responder, get};

use super::Forgotten;

#[get("/")]
async fn stateful(_state: Data<Forgotten>) -> impl Responder {
    HttpResponse::Ok()
}

#[actix_web::test]
async fn missing_data_fails_the_first_request() {
    let app = init_service(App::new().service(stateful)).await;
    let answer = call_service(&app, TestRequest::get().to_request()).await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
}
