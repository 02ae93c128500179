//! Users, and their validation.

use std::str::FromStr;

use chassis::contract::body::{Field, Form, text};
use chassis::contract::error::ApiError;
use chassis::values::id::Id;
use chassis::values::time::Timestamp;
use email_address::{EmailAddress, Options};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest address that mail can be delivered to
/// ([RFC 5321, erratum 1690](https://www.rfc-editor.org/errata/eid1690)).
const MAX_EMAIL: usize = 254;

/// A user of the shop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The id.
    pub id: Id,
    /// The name, 1 to 100 characters.
    #[schema(examples("Ada Lovelace"))]
    pub name: String,
    /// The email, as the client sent it. No other user has it in any letter case.
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
    #[schema(value_type = String, required = true, min_length = 1, max_length = 100, pattern = r"[^\s\x00-\x1f\x7f-\x9f]", examples("Ada Lovelace"))]
    name: Field<String>,
    #[serde(default)]
    #[schema(value_type = String, required = true, format = Email, max_length = 254, examples("ada@example.com"))]
    email: Field<String>,
}

/// The name and the email of a user, both valid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// 1 to 100 characters.
    pub name: String,
    /// A mailbox at a domain.
    pub email: String,
}

impl Profile {
    /// Checks a body. The error names every invalid field.
    pub fn parse(body: UserBody) -> Result<Self, ApiError> {
        let mut form = Form::default();
        let name = form.required("name", body.name, text(1..=100));
        let email = form.required("email", body.email, |address| email(&address));
        form.finish(|| {
            Some(Self {
                name: name?,
                email: email?,
            })
        })
    }
}

/// The address of a mailbox at a domain, such as `ada@example.com`.
fn email(address: &str) -> Result<String, String> {
    let options = Options::default()
        .with_required_tld()
        .without_display_text()
        .without_domain_literal();
    let address = address.trim();
    if address.len() > MAX_EMAIL || EmailAddress::parse_with_options(address, options).is_err() {
        return Err(format!(
            "must be a valid address of at most {MAX_EMAIL} characters, such as ada@example.com"
        ));
    }
    Ok(address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_mailbox_at_a_domain() {
        let longest = format!("{}@{}.example.com", "a".repeat(64), "b".repeat(63));
        for good in [
            "ada@example.com",
            " ada+shop@mail.example.org ",
            "ünï@exämple.com",
            &longest,
        ] {
            assert!(email(good).is_ok(), "{good}");
        }
        let domain = ["b".repeat(63), "c".repeat(63), "d".repeat(63)].join(".");
        let too_long = format!("{}@{domain}.com", "a".repeat(64));
        for (bad, reason) in [
            ("", "empty"),
            ("ada", "no domain"),
            ("@example.com", "no mailbox"),
            ("ada@", "no domain after the @"),
            ("ada@localhost", "no top level domain"),
            ("ada@exa mple.com", "a space"),
            ("Ada <ada@example.com>", "a name is not part of an address"),
            ("ada@[127.0.0.1]", "a literal address"),
            (&too_long, "too long"),
        ] {
            assert!(email(bad).is_err(), "{reason}: {bad}");
        }
    }
}
