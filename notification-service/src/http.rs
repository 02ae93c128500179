//! warp's room: routes, handlers, and how warp is brought to the contract.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, LazyLock};

use bytes::{Buf, BufMut, BytesMut};
use chassis::api::{About, Api};
use chassis::body::{self, MAX_BODY};
use chassis::error::ApiError;
use chassis::exchange::{Exchange, REQUEST_ID, STANDARD_HEADERS};
use chassis::id::Id;
use chassis::reply::{Message, Reply};
use chassis::run::RunError;
use chassis::server;
use chassis::table::Page;
use futures_util::{Stream, StreamExt};
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tower::{Service, ServiceExt, service_fn};
use utoipa::OpenApi;
use warp::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use warp::path::FullPath;
use warp::reject::{MethodNotAllowed, Reject};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply as _};

use crate::App;
use crate::model::{NewNotification, Notification, NotificationBody};

/// Answers on `listener` until the app's shutdown is over.
pub async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    let http = TowerToHyperService::new(with_rules(routes(), app));
    server::serve(listener, http, &service).await;
    Ok(())
}

/// Path and method come first in each: what rejects behind them is the failure
/// of the one route that was meant.
fn routes() -> impl Filter<Extract = (impl warp::Reply,), Error = Rejection> + Copy {
    let get = get_or_head().and(app());
    let list = warp::path!("api" / "notifications")
        .and(get)
        .and(page())
        .then(list_notifications);
    let send = warp::path!("api" / "notifications" / "send")
        .and(warp::post())
        .and(app())
        .and(json())
        .then(send_notification);
    let list_of_user = in_notifications()
        .and(get)
        .and(page())
        .then(list_notifications_of_user);
    let delete = in_notifications()
        .and(warp::delete())
        .and(app())
        .then(delete_notification);
    let read = warp::path!("api" / "notifications" / String / "read")
        .and(warp::patch())
        .and(app())
        .then(read_notification);
    list.or(send)
        .or(list_of_user)
        .or(delete)
        .or(read)
        .or(warp::path!("health").and(get).then(health))
        .or(warp::path!("health" / "ready").and(get).then(ready))
        .or(warp::path!("metrics").and(get).then(metrics))
        .or(warp::path!("openapi.json").and(get).then(openapi_json))
        .or(warp::path!("docs").and(get).then(docs))
        .or(warp::path!("docs" / String).and(get).then(docs_file))
}

/// The rules of the contract around `routes`: a tower service around every
/// request, and filters for those that no route answers.
fn with_rules<F, R>(
    routes: F,
    app: App,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone
where
    F: Filter<Extract = (R,), Error = Rejection> + Copy + Send + Sync + 'static,
    R: warp::Reply + 'static,
{
    let fallback = warp::method()
        .and(warp::path::full())
        .and(self::app())
        .then(unrouted);
    let filters = no_trailing_slash().and(routes).recover(failed).or(fallback);
    let filters = warp::service(filters);
    service_fn(move |request| exchange(app.clone(), filters, request))
}

/// The API of notification-service.
pub static API: LazyLock<Api> = LazyLock::new(|| {
    #[derive(OpenApi)]
    #[openapi(paths(
        list_notifications,
        send_notification,
        list_notifications_of_user,
        delete_notification,
        read_notification
    ))]
    struct Document;

    let about = About {
        name: "notification-service",
        framework: "warp",
        version: env!("CARGO_PKG_VERSION"),
        description: "What the users of the shop have been told.",
    };
    Api::new(about, Document::openapi())
});

// Handlers, in the order of the routes.

/// All notifications
#[utoipa::path(get, path = "/api/notifications", tag = "notifications", params(Page),
    responses((status = 200, description = "A page of notifications, in ascending id", body = [Notification])))]
async fn list_notifications(app: App, page: Page) -> Answer {
    Answer(Reply::listing(
        "/api/notifications",
        &app.notifications.list(page),
    ))
}

