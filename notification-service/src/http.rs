//! warp's adapter: routes, and a handler for each.

use std::sync::{Arc, LazyLock};

use chassis::contract::api::Api;
use chassis::contract::idempotency::Key;
use chassis::contract::page::Page;
use chassis::serve::run::RunError;
use on_warp::{Answer, Failure, app, get_or_head, idempotency_key, json, page, parameter};
use tokio::net::TcpListener;
use warp::{Filter, Rejection};

use crate::model::{NotificationBody, NotificationId, UserId};
use crate::{App, api};

/// The API of notification-service, on warp.
pub static API: LazyLock<Api> = LazyLock::new(|| api::on("warp"));

/// Serves the API on `listener` until the app has shut down.
pub async fn serve(listener: TcpListener, app: App) -> Result<(), RunError> {
    let service = Arc::clone(&app.service);
    on_warp::serve(listener, routes(), app, service).await
}

/// Each route checks path and method first. A later filter rejects only for the route that
/// the request is for, so its rejection is the error that the client gets.
fn routes() -> impl Filter<Extract = (impl warp::Reply,), Error = Rejection> + Copy {
    let list = warp::path!("api" / "notifications")
        .and(get_or_head())
        .and(app())
        .and(page())
        .then(list_notifications);
    let send = warp::path!("api" / "notifications" / "send")
        .and(warp::post())
        .and(app())
        .and(idempotency_key())
        .and(json())
        .then(send_notification);
    let list_of_send = warp::path!("api" / "notifications" / "send")
        .and(get_or_head())
        .and(app())
        .and(page())
        .then(list_notifications_of_send);
    let list_of_user = in_notifications()
        .and(get_or_head())
        .and_then(parameter)
        .and(app())
        .and(page())
        .then(list_notifications_of_user);
    let delete = in_notifications()
        .and(warp::delete())
        .and_then(parameter)
        .and(app())
        .then(delete_notification);
    let read = warp::path!("api" / "notifications" / String / "read")
        .and(warp::patch())
        .and_then(parameter)
        .and(app())
        .and(idempotency_key())
        .then(read_notification);
    list.or(send)
        .or(list_of_send)
        .or(list_of_user)
        .or(delete)
        .or(read)
}

/// `/api/notifications/{id}`, except `send`, which is a path of its own with other methods.
fn in_notifications() -> impl Filter<Extract = (String,), Error = Rejection> + Copy {
    warp::path!("api" / "notifications" / String).and_then(async |id: String| {
        if id == "send" {
            Err(warp::reject())
        } else {
            Ok(id)
        }
    })
}

// Handlers, in the order of the routes.

async fn list_notifications(app: App, page: Page) -> Answer {
    Answer(api::list_notifications(&app, page).await)
}

async fn send_notification(
    app: App,
    key: Option<Key>,
    body: NotificationBody,
) -> Result<Answer, Failure> {
    Ok(Answer(api::send_notification(&app, key, body).await?))
}

async fn list_notifications_of_send(app: App, page: Page) -> Answer {
    Answer(api::list_notifications_of_send(&app, page).await)
}

async fn list_notifications_of_user(id: UserId, app: App, page: Page) -> Answer {
    Answer(api::list_notifications_of_user(&app, &id, page).await)
}

async fn delete_notification(id: NotificationId, app: App) -> Result<Answer, Failure> {
    Ok(Answer(api::delete_notification(&app, id)?))
}

async fn read_notification(
    id: NotificationId,
    app: App,
    key: Option<Key>,
) -> Result<Answer, Failure> {
    Ok(Answer(api::read_notification(&app, id, key).await?))
}
