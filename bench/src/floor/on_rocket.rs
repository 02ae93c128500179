//! The work of the floor on Rocket's own server, with its `launch`.

use std::io::Cursor;
use std::net::SocketAddr;

use bench::Failed;
use chassis::contract::error::ApiError;
use chassis::contract::reply::{Body, Reply};
use product_service::store::ProductStore;
use rocket::fairing::AdHoc;
use rocket::http::Status;
use rocket::http::uri::Origin;
use rocket::request::Request;
use rocket::response::{self, Responder, Response};
use rocket::{Config, State, get, post, routes};

use super::Replied;

/// Runs the server at this address, on the runtime of the caller.
pub(crate) async fn serve(address: SocketAddr) -> Result<(), Failed> {
    let config = Config {
        address: address.ip(),
        port: address.port(),
        // No line for each request: the other servers write none either.
        log_level: rocket::config::LogLevel::Off,
        ..Config::release_default()
    };
    rocket::custom(config)
        .manage(ProductStore::default())
        .mount("/", routes![health, list, create, find])
        .attach(AdHoc::on_liftoff("address", |rocket| {
            Box::pin(async {
                let config = rocket.config();
                bench::listening(SocketAddr::new(config.address, config.port));
            })
        }))
        .launch()
        .await?;
    Ok(())
}

#[get("/health")]
fn health() -> Answer {
    Answer(Ok(super::health("rocket")))
}

#[get("/api/products")]
fn list(products: &State<ProductStore>, target: &Origin<'_>) -> Answer {
    let query = target.query().map(|query| query.as_str());
    Answer(super::list(products, query))
}

#[post("/api/products", data = "<body>")]
fn create(products: &State<ProductStore>, body: &[u8]) -> Answer {
    Answer(super::create(products, body))
}

#[get("/api/products/<id>")]
fn find(products: &State<ProductStore>, id: &str) -> Answer {
    Answer(super::find(products, id))
}

struct Answer(Replied);

impl<'r> Responder<'r, 'static> for Answer {
    fn respond_to(self, _: &'r Request<'_>) -> response::Result<'static> {
        let Reply {
            status,
            headers,
            body,
        } = self.0.unwrap_or_else(ApiError::reply);
        let mut response = Response::build();
        let Body::Bytes(body) = body else {
            unreachable!("no reply of this server is a stream");
        };
        response
            .status(Status::new(status))
            .sized_body(body.len(), Cursor::new(body));
        for (name, value) in headers {
            response.raw_header(name, value);
        }
        response.ok()
    }
}
