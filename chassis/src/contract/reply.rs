//! A response in plain data. Each framework's adapter turns it into a response of its own.

use std::borrow::Cow;
use std::fmt;
use std::io;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::Serialize;
use utoipa::ToSchema;

use crate::contract::error::{ApiError, ErrorBody};
use crate::contract::page::Listing;
use crate::contract::response_memory;
use crate::telemetry::context::Context;
use crate::values::id::{Id, NotAnId};
use crate::values::text::shortened;

/// A list of fewer records is never large.
const MANY: usize = 10;

/// The usual size of a record as JSON, in bytes, or more.
const USUAL: usize = 256;

/// How much longer than the first record others may be, in bytes: a comma, and longer numbers.
const SLACK: usize = 16;

const JSON: &str = "application/json";

/// What a service answers is only true now. A file that never changes says otherwise.
const NOT_STORED: (&str, Cow<'static, str>) = ("cache-control", Cow::Borrowed("no-store"));

/// A status, headers and a body.
///
/// ```
/// use chassis::contract::reply::Reply;
///
/// let reply = Reply::json(201, &["Ada"]).with_header("location", "/api/users/1");
/// assert_eq!(reply.status, 201);
/// ```
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
    /// As it is made; see [`Service::stream`](crate::serve::service::Service::stream).
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

/// The body of a response about a record that is gone.
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
            headers: vec![("content-type", Cow::Borrowed(content_type)), NOT_STORED],
            body: body.into(),
        }
    }

    /// No body at all, status 204.
    pub fn no_content() -> Self {
        Self {
            status: 204,
            headers: vec![NOT_STORED],
            body: Body::from(Bytes::new()),
        }
    }

    /// What is asked for is at `location`, status 308.
    pub(super) fn moved(location: &'static str) -> Self {
        let text = format!("It is at {location}\n");
        Self {
            status: 308,
            ..Self::ok("text/plain; charset=utf-8", text.into_bytes())
        }
        .with_header("location", location)
    }

    /// `value` as JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        Self::json_sized(status, value, 256)
    }

    /// A sentence about a record that is gone, status 200.
    pub fn message(message: &'static str) -> Self {
        Self::json(200, &Message { message })
    }

    /// A created record and its `Location`, status 201.
    pub fn created(location: String, record: &impl Serialize) -> Self {
        Self::json(201, record).with_header("location", location)
    }

    /// A record whose change goes on, and the `Location` where its outcome will be, status
    /// 202.
    pub fn accepted(location: String, record: &impl Serialize) -> Self {
        Self::json(202, record).with_header("location", location)
    }

    /// A page of the list at `path`, with `X-Total-Count` and, while more records follow,
    /// a `Link` to the next page. A large one waits until it may be made.
    pub async fn listing<T: Serialize>(path: &str, listing: &Listing<T>) -> Self {
        let bytes = memory_for(&listing.records);
        match response_memory::turn(bytes as u64).await {
            Ok(_turn) => Self::page_of(path, listing, bytes),
            Err(error) => error.reply(),
        }
    }

    /// The same at once.
    pub fn page<T: Serialize>(path: &str, listing: &Listing<T>) -> Self {
        Self::page_of(path, listing, memory_for(&listing.records))
    }

    fn page_of<T: Serialize>(path: &str, listing: &Listing<T>, bytes: usize) -> Self {
        if let Err(error) = response_memory::check(bytes as u64) {
            return error.reply();
        }
        let reply = Self::json_sized(200, &listing.records, bytes)
            .with_header("x-total-count", listing.total.to_string());
        match listing.next {
            Some(next) => reply.with_header("link", format!("<{path}?{next}>; rel=\"next\"")),
            None => reply,
        }
    }

    /// The same with this header; `name` is in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    /// The value of a header; `name` is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(known, _)| *known == name);
        header.map(|(_, value)| value.as_ref())
    }

    /// A body that is JSON already.
    pub(super) fn json_text(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            ..Self::ok(JSON, body)
        }
    }

    fn json_sized(status: u16, value: &impl Serialize, bytes: usize) -> Self {
        let mut body = Vec::with_capacity(bytes);
        match serde_json::to_writer(&mut body, value) {
            Ok(()) => Self::json_text(status, body),
            Err(cause) => ApiError::internal(cause).reply(),
        }
    }
}

/// The memory for a list of `records` as JSON, in bytes: a buffer of this size does not grow,
/// which would need half as much again for a moment. Records are of similar size, so the first
/// one tells.
fn memory_for<T: Serialize>(records: &[T]) -> usize {
    let Some(first) = records.first().filter(|_| records.len() >= MANY) else {
        return 2 + USUAL * records.len();
    };
    let one = serde_json::to_vec(first).map_or(0, |json| json.len());
    2 + (one + SLACK) * records.len()
}

impl ApiError {
    /// The response, with the id of the current request. The cause is recorded for the
    /// log line of that request.
    pub fn reply(self) -> Reply {
        let context = Context::current();
        let body = ErrorBody {
            error: &self.message,
            code: self.code,
            request_id: context.request_id(),
            details: &self.details,
        };
        let mut reply = Reply::json(self.status, &body);
        if let Some(allow) = self.allow {
            reply = reply.with_header("allow", allow);
        }
        if self.refuses_encoding {
            reply = reply.with_header("accept-encoding", "identity");
        }
        if self.status == 401 {
            reply = reply.with_header("www-authenticate", "Bearer");
        }
        if matches!(self.status, 429 | 503) {
            reply = reply.with_header("retry-after", self.retry_after.to_string());
        }
        if matches!(self.status, 408 | 413) {
            // The rest of the body would be read as the next request.
            reply = reply.with_header("connection", "close");
        }
        if let Some(cause) = self.cause {
            context.record_cause(cause);
        }
        reply
    }
}

impl Id {
    /// The id of a `kind` in a path. A malformed id is an unknown id: 404.
    pub fn in_path(kind: &str, text: &str) -> Result<Self, ApiError> {
        // Some frameworks put it where a path is not UTF-8, others report an error.
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return Err(ApiError::undecodable());
        }
        text.parse()
            .map_err(|NotAnId| ApiError::no_such(kind, shortened(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_repeats_only_the_beginning_of_a_text_that_is_too_long() {
        let error = Id::in_path("user", &"x".repeat(60_000)).expect_err("no id");
        let reply = format!("{:?}", error.reply());
        assert!(reply.len() < 2000, "{} bytes", reply.len());
    }
}
