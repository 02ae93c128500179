//! poem's room: routes, handlers, and how poem is brought to the contract.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use chassis::api::{About, Api};
use chassis::body::{self, MAX_BODY};
use chassis::error::ApiError;
use chassis::exchange::{Exchange, REQUEST_ID, STANDARD_HEADERS};
use chassis::id::Id;
use chassis::idempotency::{IDEMPOTENCY_KEY, Key, KeyHeader};
use chassis::reply::Reply;
use chassis::run::RunError;
use chassis::server;
use chassis::table::Page;
use hyper::body::Incoming;
use hyper::service::service_fn;
use poem::error::{MethodNotAllowedError, NotFoundError, ReadBodyError};
use poem::http::uri::Scheme;
use poem::http::{HeaderName, HeaderValue, StatusCode};
use poem::web::{Data, LocalAddr, Path, RemoteAddr};
use poem::{
    Endpoint, EndpointExt, FromRequest, IntoResponse, Request, RequestBody, Response, Route, get,
    handler, post,
};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use utoipa::OpenApi;

use crate::App;
use crate::model::{NewOrder, Order, OrderBody, Stats};
use crate::place_order::place_order_once;

/// Answers on `listener` until the app's shutdown is over.
pub async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    serve_routes(listener, routes(), app).await;
    Ok(())
}

async fn serve_routes(listener: TcpListener, routes: Route, app: App) {
    let service = Arc::clone(&app.service);
    let endpoint = Arc::new(with_rules(routes, app));
    let http = service_fn(move |request: hyper::Request<Incoming>| {
        let endpoint = Arc::clone(&endpoint);
        async move {
            // Nobody here looks at the addresses.
            let request = Request::from((
                request,
                LocalAddr::default(),
                RemoteAddr::default(),
                Scheme::HTTP,
            ));
            Ok::<_, Infallible>(hyper::Response::from(endpoint.get_response(request).await))
        }
    });
    server::serve(listener, http, &service).await;
}

fn routes() -> Route {
    Route::new()
        .at("/api/orders", get(list_orders).post(place_order))
        .at("/api/orders/stats", get(stats))
        .at("/api/orders/user/:userId", get(list_orders_of_user))
        .at("/api/orders/:id", get(get_order))
        .at("/api/orders/:id/cancel", post(cancel_order))
        .at("/health", get(health))
        .at("/health/ready", get(ready))
        .at("/metrics", get(metrics))
        .at("/openapi.json", get(openapi_json))
        .at("/docs", get(docs))
        .at("/docs/:file", get(docs_file))
}

/// The rules of the contract around `routes`, for every request, matched or not.
fn with_rules(routes: Route, app: App) -> impl Endpoint {
    routes
        .data(app.clone())
        .around(move |endpoint, request| exchange(app.clone(), endpoint, request))
}

/// The API of order-service.
pub static API: LazyLock<Api> = LazyLock::new(|| {
    #[derive(OpenApi)]
    #[openapi(paths(
        list_orders,
        place_order,
        stats,
        list_orders_of_user,
        get_order,
        cancel_order
    ))]
    struct Document;

    let about = About {
        name: "order-service",
        framework: "poem",
        version: env!("CARGO_PKG_VERSION"),
        description: "Orders of the shop.",
    };
    Api::new(about, Document::openapi())
});

// Handlers, in the order of the routes.

/// All orders
#[utoipa::path(get, path = "/api/orders", tag = "orders", params(Page),
    responses((status = 200, description = "A page of orders, in ascending id", body = [Order])))]
#[handler]
async fn list_orders(app: Data<&App>, PageOf(page): PageOf) -> Answer {
    Answer(Reply::listing("/api/orders", &app.orders.list(page)))
}

