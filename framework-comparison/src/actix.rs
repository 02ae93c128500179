//! actix-web's room: the routes of the product API, and a handler for each. The
//! rules of the contract are analytics-service's.

use std::future::{Ready, ready};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use actix_web::dev::Payload;
use actix_web::http::header::HeaderValue;
use actix_web::web::{self, Data, ServiceConfig, delete, patch, post, put};
use actix_web::{FromRequest, HttpRequest};
use analytics_service::http::rules::{self, Answer, Failure, get};
use chassis::contract::api::Api;
use chassis::contract::body::{self, MAX_BODY};
use chassis::contract::error::ApiError;
use chassis::contract::idempotency::Key;
use chassis::contract::page::Page;
use chassis::serve::run::RunError;
use chassis::serve::service::Service;
use chassis::values::headers::IDEMPOTENCY_KEY;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use product_service::model::{ChangeBody, NewProductBody, ProductId, StockBody};
use product_service::{App, api};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

/// The API of product-service, on actix-web.
pub static API: LazyLock<Api> = LazyLock::new(|| api::on("actix-web"));

/// Answers on `listener` until the app's shutdown is over.
pub async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    rules::serve(listener, routes, app, service).await
}

// ANCHOR: routes
fn routes(routes: &mut ServiceConfig) {
    routes
        .route("/api/products", get(list_products))
        .route("/api/products", post().to(create_product))
        .route("/api/products/{id}", get(get_product))
        .route("/api/products/{id}", put().to(change_product))
        .route("/api/products/{id}", delete().to(delete_product))
        .route("/api/products/{id}/stock", patch().to(change_stock));
}
// ANCHOR_END: routes

// Handlers, in the order of the routes.

async fn list_products(app: Data<App>, PageOf(page): PageOf) -> Answer {
    Answer(api::list_products(&app, page))
}

// ANCHOR: create_product
async fn create_product(
    app: Data<App>,
    Json(body): Json<NewProductBody>,
) -> Result<Answer, Failure> {
    Ok(Answer(api::create_product(&app, body).await?))
}
// ANCHOR_END: create_product

async fn get_product(app: Data<App>, Path(id): Path<ProductId>) -> Result<Answer, Failure> {
    Ok(Answer(api::get_product(&app, id)?))
}

async fn change_product(
    app: Data<App>,
    Path(id): Path<ProductId>,
    Json(body): Json<ChangeBody>,
) -> Result<Answer, Failure> {
    Ok(Answer(api::change_product(&app, id, body).await?))
}

async fn delete_product(app: Data<App>, Path(id): Path<ProductId>) -> Result<Answer, Failure> {
    Ok(Answer(api::delete_product(&app, id)?))
}

async fn change_stock(
    app: Data<App>,
    Path(id): Path<ProductId>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<StockBody>,
) -> Result<Answer, Failure> {
    Ok(Answer(api::change_stock(&app, id, key, body).await?))
}

// What handlers take here, and not in analytics-service.

// ANCHOR: path_and_query
/// The parameter of the path, such as an id.
struct Path<T>(T);

impl<T: FromStr<Err = ApiError>> FromRequest for Path<T> {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let segment = web::Path::<String>::from_request(request, payload).into_inner();
        let segment = segment.map_err(|_| ApiError::undecodable());
        let value = segment.and_then(|segment| segment.into_inner().parse());
        ready(value.map(Self).map_err(Failure::from))
    }
}

/// `?limit=` and `?after=`.
struct PageOf(Page);

impl FromRequest for PageOf {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let page = Page::parse(request.uri().query());
        ready(page.map(Self).map_err(Failure::from))
    }
}
// ANCHOR_END: path_and_query

/// `Idempotency-Key`, if there is one.
struct IdempotencyKey(Option<Key>);

impl FromRequest for IdempotencyKey {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let key = request.headers().get(IDEMPOTENCY_KEY);
        let key = Key::parse(key.map(HeaderValue::as_bytes));
        ready(key.map(Self).map_err(Failure::from))
    }
}

// ANCHOR: json
/// A JSON body within the limits of the contract.
struct Json<T>(T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let body = web::Payload::from_request(&request, payload).into_inner();
        async move {
            let body = body.map_err(body::unreadable)?;
            Ok(Self(read_json(&request, body).await?))
        }
        .boxed_local()
    }
}

async fn read_json<T: DeserializeOwned>(
    request: &HttpRequest,
    body: web::Payload,
) -> Result<T, ApiError> {
    body::check_headers(|name| request.headers().get(name)?.to_str().ok())?;
    let service = request.app_data::<Data<Service>>();
    let service = service.expect("`rules::serve` shares it");
    let reading = body.to_bytes_limited(MAX_BODY);
    let read = body::in_time(service.limits().body, reading).await?;
    let bytes = read.map_err(|_| ApiError::payload_too_large(MAX_BODY))?;
    body::parse(&bytes.map_err(body::unreadable)?)
}
// ANCHOR_END: json
