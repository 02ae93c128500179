//! Users, and their validation.

use std::str::FromStr;

use chassis::contract::body::{Field, Form, text};
use chassis::contract::error::ApiError;
use chassis::values::id::Id;
use chassis::values::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::email::email;

/// A user of the shop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The id.
    pub id: Id,
    /// The name, 1 to 100 characters.
    #[schema(examples("Ada Lovelace"))]
    pub name: String,
    /// The email, as the client sent it. No other user has it, in any letter case or
    /// encoding of its characters.
    #[schema(examples("ada@example.com"))]
    pub email: String,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When the user was last changed.
    pub updated_at: Timestamp,
}

/// The id of a user, in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserId(pub Id);

impl FromStr for UserId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        Id::in_path("user", text).map(Self)
    }
}

/// The body that creates or replaces a user.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UserBody {
    #[serde(default)]
    #[schema(value_type = String, required = true, min_length = 1, max_length = 100, pattern = r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]", examples("Ada Lovelace"))]
    name: Field<String>,
    #[serde(default)]
    #[schema(value_type = String, required = true, format = IdnEmail, max_length = 254, examples("ada@example.com"))]
    email: Field<String>,
}

/// The name and the email of a user, both valid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// 1 to 100 characters.
    pub name: String,
    /// A mailbox at a host name.
    pub email: String,
}

impl Profile {
    /// Checks a body. The error names every invalid field.
    pub fn parse(body: UserBody) -> Result<Self, ApiError> {
        let mut form = Form::default();
        let name = form.required("name", body.name, text(1..=100));
        let email = form.required("email", body.email, email);
        form.finish(|| {
            Some(Self {
                name: name?,
                email: email?,
            })
        })
    }
}
