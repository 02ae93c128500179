//! The OpenAPI document of a service, and what follows from it: its routes, their
//! methods, and the page to read and try them on.
//!
//! The document is the only list of routes. Requests that a framework's router does not
//! match are answered from it, so that a 404, a 405 with `Allow` and a preflight are the
//! same on all five.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use matchit::Router;
use utoipa::openapi::OpenApi;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, PathItem};

use crate::contract::accept::Accept;
use crate::contract::document;
use crate::contract::error::ApiError;
use crate::contract::examples::ErrorExample;
use crate::contract::index::Index;
use crate::contract::reply::Reply;
use crate::values::headers::NOT_FOUND;
use crate::values::path::decode_unreserved;
use crate::values::text::shortened;

/// Request headers that a page from another origin may send, besides those it asks for. `*`
/// does not include `Authorization`.
const ALLOWED_HEADERS: &str =
    "Authorization, Content-Type, Idempotency-Key, X-Request-Id, traceparent, tracestate, *";

/// The longest list of headers that a preflight may ask for, in bytes.
const MAX_ASKED: usize = 1024;

/// The routes that are exempt from the limit on requests in flight, and that machines ask every few
/// seconds, or each second while somebody watches. An instance must not be forgotten because its registry is overloaded.
pub(super) const ALWAYS_OPEN: [&str; 6] = [
    "/health",
    "/health/ready",
    "/metrics",
    "/status",
    "/registry",
    "/registry/{service}/{instance}",
];

/// The routes whose responses are part of the binary, so that none of them is copied.
const IN_BINARY: [&str; 5] = [
    "/docs/{file}",
    "/openapi.json",
    "/console/{file}",
    "/console/{folder}/{file}",
    "/console/{folder}/{page}/{file}",
];

/// How a service describes itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The name of the service.
    pub name: &'static str,
    /// The framework it is built on.
    pub framework: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its purpose in one sentence.
    pub description: &'static str,
}

/// The routes of a service.
pub struct Api {
    pub(crate) about: About,
    document: Vec<u8>,
    index: Index,
    // Templates are the same in matchit and in OpenAPI.
    routes: Router<Route>,
    /// What is below each of these paths is forwarded.
    forwarded: Vec<Route>,
    /// The same, only where there is a lab.
    labs: Vec<Route>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("about", &self.about)
            .finish_non_exhaustive()
    }
}

/// One path with its methods.
#[derive(Debug)]
pub struct Route {
    /// The path with its parameters in braces, such as `/api/users/{id}`; what the path begins
    /// with, if it is forwarded.
    pub template: String,
    /// Its methods, as in `Allow`.
    allow: String,
    always_open: bool,
    /// Whether each of its responses has memory of its own.
    is_copied: bool,
    /// Whether its response lasts as long as its client wants.
    is_stream: bool,
}

impl Api {
    /// The API that `document` describes, completed with the routes and errors of every
    /// service.
    pub fn new(about: About, document: OpenApi) -> Self {
        Self::with_errors(about, document, &[])
    }

