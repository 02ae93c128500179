use rocket::http::Status;
use rocket::local::blocking::Client;
use rocket::serde::json::Json;
use rocket::{Build, Rocket, get, routes};

use super::{Product, find};

fn rocket() -> Rocket<Build> {
    rocket::build().mount("/", routes![get_product])
}

#[get("/products/<id>")]
fn get_product(id: u64) -> Option<Json<Product>> {
    find(id).map(Json)
}

// ANCHOR: test
#[test]
fn a_product_is_found_by_its_id() {
    let client = Client::tracked(rocket()).expect("a rocket");

    let found = client.get("/products/1").dispatch();
    assert_eq!(found.status(), Status::Ok);
    let body = found.into_string().expect("a body");
    assert_eq!(body, r#"{"id":1,"name":"Engine"}"#);

    let missing = client.get("/products/2").dispatch();
    assert_eq!(missing.status(), Status::NotFound);
}
// ANCHOR_END: test