/// Send a notification
#[utoipa::path(post, path = "/api/notifications/send", tag = "notifications", request_body = NotificationBody,
    responses((status = 201, description = "The new notification", body = Notification)))]
async fn send_notification(app: App, body: NotificationBody) -> Result<Answer, Failure> {
    let notification = app.notifications.create(NewNotification::parse(body)?)?;
    Ok(Answer(Reply::created(
        format!("/api/notifications/{}", notification.id),
        &notification,
    )))
}

/// The notifications of one user
///
/// None for a user that nobody has heard of.
#[utoipa::path(get, path = "/api/notifications/{id}", tag = "notifications",
    params(("id" = String, Path, description = "The id of the user", min_length = 1, example = "1"), Page),
    responses((status = 200, description = "A page of that user's notifications, in ascending id", body = [Notification])))]
async fn list_notifications_of_user(
    user_id: String,
    app: App,
    page: Page,
) -> Result<Answer, Failure> {
    let user_id = decoded("user", &user_id)?;
    let path = format!("/api/notifications/{}", encoded(&user_id));
    let listing = app.notifications.list_of_user(&user_id, page);
    Ok(Answer(Reply::listing(&path, &listing)))
}

/// Delete a notification
#[utoipa::path(delete, path = "/api/notifications/{id}", tag = "notifications",
    params(("id" = Id, Path, description = "The id of the notification")),
    responses((status = 200, description = "The notification is gone", body = Message)))]
async fn delete_notification(id: String, app: App) -> Result<Answer, Failure> {
    app.notifications.delete(notification_id(&id)?)?;
    Ok(Answer(Reply::message("Notification deleted successfully")))
}

/// Mark a notification as read
///
/// It may be so already.
#[utoipa::path(patch, path = "/api/notifications/{id}/read", tag = "notifications",
    params(("id" = Id, Path, description = "The id of the notification")),
    responses((status = 200, description = "The notification, read", body = Notification)))]
async fn read_notification(id: String, app: App) -> Result<Answer, Failure> {
    let notification = app.notifications.mark_read(notification_id(&id)?)?;
    Ok(Answer(Reply::json(200, &notification)))
}

async fn health(app: App) -> Answer {
    Answer(app.service.health())
}

async fn ready(app: App) -> Answer {
    Answer(app.service.ready().await)
}

async fn metrics(app: App) -> Answer {
    Answer(app.service.metrics_text())
}

async fn openapi_json(app: App) -> Answer {
    Answer(app.service.api().document())
}

async fn docs(app: App) -> Answer {
    Answer(app.service.api().page())
}

async fn docs_file(file: String, app: App) -> Result<Answer, Failure> {
    let file = decoded("file", &file)?;
    Ok(Answer(app.service.api().page_file(&file)))
}

async fn unrouted(method: Method, path: FullPath, app: App) -> Answer {
    Answer(app.service.api().unrouted(method.as_str(), path.as_str()))
}

// How warp expresses the rules of the contract.