    /// The same, with examples of the errors that are the service's own.
    pub fn with_errors(about: About, document: OpenApi, errors: &[ErrorExample<'_>]) -> Self {
        let document = document::complete(about, document, errors);
        let mut routes = Router::new();
        for (template, item) in &document.paths.paths {
            let inserted = routes.insert(template, Route::new(template, item));
            inserted.expect("no two routes of a service are the same");
        }
        let index = Index::new(about, &document);
        let document = serde_json::to_vec(&document).expect("an OpenAPI document is JSON");
        Self {
            about,
            document,
            index,
            routes,
            forwarded: Vec::new(),
            labs: Vec::new(),
        }
    }

    /// The same for a gateway that forwards all paths which begin with one of `prefixes`, such as
    /// `/api/users`, unless they match a route of its own. They are no part of the document. The
    /// template of such a route is the prefix.
    #[must_use]
    pub fn forwarding<'a>(self, prefixes: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            forwarded: prefixes.into_iter().map(Route::forwarded).collect(),
            ..self
        }
    }

    /// The same for those of the paths which are event streams. The template of such a route is its
    /// path.
    #[must_use]
    pub fn forwarding_streams<'a>(mut self, paths: impl IntoIterator<Item = &'a str>) -> Self {
        let streams = paths.into_iter().map(|path| Route {
            is_stream: true,
            ..Route::forwarded(path)
        });
        // First, because the first one that matches counts.
        self.forwarded.splice(..0, streams);
        self
    }

    /// The same for what is forwarded to the labs of services, which is there only with a lab.
    #[must_use]
    pub fn forwarding_labs(self, prefixes: impl IntoIterator<Item = String>) -> Self {
        let labs = prefixes.into_iter();
        Self {
            labs: labs.map(|prefix| Route::of_lab(&prefix, "")).collect(),
            ..self
        }
    }

    /// The route of a path that is forwarded to the lab of a service.
    pub(crate) fn route_to_lab(&self, path: &str) -> Option<&Route> {
        below(&self.labs, path)
    }

    /// `GET /`: what is here, in the form that the client prefers.
    pub fn index(&self, accept: &Accept) -> Reply {
        self.index.reply(accept)
    }

    /// The whole document.
    pub fn document(&'static self) -> Reply {
        Reply::ok("application/json", self.document.as_slice())
    }

    /// The route of a path. A literal segment matches before a parameter.
    pub fn route(&self, path: &str) -> Option<&Route> {
        let path = decode_unreserved(path);
        if let Ok(found) = self.routes.at(&path) {
            return Some(found.value);
        }
        below(&self.forwarded, &path)
    }

    /// The reply to a request that the framework's router does not match: a preflight
    /// gets 204, any other request 404 or 405. `header` finds a header by its name in lower
    /// case.
    pub fn unrouted<'a>(
        &self,
        method: &str,
        path: &str,
        header: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Reply {
        unrouted(self.route(path), method, path, header)
    }

    /// The route whose template is `template`.
    pub(crate) fn route_called(&self, template: &str) -> Option<&Route> {
        let route = self.route(template);
        route.filter(|route| route.template == template)
    }

    /// The page to read and try the document.
    pub fn page(&self) -> Reply {
        let html = include_str!("docs.html").replace("{service}", self.about.name);
        Reply::ok("text/html; charset=utf-8", html.into_bytes())
    }

    /// A file that the page loads: its script, or a file of Swagger UI. All are part of the
    /// binary, so the page works without internet access.
    pub fn page_file(&self, name: &str) -> Reply {
        const SCRIPT: &str = "text/javascript; charset=utf-8";
        let config = Arc::new(utoipa_swagger_ui::Config::from("/openapi.json"));
        let content_type = match name {
            "swagger-ui.css" => "text/css; charset=utf-8",
            "swagger-ui-bundle.js" => SCRIPT,
            "page.js" => return Reply::ok(SCRIPT, include_str!("docs.js")),
            _ => {
                let name = shortened(name);
                return ApiError::not_found(format!("The page has no file {name:?}")).reply();
            }
        };
        match utoipa_swagger_ui::serve(name, config) {
            Ok(Some(file)) => {
                let bytes = match file.bytes {
                    Cow::Borrowed(in_binary) => Bytes::from_static(in_binary),
                    Cow::Owned(made) => Bytes::from(made),
                };
                Reply::ok(content_type, bytes).with_header("cache-control", "max-age=86400")
            }
            Ok(None) => ApiError::internal(format!("{name} is not in the binary")).reply(),
            Err(cause) => ApiError::internal(cause).reply(),
        }
    }
}

