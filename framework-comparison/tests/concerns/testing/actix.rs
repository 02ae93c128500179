use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::web::Path;
use actix_web::{App, HttpResponse, Responder, get};

use super::find;

#[get("/products/{id}")]
async fn get_product(id: Path<u64>) -> impl Responder {
    match find(*id) {
        Some(product) => HttpResponse::Ok().json(product),
        None => HttpResponse::NotFound().finish(),
    }
}

// ANCHOR: test
#[actix_web::test]
async fn a_product_is_found_by_its_id() {
    let app = init_service(App::new().service(get_product)).await;
    let get = |path| TestRequest::get().uri(path).to_request();

    let found = call_service(&app, get("/products/1")).await;
    assert_eq!(found.status(), StatusCode::OK);
    assert_eq!(read_body(found).await, r#"{"id":1,"name":"Engine"}"#);

    let missing = call_service(&app, get("/products/2")).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}
// ANCHOR_END: test
