//! The proxies in front of the gateway, whose `X-Forwarded-*` headers it believes.

use std::net::IpAddr;

use chassis::env::Parameter;

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
    use super::*;

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
