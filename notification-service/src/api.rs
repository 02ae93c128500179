//! The API of notification-service: the reply of each route, and the OpenAPI document. It names no
//! framework: `http.rs` reads the arguments from the request.

use std::fmt::Display;

use chassis::contract::api::{About, Api};
use chassis::contract::body;
use chassis::contract::error::ApiError;
use chassis::contract::examples::ErrorExample;
use chassis::contract::idempotency::{Key, KeyHeader};
use chassis::contract::page::Page;
use chassis::contract::reply::{Message, Reply};
use chassis::values::id::Id;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use utoipa::OpenApi;

use crate::App;
use crate::error::NotificationError;
use crate::model::{NewNotification, Notification, NotificationBody, NotificationId, UserId};

#[derive(OpenApi)]
#[openapi(paths(
    list_notifications,
    send_notification,
    list_notifications_of_user,
    list_notifications_of_send,
    delete_notification,
    read_notification
))]
struct Document;

/// The API, for an implementation on `framework`.
pub fn on(framework: &'static str) -> Api {
    let about = About {
        name: "notification-service",
        framework,
        version: env!("CARGO_PKG_VERSION"),
        description: "Notifications to the users of the shop.",
    };
    Api::with_errors(about, Document::openapi(), &errors())
}

/// Examples of the errors that are this service's own.
fn errors() -> [ErrorExample<'static>; 3] {
    let empty = body::parse(b"{}").and_then(NewNotification::parse);
    let unknown = NotificationError::NotFound(Id::ZERO.next());
    [
        (
            &["send_notification"],
            empty.expect_err("a user is required"),
        ),
        (
            &["read_notification", "delete_notification"],
            unknown.into(),
        ),
        (&["list_notifications_of_user"], ApiError::undecodable()),
    ]
}

/// All notifications
#[utoipa::path(get, path = "/api/notifications", tag = "notifications", params(Page),
    responses((status = 200, description = "A page of notifications", body = [Notification])))]
pub async fn list_notifications(app: &App, page: Page) -> Reply {
    Reply::listing("/api/notifications", &app.notifications.list(page)).await
}

/// Send a notification
#[utoipa::path(post, path = "/api/notifications/send", tag = "notifications", params(KeyHeader), request_body = NotificationBody,
    responses((status = 201, description = "The new notification", body = Notification)))]
pub async fn send_notification(
    app: &App,
    key: Option<Key>,
    body: NotificationBody,
) -> Result<Reply, ApiError> {
    let new = NewNotification::parse(body)?;
    let sending = async || {
        let notification = app.notifications.create(new.clone())?;
        let location = format!("/api/notifications/{}", notification.id);
        Ok(Reply::created(location, &notification))
    };
    app.keys.once(key, &new, sending).await
}

/// The notifications of one user
///
/// An unknown user has none.
#[utoipa::path(get, path = "/api/notifications/{id}", tag = "notifications",
    params(("id" = String, Path, description = "The id of the user", min_length = 1, example = "1"), Page),
    responses((status = 200, description = "A page of that user's notifications", body = [Notification])))]
pub async fn list_notifications_of_user(app: &App, UserId(id): &UserId, page: Page) -> Reply {
    let path = format!("/api/notifications/{}", encoded(id));
    Reply::listing(&path, &app.notifications.list_of_user(id, page)).await
}

/// The notifications of the user called `send`
///
/// The path is that of the route that sends, and a literal path comes before one with a
/// parameter.
#[utoipa::path(get, path = "/api/notifications/send", tag = "notifications", params(Page),
    responses((status = 200, description = "A page of that user's notifications", body = [Notification])))]
pub async fn list_notifications_of_send(app: &App, page: Page) -> Reply {
    list_notifications_of_user(app, &UserId("send".to_owned()), page).await
}

/// Delete a notification
#[utoipa::path(delete, path = "/api/notifications/{id}", tag = "notifications",
    params(("id" = Id, Path, description = "The id of the notification")),
    responses((status = 200, description = "The notification is gone", body = Message)))]
pub fn delete_notification(
    app: &App,
    NotificationId(id): NotificationId,
) -> Result<Reply, ApiError> {
    app.notifications.delete(id)?;
    Ok(Reply::message("Notification deleted successfully"))
}

/// Mark a notification as read
///
/// Marking it again changes nothing.
#[utoipa::path(patch, path = "/api/notifications/{id}/read", tag = "notifications",
    params(("id" = Id, Path, description = "The id of the notification"), KeyHeader),
    responses((status = 200, description = "The notification, read", body = Notification)))]
pub async fn read_notification(
    app: &App,
    NotificationId(id): NotificationId,
    key: Option<Key>,
) -> Result<Reply, ApiError> {
    let reading = async || Ok(Reply::json(200, &app.notifications.mark_read(id)?));
    app.keys.once(key, &(), reading).await
}

/// A segment of a path. Encodes all characters except the unreserved ones
/// ([RFC 3986, 2.3](https://www.rfc-editor.org/rfc/rfc3986#section-2.3)).
fn encoded(segment: &str) -> impl Display {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(segment, RESERVED)
}
