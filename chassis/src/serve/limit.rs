//! A limit of a service, of which one client address gets only a share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a client takes part of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource {
    /// Requests in flight.
    Requests,
    /// KiB of large responses that their clients have not read yet.
    Responses,
    /// Request heads that have grown large before they are complete.
    Heads,
    /// Requests of HTTP/2 beside another one on the same connection.
    Streams,
}

const RESOURCES: usize = 4;

/// The clients with one address.
#[derive(Debug, Default)]
pub(crate) struct Client {
    taken: [AtomicU32; RESOURCES],
}

/// A limit of a service, of which one client address gets only a share: it cannot use up all
/// of the service, however many connections it opens.
#[derive(Debug)]
pub(crate) struct Limit {
    resource: Resource,
    most: u32,
    share: u32,
    taken: AtomicU32,
}

/// Why nothing could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The limit itself is reached.
    Limit(u32),
    /// The share of this client address is reached.
    Share(u32),
}

/// An amount that was taken. Dropped, it is given back.
#[derive(Debug)]
#[must_use = "dropped at once, it is given back"]
pub(crate) struct Taken {
    limit: Arc<Limit>,
    client: Arc<Client>,
    amount: u32,
}

impl Limit {
    /// At most `most`, of which one client address gets `percent`.
    pub(crate) fn new(resource: Resource, most: u32, percent: u32) -> Arc<Self> {
        Arc::new(Self {
            resource,
            most,
            share: share(most, percent),
            taken: AtomicU32::new(0),
        })
    }

    /// Takes `amount` for `client`. An amount over the limit is taken if nothing else is, or it
    /// could never be.
    pub(crate) fn take(
        self: &Arc<Self>,
        client: &Arc<Client>,
        amount: u32,
    ) -> Result<Taken, Reached> {
        let add = |taken: &AtomicU32, most: u32| {
            let more = |taken: u32| {
                let sum = taken.saturating_add(amount);
                (taken == 0 || sum <= most).then_some(sum)
            };
            let added = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
            added.is_ok()
        };
        let of_client = client.taken(self.resource);
        if !add(of_client, self.share) {
            return Err(Reached::Share(self.share));
        }
        if !add(&self.taken, self.most) {
            of_client.fetch_sub(amount, Ordering::Relaxed);
            return Err(Reached::Limit(self.most));
        }
        Ok(Taken {
            limit: Arc::clone(self),
            client: Arc::clone(client),
            amount,
        })
    }
}

impl Client {
    fn taken(&self, resource: Resource) -> &AtomicU32 {
        &self.taken[resource as usize]
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let of_client = self.client.taken(self.limit.resource);
        of_client.fetch_sub(self.amount, Ordering::Relaxed);
        self.limit.taken.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// `percent` of `most`, rounded up.
pub(crate) fn share(most: u32, percent: u32) -> u32 {
    let share = (u64::from(most) * u64::from(percent)).div_ceil(100);
    u32::try_from(share).unwrap_or(most)
}

/// The address that a client is counted by. Who has an IPv6 address has all of its /64.
pub(crate) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() & (u128::MAX << 64)).to_be_bytes()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_gets_its_share_and_the_others_the_rest() {
        let limit = Limit::new(Resource::Requests, 10, 80);
        let (greedy, modest) = (Arc::default(), Arc::default());
        let held: Vec<_> = (0..8).map(|_| limit.take(&greedy, 1)).collect();
        assert!(held.iter().all(Result::is_ok), "{held:?}");
        let refused = limit.take(&greedy, 1);
        assert_eq!(refused.expect_err("over its share"), Reached::Share(8));

        let rest = limit.take(&modest, 2).expect("the rest");
        let refused = limit.take(&modest, 1);
        assert_eq!(refused.expect_err("over the limit"), Reached::Limit(10));
        drop((held, rest));
        let all = limit.take(&modest, 8);
        assert!(all.is_ok(), "all was given back");
    }

    #[test]
    fn an_amount_over_the_limit_is_taken_alone() {
        let limit = Limit::new(Resource::Responses, 10, 80);
        let client = Arc::default();
        let large = limit.take(&client, 1000).expect("nothing else is taken");
        assert!(limit.take(&client, 1).is_err());
        drop(large);
        let small = limit.take(&client, 1).expect("free again");
        assert!(limit.take(&client, 1000).is_err());
        drop(small);
    }

    #[test]
    fn a_share_is_never_zero() {
        for (most, percent, expected) in [(1, 80, 1), (2, 80, 2), (10, 1, 1), (2048, 80, 1639)] {
            assert_eq!(share(most, percent), expected, "{percent} % of {most}");
        }
    }

    #[test]
    fn clients_are_counted_by_address_and_those_with_ipv6_by_network() {
        for (one, other, same) in [
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("2001:db8::1", "2001:db8::2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let [one, other] = [one, other].map(|text| counted(text.parse().expect("an address")));
            assert_eq!(one == other, same, "{one} and {other}");
        }
    }
}
