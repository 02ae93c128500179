//! Where the instances of a service are found.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use crate::env::Parameter;
use crate::upstream::registry::Registry;
use crate::upstream::url::UpstreamUrl;

/// The most instances of one service. Further addresses of a name are not used.
pub const MAX_INSTANCES: usize = 64;

/// What a name is prefixed with to get an instance for each of its addresses.
const DNS: &str = "dns+";

/// The value for those that are registered.
const REGISTRY: &str = "registry";

/// Where the instances of a service are found: the value of `USER_SERVICE_URL` and the like.
///
/// ```
/// use chassis::env::Parameter;
/// use chassis::upstream::instances::source::Source;
///
/// assert!(Source::parse("http://127.0.0.1:8001").is_some());
/// assert!(Source::parse("http://10.0.0.1:8001,http://10.0.0.2:8001").is_some());
/// assert!(Source::parse("dns+http://user-service:8001").is_some());
/// assert!(Source::parse("registry").is_some());
/// assert!(Source::parse("user-service:8001").is_none());
/// ```
#[derive(Clone, Debug)]
pub enum Source {
    /// At these addresses, of which there is at least one.
    Fixed(Vec<UpstreamUrl>),
    /// One at each address of the name in this URL.
    Dns(UpstreamUrl, Resolver),
    /// Those that are registered.
    Registry(Registry),
}

/// What finds the addresses of a host and port. It may block.
#[derive(Clone)]
pub struct Resolver(Arc<Resolve>);

type Resolve = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

impl Resolver {
    /// A resolver that calls `resolve`.
    pub fn new(
        resolve: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(resolve))
    }

    pub(super) fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.0(host, port)
    }
}

/// The resolver of the system.
impl Default for Resolver {
    fn default() -> Self {
        Self::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Source {
    /// A service on this machine.
    pub fn local(port: u16) -> Self {
        UpstreamUrl::local(port).into()
    }

    /// The same with another resolver of names, for tests.
    #[must_use]
    pub fn resolved_by(self, resolver: Resolver) -> Self {
        match self {
            Self::Dns(url, _) => Self::Dns(url, resolver),
            other => other,
        }
    }

    /// The same, if those that are registered are registered there.
    #[must_use]
    pub fn registered_at(self, registry: &Registry) -> Self {
        match self {
            Self::Registry(_) => Self::Registry(registry.clone()),
            other => other,
        }
    }

    /// The URLs that are known without asking anybody. A name stands for itself until its
    /// addresses are known.
    pub(super) fn known(&self) -> &[UpstreamUrl] {
        match self {
            Self::Fixed(urls) => urls,
            Self::Dns(url, _) => std::slice::from_ref(url),
            Self::Registry(_) => &[],
        }
    }

    /// The source in one word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Fixed(_) => "fixed",
            Self::Dns(..) => "dns",
            Self::Registry(_) => REGISTRY,
        }
    }
}

impl From<UpstreamUrl> for Source {
    fn from(url: UpstreamUrl) -> Self {
        Self::Fixed(vec![url])
    }
}

impl Parameter for Source {
    const EXPECTED: &'static str =
        "http://host:port, up to 64 with commas, dns+http://host:port or registry";
    fn parse(value: &str) -> Option<Self> {
        if value == REGISTRY {
            return Some(Self::Registry(Registry::default()));
        }
        if let Some(url) = value.strip_prefix(DNS) {
            return Some(Self::Dns(UpstreamUrl::parse(url)?, Resolver::default()));
        }
        let urls: Option<Vec<_>> = value.split(',').map(UpstreamUrl::parse).collect();
        let urls = urls.filter(|urls| urls.len() <= MAX_INSTANCES)?;
        let different: BTreeSet<_> = urls.iter().map(UpstreamUrl::as_str).collect();
        (different.len() == urls.len()).then_some(Self::Fixed(urls))
    }
    fn shown(&self) -> String {
        match self {
            Self::Fixed(urls) => {
                let urls: Vec<_> = urls.iter().map(UpstreamUrl::as_str).collect();
                urls.join(",")
            }
            Self::Dns(url, _) => format!("{DNS}{}", url.as_str()),
            Self::Registry(_) => REGISTRY.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_one_url_or_several_or_a_name() {
        for (good, kind, known, reason) in [
            ("http://127.0.0.1:8001", "fixed", 1, "the default"),
            ("http://a:1,http://b:2", "fixed", 2, "several"),
            ("dns+http://user-service:8001", "dns", 1, "a name"),
            ("dns+http://user-service", "dns", 1, "the port is 80"),
            ("registry", "registry", 0, "those that register"),
        ] {
            let source = Source::parse(good).expect(reason);
            assert_eq!(source.shown(), good, "{reason}");
            assert_eq!(source.kind(), kind, "{reason}");
            assert_eq!(source.known().len(), known, "{reason}");
        }
        let too_many: Vec<_> = (0..65).map(|n| format!("http://a:{n}")).collect();
        for (bad, reason) in [
            ("http://a:1,", "an empty one"),
            ("http://a:1,https://b:2", "no TLS here"),
            ("http://a:1,http://a:1", "the same twice"),
            ("http://a:1,http://a:1/", "the same, written in another way"),
            ("http://a:1,dns+http://b:2", "a name among others"),
            ("dns+http://a:1,http://b:2", "others after a name"),
            ("dns+https://a", "no TLS here either"),
            ("dns+a:1", "no URL"),
            ("http://a:1,registry", "the registry among others"),
            ("registry+http://a:1", "its address has another variable"),
            (&*too_many.join(","), "more than 64"),
        ] {
            assert!(Source::parse(bad).is_none(), "{reason}");
        }
        assert!(Source::parse(&too_many[..64].join(",")).is_some());
    }
}
