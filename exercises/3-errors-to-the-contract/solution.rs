//! Exercise 3: a small server on actix-web, with errors of the contract, also where the framework
//! itself refuses a request.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::io;
use std::sync::Arc;

use actix_web::dev::ServiceResponse;
use actix_web::error::{JsonPayloadError, ResponseError};
use actix_web::http::StatusCode;
use actix_web::http::header::ALLOW;
use actix_web::middleware::{ErrorHandlerResponse, ErrorHandlers};
use actix_web::web::{self, Data, Json, JsonConfig, Path, PathConfig, ServiceConfig, get, post};
use actix_web::{App, HttpResponse, HttpServer};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

/// The largest body, in bytes.
const MAX_BODY: usize = 64 * 1024;

#[actix_web::main]
async fn main() -> io::Result<()> {
    let products = Data::new(Products::default());
    let server = HttpServer::new(move || {
        App::new()
            .wrap(ErrorHandlers::new().default_handler(to_contract))
            .app_data(products.clone())
            .configure(routes)
    })
    .bind(exercises::address())?;
    exercises::listening(server.addrs()[0]);
    server.run().await
}

fn routes(routes: &mut ServiceConfig) {
    let json = JsonConfig::default().limit(MAX_BODY);
    routes
        .app_data(json.error_handler(|error, _| Refusal::of_body(&error).into()))
        .app_data(PathConfig::default().error_handler(|_, _| Refusal::no_product().into()))
        .service(web::resource("/api/products").route(post().to(create)))
        .service(web::resource("/api/products/{id}").route(get().to(find)));
}

async fn create(
    products: Data<Products>,
    Json(new): Json<NewProduct>,
) -> Result<HttpResponse, Refusal> {
    let name = new.name.ok_or(Refusal {
        status: StatusCode::BAD_REQUEST,
        code: "validation_failed",
        sentence: "name is required".to_owned(),
    })?;
    Ok(HttpResponse::Created().json(products.create(name)))
}

async fn find(products: Data<Products>, id: Path<u64>) -> Result<HttpResponse, Refusal> {
    let product = products.find(*id).ok_or_else(Refusal::no_product)?;
    Ok(HttpResponse::Ok().json(product))
}

// The errors.

/// Why a request is refused.
#[derive(Clone, Debug)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    sentence: String,
}

impl Refusal {
    fn no_product() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "not_found",
            sentence: "There is no such product".to_owned(),
        }
    }

    /// An error of actix-web about a body. By itself actix-web answers nearly all of them with 400.
    fn of_body(error: &JsonPayloadError) -> Self {
        let (status, code) = match error {
            JsonPayloadError::ContentType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
            }
            JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large")
            }
            _ => (StatusCode::BAD_REQUEST, "invalid_json"),
        };
        Self {
            status,
            code,
            sentence: error.to_string(),
        }
    }

    /// A refusal of actix-web without an error: an unknown route or method.
    fn of_status(status: StatusCode) -> Self {
        let (code, sentence) = match status {
            StatusCode::NOT_FOUND => ("not_found", "There is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "This method is not allowed here")
            }
            _ => ("internal", "Something went wrong on our side"),
        };
        Self {
            status,
            code,
            sentence: sentence.to_owned(),
        }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }
}

/// Handles all errors, whether from a handler or from actix-web.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the signature that `ErrorHandlers` requires"
)]
fn to_contract<B>(answer: ServiceResponse<B>) -> actix_web::Result<ErrorHandlerResponse<B>> {
    let (request, answer) = answer.into_parts();
    let refusal = answer.error().and_then(|error| error.as_error::<Refusal>());
    let refusal = refusal
        .cloned()
        .unwrap_or_else(|| Refusal::of_status(answer.status()));
    let id = Uuid::new_v4().to_string();
    let mut response = HttpResponse::build(refusal.status);
    // A resource of actix-web sets `Allow` to its methods.
    if let Some(allowed) = answer.headers().get(ALLOW) {
        response.insert_header((ALLOW, allowed));
    }
    let response = response
        .insert_header(("x-request-id", id.as_str()))
        .json(json!({"error": refusal.sentence, "code": refusal.code, "requestId": id}));
    let answer = ServiceResponse::new(request, response);
    Ok(ErrorHandlerResponse::Response(answer.map_into_right_body()))
}

/// The body of `POST /api/products`.
#[derive(Deserialize)]
struct NewProduct {
    /// Required. The handler checks that, because serde reports a missing field and a wrong
    /// type as the same error.
    name: Option<String>,
}

#[derive(Clone, Serialize)]
struct Product {
    id: String,
    name: String,
}

/// The products in memory. Cheap to clone.
#[derive(Clone, Default)]
struct Products(Arc<RwLock<BTreeMap<u64, Product>>>);

impl Products {
    fn create(&self, name: String) -> Product {
        let mut products = self.0.write();
        let number = products.len() as u64 + 1;
        let id = number.to_string();
        let product = Product { id, name };
        products.insert(number, product.clone());
        product
    }

    fn find(&self, id: u64) -> Option<Product> {
        self.0.read().get(&id).cloned()
    }
}