/// The first of `routes` that `path` is, or is below.
fn below<'a>(routes: &'a [Route], path: &str) -> Option<&'a Route> {
    routes.iter().find(|route| {
        let rest = path.strip_prefix(route.template.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Whether an operation answers with events.
fn answers_events(operation: &Operation) -> bool {
    let mut responses = operation.responses.responses.values();
    responses.any(|response| match response {
        RefOr::T(response) => response.content.contains_key("text/event-stream"),
        RefOr::Ref(_) => false,
    })
}

impl Route {
    /// Whether its response lasts as long as its client wants: it has no span of its own, and the
    /// lab's reset does not wait for it.
    pub(crate) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Whether it is exempt from the limit on requests in flight: operators must be able
    /// to look at a service that is overloaded.
    pub(crate) fn is_always_open(&self) -> bool {
        self.always_open
    }

    /// Whether its responses count towards the limit on unread ones.
    pub(crate) fn has_limit(&self) -> bool {
        self.is_copied && !self.always_open
    }

    /// A route to another service, whose responses are copied only in small pieces.
    fn forwarded(prefix: &str) -> Self {
        Self {
            template: prefix.to_owned(),
            allow: String::new(),
            always_open: false,
            is_copied: false,
            is_stream: false,
        }
    }

    /// A route of the lab, which is no part of the document. `allow` are its methods.
    pub(crate) fn of_lab(template: &str, allow: &str) -> Self {
        Self {
            template: template.to_owned(),
            allow: allow.to_owned(),
            always_open: true,
            is_copied: true,
            is_stream: false,
        }
    }

    /// Whether it has this method. The methods of what is forwarded are unknown.
    pub(crate) fn may_have(&self, method: &str) -> bool {
        self.allow.is_empty() || self.allow.split(", ").any(|one| one == method)
    }

    /// Its methods, as in `Allow`.
    pub(crate) fn allow(&self) -> &str {
        &self.allow
    }

    fn new(template: &str, item: &PathItem) -> Self {
        let operations = [
            ("GET", &item.get),
            ("HEAD", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        let mut methods: Vec<_> = operations
            .iter()
            .filter(|(_, operation)| operation.is_some())
            .map(|(method, _)| *method)
            .collect();
        methods.push("OPTIONS");
        Self {
            template: template.to_owned(),
            allow: methods.join(", "),
            always_open: ALWAYS_OPEN.contains(&template),
            is_copied: !IN_BINARY.contains(&template),
            is_stream: item.get.as_ref().is_some_and(answers_events),
        }
    }
}

/// The reply to a request that no handler takes. `route` is the one at `path`, if there is one.
pub(crate) fn unrouted<'a>(
    route: Option<&Route>,
    method: &str,
    path: &str,
    header: impl Fn(&'static str) -> Option<&'a str>,
) -> Reply {
    let asks_for = header("access-control-request-method");
    if method == "OPTIONS" && (route.is_some() || asks_for.is_some()) {
        return preflight(route, asks_for, header("access-control-request-headers"));
    }
    match route {
        // People type it. Relative, so that it works behind a path prefix.
        None if path == "/docs/" && matches!(method, "GET" | "HEAD") => Reply::moved("../docs"),
        // CONNECT names a host, and no path.
        None if path.is_empty() => ApiError::not_found(
            "The request names no path, and this server is no proxy; \
             GET /docs lists what there is",
        )
        .reply(),
        None => ApiError::not_found(format!(
            "There is nothing at {}; GET /docs lists what there is",
            shortened(path)
        ))
        .reply()
        // So that a caller with a wrong address does not believe that a record is gone.
        .with_header(NOT_FOUND, "route"),
        Some(route) => ApiError::method_not_allowed(method, &route.allow).reply(),
    }
}

/// The reply to a preflight, and to `OPTIONS` in general. It allows the method that it asks
/// for even where there is none: so the page gets the 404 or 405, not a network error.
fn preflight(route: Option<&Route>, method: Option<&str>, headers: Option<&str>) -> Reply {
    let allow = route.map_or("", |route| route.allow.as_str());
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let other = method.filter(|method| {
        !method.is_empty()
            && method.len() <= MAX_ASKED
            && method.bytes().all(is_token)
            && !allow.split(", ").any(|allowed| allowed == *method)
    });
    let methods = [allow, other.unwrap_or_default()];
    let methods: Vec<_> = methods.into_iter().filter(|one| !one.is_empty()).collect();
    let in_list = |byte: u8| is_token(byte) || b", \t".contains(&byte);
    let asked = headers.filter(|asked| {
        !asked.is_empty() && asked.len() <= MAX_ASKED && asked.bytes().all(in_list)
    });
    let headers = match asked {
        Some(asked) => Cow::Owned(format!("{asked}, {ALLOWED_HEADERS}")),
        None => Cow::Borrowed(ALLOWED_HEADERS),
    };
    let mut reply = Reply::no_content()
        .with_header("access-control-allow-methods", methods.join(", "))
        .with_header("access-control-allow-headers", headers)
        .with_header("access-control-max-age", "86400");
    if let Some(route) = route {
        reply = reply.with_header("allow", route.allow.clone());
    }
    reply
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use utoipa::OpenApi as _;

    use super::*;
    use crate::contract::operations::Operations;

    static API: LazyLock<Api> = LazyLock::new(|| {
        let about = About {
            name: "test",
            framework: "none",
            version: "0",
            description: "A test.",
        };
        Api::new(about, Operations::openapi())
    });

    #[test]
    fn a_path_belongs_to_the_most_literal_route() {
        for (path, template, reason) in [
            ("/health", Some("/health"), "literal"),
            ("/%68ealth", Some("/health"), "the same, encoded"),
            ("/docs/x", Some("/docs/{file}"), "a parameter"),
            (
                "/docs/a%2Fb",
                Some("/docs/{file}"),
                "a parameter with an encoded slash",
            ),
            ("/docs/", None, "a parameter is never empty"),
            ("/docs", Some("/docs"), "one segment"),
            ("/health/", None, "a trailing slash is another path"),
            ("//health", None, "so is a doubled one"),
            ("health", None, "no slash"),
            ("*", None, "the whole server"),
            ("", None, "nothing"),
        ] {
            assert_eq!(
                API.route(path).map(|route| route.template.as_str()),
                template,
                "{reason}"
            );
        }
    }

    #[test]
    fn allow_lists_the_methods_of_the_route() {
        let reply = API.unrouted("DELETE", "/health", |_| None);
        assert_eq!(reply.status, 405);
        assert!(
            reply
                .headers
                .iter()
                .any(|(name, value)| *name == "allow" && value == "GET, HEAD, OPTIONS"),
            "{reply:?}"
        );
        assert_eq!(API.unrouted("OPTIONS", "/health", |_| None).status, 204);
        assert_eq!(API.unrouted("OPTIONS", "/nowhere", |_| None).status, 404);
    }

    #[test]
    fn a_preflight_allows_what_it_asks_for_everywhere() {
        let endless = "x".repeat(MAX_ASKED + 1);
        for (path, method, headers, methods, more, reason) in [
            ("/health", "GET", "", "GET, HEAD, OPTIONS", "", "there"),
            (
                "/health",
                "PUT",
                "",
                "GET, HEAD, OPTIONS, PUT",
                "",
                "another method",
            ),
            (
                "/nowhere",
                "PUT",
                "x-a, x-b",
                "PUT",
                "x-a, x-b, ",
                "nothing there",
            ),
            ("/nowhere", "P T", "x-a\u{e4}", "", "", "no token"),
            ("/nowhere", &endless, &endless, "", "", "too long"),
        ] {
            let header = |name| match name {
                "access-control-request-method" => Some(method),
                "access-control-request-headers" => Some(headers),
                _ => None,
            };
            let reply = API.unrouted("OPTIONS", path, header);
            assert_eq!(reply.status, 204, "{reason}");
            let sent = |name| {
                let mut headers = reply.headers.iter();
                let found = headers.find(|(known, _)| *known == name);
                found.map(|(_, value)| value.as_ref()).unwrap_or_default()
            };
            assert_eq!(sent("access-control-allow-methods"), methods, "{reason}");
            let expected = format!("{more}{ALLOWED_HEADERS}");
            assert_eq!(sent("access-control-allow-headers"), expected, "{reason}");
        }
    }
}
