//! A response in plain data, for each framework's room to make its own of.

use std::borrow::Cow;
use std::fmt;
use std::io;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::table::{Listing, Next};

const JSON: &str = "application/json";

/// A status, headers and a body. Names no framework: the five rooms turn it
/// into a response of theirs.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, and their values.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Body,
}

/// The body of a reply.
pub enum Body {
    /// All of it.
    Bytes(Bytes),
    /// As it is made; see [`Service::stream`](crate::service::Service::stream).
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.debug_tuple("Bytes").field(bytes).finish(),
            Self::Stream(_) => f.write_str("Stream(..)"),
        }
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// The answer where there is no record left to give.
#[derive(Serialize, ToSchema)]
pub struct Message {
    /// What was done.
    message: &'static str,
}

impl Reply {
    /// A body of `content_type`, status 200.
    pub fn ok(content_type: &'static str, body: impl Into<Body>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", Cow::Borrowed(content_type))],
            body: body.into(),
        }
    }

    /// No body at all, status 204.
    pub fn no_content() -> Self {
        Self {
            status: 204,
            headers: Vec::new(),
            body: Body::from(Bytes::new()),
        }
    }

    /// `value` as JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        Self::json_sized(status, value, 256)
    }

    /// A sentence in place of a record that is gone.
    pub fn message(message: &'static str) -> Self {
        Self::json(200, &Message { message })
    }

    /// A created record, with where it is found.
    pub fn created(location: String, record: &impl Serialize) -> Self {
        Self::json(201, record).with_header("location", location)
    }

    /// A page of the list at `path`, with the count of all and, while more
    /// follow, where the next page is.
    pub fn listing<T: Serialize>(path: &str, listing: &Listing<T>) -> Self {
        // A record of the shop is about 200 bytes of JSON: sizing the buffer
        // for all of them saves copying it over as it grows.
        let reply = Self::json_sized(200, &listing.records, 2 + 256 * listing.records.len())
            .with_header("x-total-count", listing.total.to_string());
        match listing.next {
            Some(Next { limit, after }) => reply.with_header(
                "link",
                format!("<{path}?limit={limit}&after={after}>; rel=\"next\""),
            ),
            None => reply,
        }
    }

    /// The same with one more header; `name` is in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn json_sized(status: u16, value: &impl Serialize, bytes: usize) -> Self {
        let mut body = Vec::with_capacity(bytes);
        match serde_json::to_writer(&mut body, value) {
            Ok(()) => Self {
                status,
                ..Self::ok(JSON, body)
            },
            Err(cause) => ApiError::internal(cause).reply(),
        }
    }
}
