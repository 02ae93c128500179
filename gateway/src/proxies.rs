//! The proxies in front of the gateway, whose `X-Forwarded-*` headers it believes.

use std::net::{IpAddr, SocketAddr};

use chassis::env::Parameter;
use hyper::header::{HeaderMap, HeaderName};

/// The addresses that a request came from before.
pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Networks of trusted proxies: addresses, or `address/bits`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl TrustedProxies {
    /// Whether there is a trusted proxy at `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client whose request `peer` has sent with these headers. Each proxy adds the address
    /// that it got the request from to `X-Forwarded-For`; what comes before the first that is no
    /// trusted proxy, seen from here, is what that client says of itself.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.contains(peer) {
            return peer;
        }
        let lines = headers.get_all(FORWARDED_FOR).iter();
        let lines = lines.map(|line| line.to_str().unwrap_or_default());
        let addresses: Vec<_> = lines.flat_map(|line| line.split(',')).collect();
        let mut client = peer;
        for address in addresses.into_iter().rev() {
            // Some proxies add the port.
            let address = address.trim();
            let with_port = || address.parse().map(|address: SocketAddr| address.ip());
            let Ok(address) = address.parse().or_else(|_| with_port()) else {
                break;
            };
            client = address;
            if !self.contains(client) {
                break;
            }
        }
        client
    }
}

impl Parameter for TrustedProxies {
    const EXPECTED: &'static str = "addresses or networks such as 10.0.0.1,10.1.0.0/16";
    fn parse(value: &str) -> Option<Self> {
        let networks = value.split(',').map(|one| Network::parse(one.trim()));
        networks.collect::<Option<_>>().map(Self)
    }
    fn shown(&self) -> String {
        let networks = self.0.iter();
        let networks: Vec<_> = networks
            .map(|network| format!("{}/{}", network.address, network.bits))
            .collect();
        networks.join(",")
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = size(address);
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
        (bits <= most).then_some(Self { address, bits })
    }

    fn contains(self, address: IpAddr) -> bool {
        // An IPv4 client of a listener on `::` has a mapped address.
        let address = address.to_canonical();
        let rest = size(self.address) - self.bits;
        let network = |address| number(address).checked_shr(rest).unwrap_or_default();
        size(address) == size(self.address) && network(address) == network(self.address)
    }
}

/// The bits of an address.
fn size(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
        let trusted = TrustedProxies::parse("10.0.0.0/8").expect("networks");
        let client = |peer: &str, lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
            }
            let client = trusted.client(peer.parse().expect("an address"), &headers);
            client.to_string()
        };
        for (peer, lines, expected, reason) in [
            ("192.0.2.1", ["1.1.1.1"].as_slice(), "192.0.2.1", "no proxy"),
            ("10.0.0.1", &[], "10.0.0.1", "the proxy itself"),
            ("10.0.0.1", &["1.1.1.1"], "1.1.1.1", "one proxy"),
            (
                "10.0.0.1",
                &["9.9.9.9, 1.1.1.1"],
                "1.1.1.1",
                "the first is the client's claim",
            ),
            (
                "10.0.0.1",
                &["9.9.9.9", "1.1.1.1 ,10.2.0.1"],
                "1.1.1.1",
                "two proxies, two lines",
            ),
            ("10.0.0.1", &["10.3.0.1,10.2.0.1"], "10.3.0.1", "all inside"),
            ("10.0.0.1", &["1.1.1.1:80"], "1.1.1.1", "with a port"),
            (
                "10.0.0.1",
                &["[2001:db8::1]:80"],
                "2001:db8::1",
                "with a port",
            ),
            ("10.0.0.1", &["9.9.9.9, unknown"], "10.0.0.1", "no address"),
            (
                "10.0.0.1",
                &["9.9.9.9, unknown, 10.2.0.1"],
                "10.2.0.1",
                "no address",
            ),
            ("10.0.0.1", &[""], "10.0.0.1", "empty"),
        ] {
            assert_eq!(client(peer, lines), expected, "{reason}");
        }
    }

    #[test]
    fn a_proxy_is_trusted_by_its_address_or_its_network() {
        let parse = |text| TrustedProxies::parse(text).expect("networks");
        for (trusted, address, expected) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.1.0.0/16, ::1", "10.1.255.255", true),
            ("10.1.0.0/16", "10.2.0.0", false),
            ("10.1.0.0/16", "::ffff:10.1.0.1", true),
            ("10.1.0.0/16,::1", "::1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(parse(trusted).contains(address), expected, "{trusted}");
        }
        assert!(!TrustedProxies::default().contains(IpAddr::from([127, 0, 0, 1])));
        for bad in ["proxy", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "10.0.0.1,"] {
            assert_eq!(TrustedProxies::parse(bad), None, "{bad}");
        }
    }
}