/// Place an order
///
/// Takes the stock and tells the user. A notification that fails does not fail
/// the order: it is marked `failed`. With an `Idempotency-Key` it can be repeated,
/// and orders nothing twice.
#[utoipa::path(post, path = "/api/orders", tag = "orders", params(KeyHeader), request_body = OrderBody, responses(
    (status = 201, description = "The confirmed order", body = Order),
    (status = 409, description = "`insufficient_stock`: fewer in stock than asked for; `conflict`: the key was used with another body"),
    (status = 503, description = "`dependency_unavailable`: user-service or product-service does not answer; nothing was changed"),
))]
#[handler]
async fn place_order(
    app: Data<&App>,
    IdempotencyKey(key): IdempotencyKey,
    Json(body): Json<OrderBody>,
) -> Result<Answer, Failure> {
    let placing = place_order_once(app.clone(), key, NewOrder::parse(body)?);
    let placed = app.service.shutdown().finish(placing).await?;
    Ok(Answer(placed.reply(|placed| match placed {
        Ok(order) => Reply::created(format!("/api/orders/{}", order.id), &order),
        Err(error) => ApiError::from(error).reply(),
    })))
}

/// What all orders come to
#[utoipa::path(get, path = "/api/orders/stats", tag = "orders",
    responses((status = 200, description = "Kept up to date, not counted per request", body = Stats)))]
#[handler]
async fn stats(app: Data<&App>) -> Answer {
    Answer(Reply::json(200, &Stats::from(app.orders.totals())))
}

/// The orders of one user
#[utoipa::path(get, path = "/api/orders/user/{userId}", tag = "orders", params(("userId" = Id, Path), Page),
    responses((status = 200, description = "A page of the user's orders, in ascending id", body = [Order])))]
#[handler]
async fn list_orders_of_user(app: Data<&App>, UserId(id): UserId, PageOf(page): PageOf) -> Answer {
    Answer(Reply::listing(
        &format!("/api/orders/user/{id}"),
        &app.orders.list_of_user(id, page),
    ))
}

/// One order
#[utoipa::path(get, path = "/api/orders/{id}", tag = "orders", params(("id" = Id, Path)),
    responses((status = 200, description = "The order", body = Order)))]
#[handler]
async fn get_order(app: Data<&App>, OrderId(id): OrderId) -> Result<Answer, Failure> {
    Ok(Answer(Reply::json(200, &app.orders.find(id)?)))
}

/// Cancel an order and give its stock back
#[utoipa::path(post, path = "/api/orders/{id}/cancel", tag = "orders", params(("id" = Id, Path)), responses(
    (status = 200, description = "The cancelled order", body = Order),
    (status = 409, description = "`conflict`: the order is cancelled already"),
    (status = 503, description = "`dependency_unavailable`: product-service does not answer"),
))]
#[handler]
async fn cancel_order(app: Data<&App>, OrderId(id): OrderId) -> Result<Answer, Failure> {
    let order = crate::cancel_order::cancel_order(app.clone(), id).await?;
    Ok(Answer(Reply::json(200, &order)))
}

#[handler]
async fn health(app: Data<&App>) -> Answer {
    Answer(app.service.health())
}

#[handler]
async fn ready(app: Data<&App>) -> Answer {
    Answer(app.service.ready().await)
}

#[handler]
async fn metrics(app: Data<&App>) -> Answer {
    Answer(app.service.metrics_text())
}

#[handler]
async fn openapi_json(app: Data<&App>) -> Answer {
    Answer(app.service.api().document())
}

#[handler]
async fn docs(app: Data<&App>) -> Answer {
    Answer(app.service.api().page())
}

#[handler]
async fn docs_file(app: Data<&App>, file: poem::Result<Path<String>>) -> Answer {
    // What cannot be decoded is the name of no file.
    let file = file.map_or_else(|_| String::new(), |Path(file)| file);
    Answer(app.service.api().page_file(&file))
}

// How poem expresses the rules of the contract.

