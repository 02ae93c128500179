//! Addresses of other programs.

use hyper::Uri;
use hyper::http::uri::Scheme;

/// A plain `http` address, or `None`: `https` is not built in, and credentials belong in
/// headers, not in an address that is logged.
pub(crate) fn plain_http(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host)?;
    let plain = uri.scheme() == Some(&Scheme::HTTP)
        && !host.is_empty()
        && (port.is_empty() || authority.port_u16().is_some())
        && !text.contains('#');
    plain.then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_no_credentials() {
        for good in [
            "http://127.0.0.1:8001",
            "http://user-service",
            "http://[::1]:8001/in",
        ] {
            assert!(plain_http(good).is_some(), "{good}");
        }
        for (bad, reason) in [
            ("127.0.0.1:8001", "no scheme"),
            ("https://host", "no TLS here"),
            ("http://user@host", "a user"),
            ("http://user:secret@host", "a password"),
            ("http://host:80000", "no port"),
            ("http://host:x", "no number"),
            ("http://:80", "no host"),
            ("http://host#top", "a fragment"),
            ("http://two words", "a space"),
            ("", "nothing"),
        ] {
            assert!(plain_http(bad).is_none(), "{reason}");
        }
    }
}
