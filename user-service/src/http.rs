//! axum's room: routes, handlers, and how axum is brought to the contract.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chassis::api::{About, Api};
use chassis::body::{self, MAX_BODY};
use chassis::error::ApiError;
use chassis::exchange::{Exchange, REQUEST_ID, STANDARD_HEADERS};
use chassis::id::Id;
use chassis::reply::{Message, Reply};
use chassis::run::RunError;
use chassis::server;
use chassis::table::Page;
use hyper_util::service::TowerToHyperService;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use utoipa::OpenApi;

use crate::App;
use crate::model::{Profile, User, UserBody};

/// Answers on `listener` until the app's shutdown is over.
pub async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    let http = TowerToHyperService::new(router(app));
    server::serve(listener, http, &service).await;
    Ok(())
}

fn router(app: App) -> Router {
    with_rules(routes(), app)
}

fn routes() -> Router<App> {
    Router::new()
        .route("/api/users", get(list_users).post(create_user))
        .route(
            "/api/users/{id}",
            get(get_user).put(replace_user).delete(delete_user),
        )
        .route("/health", get(health))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi_json))
        .route("/docs", get(docs))
        .route("/docs/{file}", get(docs_file))
}

/// The rules of the contract around `routes`: a layer for every request, and
/// fallbacks for those that no route matches.
fn with_rules(routes: Router<App>, app: App) -> Router {
    routes
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .fallback(unrouted)
        .method_not_allowed_fallback(unrouted)
        .layer(from_fn_with_state(app.clone(), exchange))
        .with_state(app)
}

/// The API of user-service.
pub static API: LazyLock<Api> = LazyLock::new(|| {
    #[derive(OpenApi)]
    #[openapi(paths(list_users, create_user, get_user, replace_user, delete_user))]
    struct Document;

    let about = About {
        name: "user-service",
        framework: "axum",
        version: env!("CARGO_PKG_VERSION"),
        description: "Users of the shop.",
    };
    Api::new(about, Document::openapi())
});

// Handlers, in the order of the routes.

/// All users
#[utoipa::path(get, path = "/api/users", tag = "users", params(Page),
    responses((status = 200, description = "A page of users, in ascending id", body = [User])))]
async fn list_users(State(app): State<App>, PageOf(page): PageOf) -> Answer {
    Answer(Reply::listing("/api/users", &app.users.list(page)))
}

/// Create a user
#[utoipa::path(post, path = "/api/users", tag = "users", request_body = UserBody, responses(
    (status = 201, description = "The new user", body = User),
    (status = 409, description = "`conflict`: another user has that email, whatever its letter case"),
))]
async fn create_user(
    State(app): State<App>,
    Json(body): Json<UserBody>,
) -> Result<Answer, Failure> {
    let user = app.users.create(Profile::parse(body)?)?;
    Ok(Answer(Reply::created(
        format!("/api/users/{}", user.id),
        &user,
    )))
}

/// One user
#[utoipa::path(get, path = "/api/users/{id}", tag = "users", params(("id" = Id, Path)),
    responses((status = 200, description = "The user", body = User)))]
async fn get_user(State(app): State<App>, UserId(id): UserId) -> Result<Answer, Failure> {
    Ok(Answer(Reply::json(200, &app.users.find(id)?)))
}

/// Replace the name and the email of a user
#[utoipa::path(put, path = "/api/users/{id}", tag = "users", params(("id" = Id, Path)), request_body = UserBody, responses(
    (status = 200, description = "The user as it is now", body = User),
    (status = 409, description = "`conflict`: another user has that email, whatever its letter case"),
))]
async fn replace_user(
    State(app): State<App>,
    UserId(id): UserId,
    Json(body): Json<UserBody>,
) -> Result<Answer, Failure> {
    let user = app.users.replace(id, Profile::parse(body)?)?;
    Ok(Answer(Reply::json(200, &user)))
}

/// Delete a user
#[utoipa::path(delete, path = "/api/users/{id}", tag = "users", params(("id" = Id, Path)),
    responses((status = 200, description = "The user is gone", body = Message)))]
async fn delete_user(State(app): State<App>, UserId(id): UserId) -> Result<Answer, Failure> {
    app.users.delete(id)?;
    Ok(Answer(Reply::message("User deleted successfully")))
}

async fn health(State(app): State<App>) -> Answer {
    Answer(app.service.health())
}

async fn ready(State(app): State<App>) -> Answer {
    Answer(app.service.ready().await)
}

async fn metrics(State(app): State<App>) -> Answer {
    Answer(app.service.metrics_text())
}

async fn openapi_json(State(app): State<App>) -> Answer {
    Answer(app.service.api().document())
}

async fn docs(State(app): State<App>) -> Answer {
    Answer(app.service.api().page())
}

async fn docs_file(State(app): State<App>, file: Result<Path<String>, PathRejection>) -> Answer {
    // What cannot be decoded is the name of no file.
    let file = file.map_or_else(|_| String::new(), |Path(file)| file);
    Answer(app.service.api().page_file(&file))
}

async fn unrouted(State(app): State<App>, method: Method, uri: Uri) -> Answer {
    Answer(app.service.api().unrouted(method.as_str(), uri.path()))
}

// How axum expresses the rules of the contract.

/// A layer around every request, matched or not.
async fn exchange(State(app): State<App>, request: Request, next: Next) -> Response {
    let header = |name| request.headers().get(name)?.to_str().ok();
    let exchange = Exchange::begin(
        &app.service,
        request.method().as_str(),
        request.uri().path(),
        header,
    );
    let mut response = exchange
        .run(next.run(request))
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
    response
}

/// A reply of the chassis as a response of axum.
struct Answer(Reply);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Reply {
            status,
            headers,
            body,
        } = self.0;
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
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

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        Answer(self.0.reply()).into_response()
    }
}

/// The id in the path; one that is none names nobody.
struct UserId(Id);

impl<S: Send + Sync> FromRequestParts<S> for UserId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|bad| ApiError::no_such("user", bad))?;
        Ok(Self(Id::in_path("user", &id)?))
    }
}

/// `?limit=` and `?after=`.
struct PageOf(Page);

impl<S: Send + Sync> FromRequestParts<S> for PageOf {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self(Page::parse(parts.uri.query())?))
    }
}

/// A JSON body within the limits of the contract.
struct Json<T>(T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        body::check_headers(|name| request.headers().get(name)?.to_str().ok())?;
        let reading = Bytes::from_request(request, app);
        let read = body::in_time(app.service.limits().body, reading).await?;
        let bytes = read.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::payload_too_large(MAX_BODY),
            _ => body::unreadable(rejection),
        })?;
        Ok(Self(body::parse(&bytes)?))
    }
}

#[cfg(test)]
mod tests {
    use chassis::config::Env;
    use chassis::testkit::Server;

    use super::*;
    use crate::Config;

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_request_alone() {
        let server = Server::start(|listener, shutdown| async {
            let app = App::new(&Config::read(Env::new(|_| None))?, shutdown)?;
            let service = Arc::clone(&app.service);
            let routes = routes().route(
                "/health/panic",
                get(async || -> () { panic!("as the test wants") }),
            );
            server::serve(
                listener,
                TowerToHyperService::new(with_rules(routes, app)),
                &service,
            )
            .await;
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
