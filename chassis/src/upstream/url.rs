//! The address of another service.

use std::net::SocketAddr;

use hyper::Uri;
use hyper::http::uri::{Authority, InvalidUri, Parts, PathAndQuery, Scheme};

use crate::env::Parameter;
use crate::values::uri::plain_http;

/// The origin of another service: `http://host:port`, checked at start-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    url: String,
    /// Host and port, parsed once for all calls.
    authority: Authority,
}

impl UpstreamUrl {
    /// A service on this machine.
    pub fn local(port: u16) -> Self {
        let url = format!("http://127.0.0.1:{port}");
        Self::parse(&url).expect("a loopback URL parses")
    }

    /// The URL of an address, for tests that start a service on a free port.
    pub fn of(address: SocketAddr) -> Self {
        Self::parse(&format!("http://{address}")).expect("a socket address makes a URL")
    }

    /// The URI of `path`, which may have a query.
    pub(super) fn join(&self, path: &str) -> Result<Uri, InvalidUri> {
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::try_from(path)?);
        Ok(Uri::from_parts(parts).expect("a scheme, an authority and a path make a URI"))
    }

    /// Its host and port, to connect to.
    pub fn host_and_port(&self) -> (&str, u16) {
        let host = self.authority.host();
        let host = host.strip_prefix('[').unwrap_or(host);
        let host = host.strip_suffix(']').unwrap_or(host);
        (host, self.authority.port_u16().unwrap_or(80))
    }

    /// Its host and port, as in the `Host` header.
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// The URL without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.url
    }
}

impl Parameter for UpstreamUrl {
    const EXPECTED: &'static str = "a URL such as http://127.0.0.1:8001, with no path";
    fn parse(value: &str) -> Option<Self> {
        let uri = plain_http(value).filter(|uri| uri.path() == "/" && uri.query().is_none())?;
        let authority = uri.authority()?.clone();
        Some(Self {
            url: format!("http://{authority}"),
            authority,
        })
    }
    fn shown(&self) -> String {
        self.url.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_plain_http_origin() {
        for (good, reason) in [
            ("http://127.0.0.1:8001", "the default"),
            ("http://user-service:8001", "a name on a container network"),
            ("http://[::1]:8001/", "IPv6, and a slash at the end"),
        ] {
            let url = UpstreamUrl::parse(good).expect(reason);
            assert!(!url.as_str().ends_with('/'), "{reason}");
        }
        for (bad, reason) in [
            ("user-service:8001", "no scheme"),
            ("https://user-service", "no TLS here"),
            ("http://user-service/api", "a path would be doubled"),
            ("http://user@host", "credentials do not belong in a URL"),
            ("http://host?x=1", "nor does a query"),
            ("nonsense", "not a URL"),
        ] {
            assert!(UpstreamUrl::parse(bad).is_none(), "{reason}");
        }
    }
}
