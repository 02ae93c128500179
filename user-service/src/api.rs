//! The API of user-service: the reply of each route, and the OpenAPI document. It names no
//! framework: `http.rs` reads the arguments from the request.

use chassis::contract::api::{About, Api};
use chassis::contract::body;
use chassis::contract::error::ApiError;
use chassis::contract::examples::ErrorExample;
use chassis::contract::idempotency::{Key, KeyHeader};
use chassis::contract::page::Page;
use chassis::contract::reply::{Message, Reply};
use chassis::values::id::Id;
use utoipa::OpenApi;

use crate::App;
use crate::error::UserError;
use crate::model::{Profile, User, UserBody, UserId};

#[derive(OpenApi)]
#[openapi(paths(list_users, create_user, get_user, replace_user, delete_user))]
struct Document;

/// The API, for an implementation on `framework`.
pub fn on(framework: &'static str) -> Api {
    let about = About {
        name: "user-service",
        framework,
        version: env!("CARGO_PKG_VERSION"),
        description: "Users of the shop.",
    };
    Api::with_errors(about, Document::openapi(), &errors())
}

/// Examples of the errors that are this service's own.
fn errors() -> [ErrorExample<'static>; 3] {
    let taken = UserError::EmailTaken("ada@example.com".to_owned());
    let empty = body::parse(b"{}").and_then(Profile::parse);
    let unknown = UserError::NotFound(Id::ZERO.next());
    [
        (&["create_user", "replace_user"], taken.into()),
        (
            &["create_user", "replace_user"],
            empty.expect_err("a name is required"),
        ),
        (&["get_user", "replace_user", "delete_user"], unknown.into()),
    ]
}

/// All users
#[utoipa::path(get, path = "/api/users", tag = "users", params(Page),
    responses((status = 200, description = "A page of users", body = [User])))]
pub async fn list_users(app: &App, page: Page) -> Reply {
    Reply::listing("/api/users", &app.users.list(page)).await
}

/// Create a user
#[utoipa::path(post, path = "/api/users", tag = "users", params(KeyHeader), request_body = UserBody, responses(
    (status = 201, description = "The new user", body = User),
    (status = 409, description = "`conflict`: another user has that email, whatever its letter case"),
))]
pub async fn create_user(app: &App, key: Option<Key>, body: UserBody) -> Result<Reply, ApiError> {
    let profile = Profile::parse(body)?;
    let creating = async || {
        let user = app.users.create(profile.clone())?;
        Ok(Reply::created(format!("/api/users/{}", user.id), &user))
    };
    app.keys.once(key, &profile, creating).await
}

/// One user
#[utoipa::path(get, path = "/api/users/{id}", tag = "users", params(("id" = Id, Path)),
    responses((status = 200, description = "The user", body = User)))]
pub fn get_user(app: &App, UserId(id): UserId) -> Result<Reply, ApiError> {
    Ok(Reply::json(200, &app.users.find(id)?))
}

/// Replace the name and the email of a user
#[utoipa::path(put, path = "/api/users/{id}", tag = "users", params(("id" = Id, Path)), request_body = UserBody, responses(
    (status = 200, description = "The user as it is now", body = User),
    (status = 409, description = "`conflict`: another user has that email, whatever its letter case"),
))]
pub fn replace_user(app: &App, UserId(id): UserId, body: UserBody) -> Result<Reply, ApiError> {
    let user = app.users.replace(id, Profile::parse(body)?)?;
    Ok(Reply::json(200, &user))
}

/// Delete a user
#[utoipa::path(delete, path = "/api/users/{id}", tag = "users", params(("id" = Id, Path)),
    responses((status = 200, description = "The user is gone", body = Message)))]
pub fn delete_user(app: &App, UserId(id): UserId) -> Result<Reply, ApiError> {
    app.users.delete(id)?;
    Ok(Reply::message("User deleted successfully"))
}
