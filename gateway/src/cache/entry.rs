//! One response that is kept.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::StatusCode;
use hyper::body::{Body as _, Frame};
use hyper::header::{
    AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, SET_COOKIE, VARY,
};
use tokio::time::timeout_at;

use crate::call::Response;
use crate::forward::is_event_stream;
use crate::headers::{has_token, names_tag, remove_hop_by_hop};

/// How long the body of a response may take to arrive as a whole. One that takes longer is passed
/// on as it arrives.
const READING: Duration = Duration::from_secs(2);

/// What an entry takes besides its headers and its body, about.
const OVERHEAD: usize = 512;

/// The room for the headers that the layers add to each copy of those that are kept.
const ADDED: usize = 12;

/// A response that is kept.
#[derive(Debug)]
pub struct Entry {
    headers: HeaderMap,
    body: Bytes,
    /// When it was asked for: it may be as old as that.
    began: Instant,
}

/// A response that was read.
#[derive(Debug)]
pub enum Read {
    /// It can be kept.
    Entry(Entry),
    /// It is only for the client that asked for it: an error, or one that is too large, too slow
    /// or personal.
    ForOne(Response),
    /// It would have been another one for other headers, which were not sent.
    Varies,
}

impl Entry {
    /// Reads a response that was asked for at `began`, if it may be kept and has at most `limit`
    /// bytes. An error if it breaks off.
    pub async fn read(
        response: Response,
        began: Instant,
        limit: usize,
    ) -> Result<Read, Box<dyn std::error::Error + Send + Sync>> {
        if response.headers().contains_key(VARY) {
            return Ok(Read::Varies);
        }
        if !is_for_all(&response) || response.body().size_hint().lower() > limit as u64 {
            return Ok(Read::ForOne(response));
        }
        let (head, mut body) = response.into_parts();
        let mut read = Vec::new();
        let deadline = tokio::time::Instant::now() + READING;
        let over = loop {
            match timeout_at(deadline, body.frame()).await {
                Ok(None) => break None,
                Ok(Some(frame)) => {
                    let data = frame?.into_data().unwrap_or_default();
                    if read.len() + data.len() > limit {
                        break Some(data);
                    }
                    read.extend_from_slice(&data);
                }
                Err(_) => break Some(Bytes::new()),
            }
        };
        let Some(next) = over else {
            return Ok(Read::Entry(Self::new(&head.headers, read, began)));
        };
        // What has been read, and then the rest as it arrives.
        let first = [read.into(), next].map(|data| Ok(Frame::data(data)));
        let frames = stream::iter(first).chain(BodyStream::new(body));
        let body = StreamBody::new(frames).boxed_unsync();
        Ok(Read::ForOne(Response::from_parts(head, body)))
    }

    /// Copies both, because a header is a part of the buffer that it was read into.
    fn new(received: &HeaderMap, body: Vec<u8>, began: Instant) -> Self {
        let mut headers = HeaderMap::with_capacity(received.len() + ADDED);
        for (name, value) in received {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.append(name, value);
            }
        }
        remove_hop_by_hop(&mut headers);
        headers.remove(CONTENT_LENGTH);
        headers.remove(AGE);
        headers.entry(ETAG).or_insert_with(|| tag(&body));
        Self {
            headers,
            body: Bytes::from(body.into_boxed_slice()),
            began,
        }
    }

    /// How old it is at most.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// When it was asked for.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// The bytes that it takes, about.
    pub fn size(&self) -> usize {
        let headers = self.headers.iter();
        let headers: usize = headers
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        OVERHEAD + headers + self.body.len()
    }

    /// The response to a request with these headers: 304 if the client has it already.
    pub fn answer(&self, request: &HeaderMap) -> Response {
        let tag = self.headers.get(ETAG).and_then(|tag| tag.to_str().ok());
        let is_known = tag.is_some_and(|tag| names_tag(request, tag));
        let body = if is_known {
            Bytes::new()
        } else {
            self.body.clone()
        };
        let body = Full::new(body).map_err(|never| match never {});
        let mut response = Response::new(body.boxed_unsync());
        *response.headers_mut() = self.headers.clone();
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().remove(CONTENT_TYPE);
        }
        let age = self.age().as_secs();
        response.headers_mut().insert(AGE, age.into());
        response
    }
}

/// Whether a response is the same for all clients.
fn is_for_all(response: &Response) -> bool {
    let headers = response.headers();
    response.status() == StatusCode::OK
        && !headers.contains_key(SET_COOKIE)
        && !headers.contains_key(CONTENT_ENCODING)
        && !has_token(headers, &CACHE_CONTROL, "private")
        && !is_event_stream(headers)
}

/// The tag of a body. Its secret is made at the start, so nobody can make two bodies with one tag.
fn tag(body: &[u8]) -> HeaderValue {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let tag = format!("\"{:016x}\"", SECRET.hash_one(body));
    HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""))
}