/// Around every request. poem's own refusals come out of the endpoint as errors
/// that have not been turned into responses yet.
async fn exchange(
    app: App,
    endpoint: Arc<impl Endpoint>,
    request: Request,
) -> poem::Result<Response> {
    let header = |name| request.headers().get(name)?.to_str().ok();
    let exchange = Exchange::begin(
        &app.service,
        request.method().as_str(),
        request.uri().path(),
        header,
    );
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let answering = exchange.run(async {
        match endpoint.call(request).await {
            Ok(answer) => answer.into_response(),
            Err(error) if error.is::<NotFoundError>() || error.is::<MethodNotAllowedError>() => {
                Answer(app.service.api().unrouted(method.as_str(), uri.path())).into_response()
            }
            Err(error) => error.into_response(),
        }
    });
    let mut response = answering
        .await
        .unwrap_or_else(|panicked| Answer(panicked).into_response());
    for (name, value) in STANDARD_HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(exchange.context().request_id()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    exchange.finish(response.status().as_u16());
    Ok(response)
}

/// A reply of the chassis as a response of poem.
struct Answer(Reply);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Reply {
            status,
            headers,
            body,
        } = self.0;
        // poem drops the body of an answer to HEAD, and its length with it.
        let length = HeaderValue::from(body.len());
        let mut response = Response::from(body.into_owned());
        response
            .set_status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        response.headers_mut().insert("content-length", length);
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::try_from(value.as_ref()) {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// An error of any layer, as a handler returns it with `?`.
struct Failure(ApiError);

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl From<Failure> for poem::Error {
    fn from(Failure(error): Failure) -> Self {
        Self::from_response(Answer(error.reply()).into_response())
    }
}

/// The id of an order in the path; one that is none names nothing.
struct OrderId(Id);

impl<'a> FromRequest<'a> for OrderId {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        path_id(request, "order").await.map(Self)
    }
}

/// The id of a user in the path; one that is none names nobody.
struct UserId(Id);

impl<'a> FromRequest<'a> for UserId {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        path_id(request, "user").await.map(Self)
    }
}

async fn path_id(request: &Request, kind: &str) -> poem::Result<Id> {
    let id = Path::<String>::from_request_without_body(request).await;
    let Path(id) = id.map_err(|bad| Failure(ApiError::no_such(kind, bad)))?;
    Ok(Id::in_path(kind, &id).map_err(Failure)?)
}

/// `Idempotency-Key`, if there is one.
struct IdempotencyKey(Option<Key>);

impl<'a> FromRequest<'a> for IdempotencyKey {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let key = request.headers().get(IDEMPOTENCY_KEY);
        Ok(Self(
            Key::parse(key.map(HeaderValue::as_bytes)).map_err(Failure)?,
        ))
    }
}

/// `?limit=` and `?after=`.
struct PageOf(Page);

impl<'a> FromRequest<'a> for PageOf {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(Page::parse(request.uri().query()).map_err(Failure)?))
    }
}

/// A JSON body within the limits of the contract.
struct Json<T>(T);

impl<'a, T: DeserializeOwned> FromRequest<'a> for Json<T> {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> poem::Result<Self> {
        body::check_headers(|name| request.headers().get(name)?.to_str().ok()).map_err(Failure)?;
        let app = Data::<&App>::from_request_without_body(request).await?;
        let reading = body.take()?.into_bytes_limit(MAX_BODY);
        let read = body::in_time(app.service.limits().body, reading).await;
        let bytes = read.map_err(Failure)?.map_err(|error| match error {
            ReadBodyError::PayloadTooLarge => Failure(ApiError::payload_too_large(MAX_BODY)),
            error => Failure(body::unreadable(error)),
        })?;
        Ok(Self(body::parse(&bytes).map_err(Failure)?))
    }
}

#[cfg(test)]
mod tests {
    use chassis::config::Env;
    use chassis::testkit::Server;

    use super::*;
    use crate::Config;

    #[handler]
    async fn panicking() {
        panic!("as the test wants")
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_request_alone() {
        let server = Server::start(|listener, shutdown| async {
            let app = App::new(&Config::read(Env::new(|_| None))?, shutdown)?;
            serve_routes(listener, routes().at("/health/panic", get(panicking)), app).await;
            Ok(())
        })
        .await;
        for _ in 0..3 {
            let got = server.get("/health/panic").await;
            assert_eq!(got.header("access-control-allow-origin"), "*");
            let sentence = got.expect_error(500, "internal");
            assert!(
                !sentence.contains("as the test wants"),
                "the cause is for the log: {sentence}"
            );
            server.get("/health").await.expect(200);
        }
    }
}
