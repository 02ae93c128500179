//! The lab: the routes of the gateway's own, and the way to those of the services.

use std::sync::Arc;

use chassis::contract::body::{self, MAX_BODY};
use chassis::contract::cut::Cut;
use chassis::contract::error::ApiError;
use chassis::contract::reply::Reply;
use chassis::lab::Asked;
use chassis::lab::data::Data;
use chassis::upstream::instances::Instances;
use chassis::values::text::shortened;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, LengthLimitError, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request};
use percent_encoding::percent_decode_str;

use crate::App;
use crate::cache::store::Store;
use crate::call::Response;
use crate::scenarios::{self, Wish};

/// What the paths of a service's lab begin with: its name follows.
pub const PREFIX: &str = "/lab/";

/// The cache, which a reset empties.
pub struct Cache(pub Arc<Store>);

impl Data for Cache {
    fn clear(&self) {
        self.0.begin_change().was_made();
    }
}

/// What the paths of a lab have after `/lab/`. Anything else there is an instance.
const ROUTES: [&str; 6] = ["faults", "spans", "settings", "reset", "seed", "clock"];

/// The request for the lab of a service, from one for `/lab/<service>/…` or
/// `/lab/<service>/<host>:<port>/…`: the path without the name; and the URL of the instance, if
/// the path has one. `prefix` is the part of the path up to the name.
pub fn to_service<B>(
    prefix: &str,
    instances: &Instances,
    mut request: Request<B>,
) -> Result<(Option<String>, Request<B>), ApiError> {
    let mut parts = request.uri().clone().into_parts();
    let path = parts
        .path_and_query
        .as_ref()
        .map_or("", |path| path.as_str());
    let mut rest = path.get(prefix.len()..).unwrap_or_default();
    let first = rest.split('/').nth(1).unwrap_or_default();
    let first = first.split('?').next().unwrap_or_default();
    let mut instance = None;
    if !first.is_empty() && !ROUTES.contains(&first) {
        instance = Some(known(instances, first)?);
        rest = &rest[1 + first.len()..];
    }
    parts.path_and_query = PathAndQuery::try_from(format!("/lab{rest}")).ok();
    if let Ok(uri) = hyper::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    Ok((instance, request))
}

/// The URL of the instance whose host and port are `place`, a segment of a path.
fn known(instances: &Instances, place: &str) -> Result<String, ApiError> {
    let place = percent_decode_str(place).decode_utf8_lossy();
    let there: Vec<_> = instances.states().into_iter().map(|one| one.url).collect();
    let host_and_port = |url: &str| url.trim_start_matches("http://").to_owned();
    let found = there.iter().find(|url| host_and_port(url) == place);
    found.cloned().ok_or_else(|| {
        let there: Vec<_> = there.iter().map(|url| host_and_port(url)).collect();
        let (service, place) = (instances.service(), shortened(&place));
        ApiError::not_found(if there.is_empty() {
            format!("{service} has no instance {place:?}, and no other")
        } else {
            let there = there.join(", ");
            format!("{service} has no instance {place:?}; there are {there}")
        })
    })
}

/// The reply of a route of the gateway's own lab.
pub async fn own(app: &App, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let header = |name| head.headers.get(name)?.to_str().ok();
    let read = async {
        body::check_headers(header)?;
        let reading = Limited::new(body, MAX_BODY).collect();
        match app.service.receive(reading).await? {
            Ok(read) => Ok(read.to_bytes()),
            Err(cause) if cause.is::<LengthLimitError>() => {
                Err(ApiError::payload_too_large(MAX_BODY))
            }
            Err(cause) => Err(body::unreadable(cause)),
        }
    };
    if head.uri.path().starts_with(scenarios::PREFIX) && head.method != Method::OPTIONS {
        let answered = async {
            let wish = Wish::of(&head.method, head.uri.path())?;
            let has_body = matches!(wish, Wish::Run(_)) && header("content-type").is_some();
            let body = if has_body { read.await? } else { Bytes::new() };
            scenarios::answer(app, wish, &body)
        };
        return answered.await.unwrap_or_else(ApiError::reply);
    }
    let asked = Asked::new(head.method.as_str(), head.uri.path(), head.uri.query());
    app.service.lab_reply(asked, header, read).await
}

/// A response of a service as it is passed on: cut, if a fault of the gateway says so.
pub fn cut(mut response: Response) -> Response {
    let Some(cut) = Cut::current() else {
        return response;
    };
    response.headers_mut().remove(CONTENT_LENGTH);
    response.map(|body| {
        let chunks = body.into_data_stream().map_err(std::io::Error::other);
        let chunks = cut.stream(Box::pin(chunks));
        let frames = chunks.map_ok(Frame::<Bytes>::data).map_err(Into::into);
        StreamBody::new(frames).boxed_unsync()
    })
}
