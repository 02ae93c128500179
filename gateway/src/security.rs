//! A layer for the headers that tell a browser what it must not do with a response.

use std::task::{Context, Poll};

use chassis::serve::connection::is_encrypted;
use futures_util::TryFutureExt;
use futures_util::future::MapOk;
use hyper::Response;
use hyper::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SERVER,
    STRICT_TRANSPORT_SECURITY,
};
use tower::{Layer, Service};

/// The headers of every response: a browser does not take it for another type than it says,
/// tells nobody where a link was followed from, and does not show it in a page of another site.
/// Scripts of other sites may still read it, as `Access-Control-Allow-Origin` says.
pub const HEADERS: [(&str, &str); 3] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The policy of every page but the console: it loads only what the gateway has, runs only scripts that are files,
/// and is in no frame. Inline styles are allowed, because Swagger UI has some; its images are part
/// of its styles.
const PAGE: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

/// The policy of the console: nothing inline either, and no text becomes markup, because the
/// browser refuses what would make it that.
pub const CONSOLE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A browser that got a response within TLS connects to this host only with TLS, for a year.
/// Otherwise somebody in between could turn `https` into `http`.
const ONLY_TLS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The layer.
#[derive(Clone, Copy, Debug)]
pub struct Security;

impl<S> Layer<S> for Security {
    type Service = Secured<S>;

    fn layer(&self, next: S) -> Secured<S> {
        Secured(next)
    }
}

/// The next layer, with the headers on its responses.
#[derive(Clone, Debug)]
pub struct Secured<S>(S);

impl<R, B, S: Service<R, Response = Response<B>>> Service<R> for Secured<S> {
    type Response = Response<B>;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(Response<B>) -> Response<B>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.0.call(request).map_ok(|mut response| {
            secure(response.headers_mut());
            response
        })
    }
}

fn secure(headers: &mut HeaderMap) {
    // What a service runs on is nobody's business.
    headers.remove(SERVER);
    for (name, value) in HEADERS {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    // A service does not know it.
    headers.remove(STRICT_TRANSPORT_SECURITY);
    if is_encrypted() {
        headers.insert(STRICT_TRANSPORT_SECURITY, ONLY_TLS);
    }
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_page = content_type.is_some_and(|is| {
        is.get(..9)
            .is_some_and(|is| is.eq_ignore_ascii_case(b"text/html"))
    });
    if is_page {
        // A service knows best what its own pages need.
        headers.entry(CONTENT_SECURITY_POLICY).or_insert(PAGE);
    }
}