/// A tower service around every request, matched or not.
async fn exchange<S>(
    app: App,
    filters: S,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let header = |name| request.headers().get(name)?.to_str().ok();
    let exchange = Exchange::begin(
        &app.service,
        request.method().as_str(),
        request.uri().path(),
        header,
    );
    request.extensions_mut().insert(app);
    // CONNECT has no path, and warp panics where it looks for one.
    if request.uri().path().is_empty() {
        *request.uri_mut() = Uri::default();
    }
    let mut response = match exchange.run(filters.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Err(panicked) => Answer(panicked).into_response(),
    };
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

/// What the exchange has put into the request. warp clones the whole chain of
/// filters for each request; this one holds nothing, so that costs nothing.
fn app() -> impl Filter<Extract = (App,), Error = Rejection> + Copy {
    warp::ext::get::<App>()
}

/// A reply of the chassis as a response of warp.
struct Answer(Reply);

impl warp::Reply for Answer {
    fn into_response(self) -> Response {
        let Reply {
            status,
            headers,
            body,
        } = self.0;
        let mut response = match body {
            Cow::Borrowed(body) => Response::new(body.into()),
            Cow::Owned(body) => Response::new(body.into()),
        };
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

/// An error of any layer, as a handler returns it with `?` and a filter rejects
/// with it.
#[derive(Debug)]
struct Failure(ApiError);

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl warp::Reply for Failure {
    fn into_response(self) -> Response {
        Answer(self.0.reply()).into_response()
    }
}

impl Reject for Failure {}

/// A rejection tells warp to try the next route, and ends up here with those of
/// all the others. One of ours is the answer, whatever the others say; without
/// one, no route was meant.
async fn failed(rejection: Rejection) -> Result<Answer, Rejection> {
    if let Some(Failure(error)) = rejection.find() {
        Ok(Answer(error.clone().reply()))
    } else if rejection.is_not_found() || rejection.find::<MethodNotAllowed>().is_some() {
        Err(rejection)
    } else {
        Ok(Answer(ApiError::internal(format!("{rejection:?}")).reply()))
    }
}

/// `HEAD` answers wherever `GET` does; hyper leaves the body out.
fn get_or_head() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::get().or(warp::head()).unify()
}

/// warp takes `/health/` for `/health`.
fn no_trailing_slash() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::path::full()
        .and_then(async |path: FullPath| {
            if path.as_str().ends_with('/') {
                Err(warp::reject())
            } else {
                Ok(())
            }
        })
        .untuple_one()
}

/// `/api/notifications/{id}`. `send` is a path of its own, whatever the method.
fn in_notifications() -> impl Filter<Extract = (String,), Error = Rejection> + Copy {
    warp::path!("api" / "notifications" / String).and_then(async |id: String| {
        if id == "send" {
            Err(warp::reject())
        } else {
            Ok(id)
        }
    })
}

/// The id in the path; one that is none names nothing.
fn notification_id(segment: &str) -> Result<Id, ApiError> {
    Id::in_path("notification", &decoded("notification", segment)?)
}

/// A segment of the path, which warp leaves as it came.
fn decoded<'a>(kind: &str, segment: &'a str) -> Result<Cow<'a, str>, ApiError> {
    percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| ApiError::no_such(kind, segment))
}

/// The same the other way round: all but what never needs it is encoded
/// ([RFC 3986, 2.3](https://www.rfc-editor.org/rfc/rfc3986#section-2.3)).
fn encoded(segment: &str) -> impl std::fmt::Display {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(segment, RESERVED)
}

/// `?limit=` and `?after=`.
fn page() -> impl Filter<Extract = (Page,), Error = Rejection> + Copy {
    warp::query::raw()
        .map(Some)
        .or_else(async |_| Ok::<_, Infallible>((None,)))
        .and_then(async |query: Option<String>| {
            Ok::<_, Rejection>(Page::parse(query.as_deref()).map_err(Failure)?)
        })
}

/// A JSON body within the limits of the contract.
fn json<T: DeserializeOwned + Send>() -> impl Filter<Extract = (T,), Error = Rejection> + Copy {
    app()
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and_then(async |app: App, headers: HeaderMap, chunks| {
            Ok::<_, Rejection>(read_json(&app, &headers, chunks).await.map_err(Failure)?)
        })
}

async fn read_json<T: DeserializeOwned>(
    app: &App,
    headers: &HeaderMap,
    chunks: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<T, ApiError> {
    body::check_headers(|name| headers.get(name)?.to_str().ok())?;
    let bytes = body::in_time(app.service.limits().body, read(chunks)).await??;
    body::parse(&bytes)
}

async fn read(
    chunks: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<BytesMut, ApiError> {
    let mut chunks = pin!(chunks);
    let mut bytes = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(body::unreadable)?;
        if bytes.len() + chunk.remaining() > MAX_BODY {
            return Err(ApiError::payload_too_large(MAX_BODY));
        }
        bytes.put(chunk);
    }
    Ok(bytes)
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
            let routes = routes().or(warp::path!("health" / "panic")
                .then(async || -> Answer { panic!("as the test wants") }));
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
