//! Notifications, and their validation.

use std::str::FromStr;

use chassis::contract::body::{Field, Form, text};
use chassis::contract::error::ApiError;
use chassis::values::id::Id;
use chassis::values::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The type of a notification that was sent without one.
const DEFAULT_KIND: &str = "info";

/// A message to a user of the shop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// The id.
    pub id: Id,
    /// The id of the recipient. It is not checked with user-service: a notification must
    /// not fail because user-service is down.
    #[schema(examples("1"))]
    pub user_id: String,
    /// The text, 1 to 1000 characters.
    #[schema(examples("Your order #7 has been confirmed"))]
    pub message: String,
    /// The type, such as `order_confirmation`.
    #[serde(rename = "type")]
    #[schema(examples("order_confirmation"))]
    pub kind: String,
    /// Whether the user has read it.
    pub read: bool,
    /// When it was sent.
    pub created_at: Timestamp,
}

/// The id of a notification, in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotificationId(pub Id);

impl FromStr for NotificationId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        Id::in_path("notification", text).map(Self)
    }
}

/// The id of a user, in a path. It is not checked with user-service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserId(pub String);

impl FromStr for UserId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        Ok(Self(text.to_owned()))
    }
}

/// The body that sends a notification.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationBody {
    #[serde(default)]
    #[schema(value_type = String, required = true, min_length = 1, max_length = 100, pattern = r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]", examples("1"))]
    user_id: Field<String>,
    #[serde(default)]
    #[schema(value_type = String, required = true, min_length = 1, max_length = 1000, pattern = r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]", examples("Your order #7 has been confirmed"))]
    message: Field<String>,
    #[serde(default, rename = "type")]
    #[schema(value_type = Option<String>, required = false, min_length = 1, max_length = 50, pattern = "^[a-z_]+$", default = "info", examples("order_confirmation"))]
    kind: Field<String>,
}

/// A valid new notification.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NewNotification {
    /// 1 to 100 characters.
    pub user_id: String,
    /// 1 to 1000 characters.
    pub message: String,
    /// 1 to 50 of `[a-z_]`.
    pub kind: String,
}

impl NewNotification {
    /// Checks a body. The error names every invalid field.
    pub fn parse(body: NotificationBody) -> Result<Self, ApiError> {
        let mut form = Form::default();
        let user_id = form.required("userId", body.user_id, text(1..=100));
        let message = form.required("message", body.message, text(1..=1000));
        let kind = form.optional("type", body.kind, kind);
        form.finish(|| {
            Some(Self {
                user_id: user_id?,
                message: message?,
                kind: kind.unwrap_or_else(|| DEFAULT_KIND.to_owned()),
            })
        })
    }
}

/// The type of a notification, such as `order_confirmation`.
fn kind(kind: String) -> Result<String, String> {
    let kind = text(1..=50)(kind)?;
    if kind.bytes().all(|b| matches!(b, b'a'..=b'z' | b'_')) {
        Ok(kind)
    } else {
        Err("must be made of the letters a to z and _, such as order_confirmation".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_lower_case_letters_and_underscores() {
        let longest = "a".repeat(50);
        for (good, reason) in [
            ("info", "a word"),
            ("order_confirmation", "two words"),
            ("_", "the shortest"),
            (&longest, "the longest"),
        ] {
            assert_eq!(kind(good.to_owned()).as_deref(), Ok(good), "{reason}");
        }
        let too_long = "a".repeat(51);
        for (bad, reason) in [
            ("", "empty"),
            ("Info", "upper case"),
            ("order-confirmation", "a hyphen"),
            ("order confirmation", "a space"),
            ("info2", "a digit"),
            ("größe", "not an ASCII letter"),
            (&too_long, "too long"),
        ] {
            assert!(kind(bad.to_owned()).is_err(), "{reason}: {bad}");
        }
    }
}
