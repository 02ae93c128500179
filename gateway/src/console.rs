//! The web console: the files below `gateway/console`, which are part of the program.
//!
//! They are sent as they were written. A browser asks each time whether its copy is still right, so
//! that a new program never runs with the page of an old one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use chassis::contract::error::ApiError;
use chassis::contract::reply::Reply;
use chassis::values::text::shortened;
use hyper::header::HeaderMap;

use crate::headers::names_tag;
use crate::security;

/// What the paths of the files begin with.
pub const PREFIX: &str = "/console/";

/// The page that a browser gets at `/`.
const INDEX: &str = "index.html";

/// A file by its path below `gateway/console`.
macro_rules! file {
    ($path:literal) => {
        ($path, include_str!(concat!("../console/", $path)))
    };
}

/// The files: the path of each and what is in it.
static FILES: [(&str, &str); 41] = [
    file!("index.html"),
    file!("icon.svg"),
    file!("style.css"),
    file!("app.js"),
    file!("lib/action.js"),
    file!("lib/api.js"),
    file!("lib/chart.js"),
    file!("lib/dom.js"),
    file!("lib/exchange.js"),
    file!("lib/fields.js"),
    file!("lib/focus.js"),
    file!("lib/format.js"),
    file!("lib/parts.js"),
    file!("lib/place.js"),
    file!("lib/state.js"),
    file!("lib/stream.js"),
    file!("lib/verdict.js"),
    file!("pages/charts.js"),
    file!("pages/faults.js"),
    file!("pages/faults/kinds.js"),
    file!("pages/map.js"),
    file!("pages/map/drawing.js"),
    file!("pages/map/follow.js"),
    file!("pages/scenarios.js"),
    file!("pages/scenarios/one.js"),
    file!("pages/scenarios/result.js"),
    file!("pages/services.js"),
    file!("pages/shop.js"),
    file!("pages/shop/choice.js"),
    file!("pages/shop/list.js"),
    file!("pages/shop/notifications.js"),
    file!("pages/shop/orders.js"),
    file!("pages/shop/parts.js"),
    file!("pages/shop/products.js"),
    file!("pages/shop/users.js"),
    file!("pages/xray.js"),
    file!("pages/xray/latest.js"),
    file!("pages/xray/sequence.js"),
    file!("pages/xray/span.js"),
    file!("pages/xray/trace.js"),
    file!("pages/xray/waterfall.js"),
];

/// The tag of all files: if one changes, a browser loads all of them again.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    FILES.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
});

/// The page, for a request with these headers.
pub fn page(request: &HeaderMap) -> Reply {
    file(INDEX, request)
}

/// The file at `path` below the [prefix](PREFIX).
pub fn file(path: &str, request: &HeaderMap) -> Reply {
    let Some((path, text)) = FILES.iter().find(|(known, _)| *known == path) else {
        let path = shortened(path);
        return ApiError::not_found(format!("The console has no file {path:?}")).reply();
    };
    let reply = if names_tag(request, &TAG) {
        Reply {
            status: 304,
            ..Reply::no_content()
        }
    } else {
        Reply::ok(content_type(path), *text)
    };
    let reply = reply
        .with_header("cache-control", "no-cache")
        .with_header("etag", TAG.as_str());
    if *path == INDEX {
        reply.with_header("content-security-policy", security::CONSOLE)
    } else {
        reply
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    }
}
