//! A layer that limits how many requests a second one client may send.
//!
//! It is the generic cell rate algorithm, a token bucket that needs no timer. A client has an
//! allowance of requests, which comes back at a steady rate. All there is to know about a client is
//! when its allowance is whole again: each request makes that later by the time in which one
//! request comes back.
//!
//! <https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZero;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use chassis::contract::error::ApiError;
use chassis::env::Parameter;
use chassis::serve::connection::peer;
use futures_util::future::{BoxFuture, Either, Ready, ready};
use hyper::header::{ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue};
use hyper::{Method, Request};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use tower::{Layer, Service};

use crate::call::{Response, respond};
use crate::proxies::TrustedProxies;

// The headers of
// [draft 11](https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-11).
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// A client that was quiet may send so many seconds' worth of requests at once.
const BURST: u32 = 2;

/// The most clients that are known. With their entries the map takes about 5 MB.
const MAX_CLIENTS: usize = 65_536;

/// How often clients with a whole allowance are forgotten, at most, while there is no room.
const SWEEP: Duration = Duration::from_millis(100);

/// How many requests a second a client may send; none if it may send any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit(Option<NonZero<u32>>);

impl Default for RateLimit {
    fn default() -> Self {
        Self(NonZero::new(200))
    }
}

impl Parameter for RateLimit {
    const EXPECTED: &'static str = "off, or requests a second from 1 to 1000000";
    fn parse(value: &str) -> Option<Self> {
        if value == "off" {
            return Some(Self(None));
        }
        let number: NonZero<u32> = value.parse().ok()?;
        (number.get() <= 1_000_000).then_some(Self(Some(number)))
    }
    fn shown(&self) -> String {
        self.0.map_or("off".to_owned(), |number| number.to_string())
    }
}

/// The layer, and what it knows about the clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limiter {
    per_second: Option<NonZero<u32>>,
    trusted: TrustedProxies,
    clients: Arc<Mutex<Clients>>,
}

#[derive(Debug)]
struct Clients {
    known: HashMap<IpAddr, Client>,
    swept: Instant,
    /// The requests that were refused so far.
    refused: u64,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    /// When its allowance is whole again.
    whole_at: Instant,
    /// Whether it was refused since its allowance was whole.
    is_limited: bool,
}

/// What a client has left: of the allowance, and of the time until it is whole again.
struct Left {
    requests: u128,
    whole_in: Duration,
}

/// When the next request of a client is accepted.
struct Wait(Duration);

impl Limiter {
    /// Limits each client to `limit`. A request from one of `trusted` is one of the client that it
    /// names.
    pub fn new(limit: RateLimit, trusted: TrustedProxies) -> Self {
        Self {
            per_second: limit.0,
            trusted,
            clients: Arc::new(Mutex::new(Clients {
                known: HashMap::new(),
                swept: Instant::now(),
                refused: 0,
            })),
        }
    }

    /// The number of clients that were refused, and whose allowance is not whole again.
    pub fn limited(&self) -> usize {
        let now = Instant::now();
        let clients = self.clients.lock();
        let limited = |one: &&Client| one.is_limited && one.whole_at > now;
        clients.known.values().filter(limited).count()
    }

    /// The requests that were refused so far.
    pub fn refused(&self) -> u64 {
        self.clients.lock().refused
    }

    /// The client of a request that counts.
    fn client<B>(&self, request: &Request<B>) -> Option<IpAddr> {
        let headers = request.headers();
        let is_preflight = request.method() == Method::OPTIONS
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if is_preflight || !is_api(request.uri().path()) {
            return None;
        }
        let peer = peer().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        Some(network(self.trusted.client(peer, headers)))
    }
}

/// Whether this is a path of the shop's API, also if parts of it are encoded.
fn is_api(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    segments
        .next()
        .is_some_and(|first| percent_decode_str(first).eq(*b"api"))
}

/// What belongs to one client: with IPv6 it has a whole network of addresses.
fn network(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = !(u64::MAX as u128);
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((address.to_bits() & NETWORK).to_be_bytes()),
        address @ IpAddr::V4(_) => address,
    }
}

impl Clients {
    /// A request of `client` at `now`: what is left after it, or why it is refused.
    fn take(
        &mut self,
        client: IpAddr,
        per_second: NonZero<u32>,
        now: Instant,
    ) -> Result<Left, Wait> {
        let one = Duration::from_secs(1) / per_second.get();
        let whole = one * burst(per_second);
        let client = self.entry(client, now);
        if client.whole_at <= now {
            *client = Client::new(now);
        }
        let whole_in = client.whole_at - now + one;
        let Some(rest) = whole.checked_sub(whole_in) else {
            client.is_limited = true;
            self.refused += 1;
            return Err(Wait(whole_in.saturating_sub(whole)));
        };
        client.whole_at += one;
        Ok(Left {
            requests: rest.as_nanos() / one.as_nanos(),
            whole_in,
        })
    }

    /// What is known about a client. While there is no room for more, all new ones are together
    /// one client.
    fn entry(&mut self, mut client: IpAddr, now: Instant) -> &mut Client {
        if self.known.len() >= MAX_CLIENTS && !self.known.contains_key(&client) {
            if now - self.swept >= SWEEP {
                self.swept = now;
                self.known.retain(|_, client| client.whole_at > now);
            }
            if self.known.len() >= MAX_CLIENTS {
                client = Ipv4Addr::UNSPECIFIED.into();
            }
        }
        self.known.entry(client).or_insert(Client::new(now))
    }
}

impl Client {
    fn new(now: Instant) -> Self {
        Self {
            whole_at: now,
            is_limited: false,
        }
    }
}

/// The requests in a whole allowance.
fn burst(per_second: NonZero<u32>) -> u32 {
    BURST * per_second.get()
}

impl<S> Layer<S> for Limiter {
    type Service = Limited<S>;

    fn layer(&self, next: S) -> Limited<S> {
        Limited {
            limiter: self.clone(),
            next,
        }
    }
}

/// The next layer, for clients with an allowance.
#[derive(Clone, Debug)]
pub struct Limited<S> {
    limiter: Limiter,
    next: S,
}

type Answered = Result<Response, Infallible>;

impl<B, S> Service<Request<B>> for Limited<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Either<BoxFuture<'static, Answered>, Ready<Answered>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.next.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let limiter = &self.limiter;
        let counted = limiter.per_second.zip(limiter.client(&request));
        let Some((per_second, client)) = counted else {
            return Either::Left(self.next.call(request));
        };
        let mut clients = limiter.clients.lock();
        let taken = clients.take(client, per_second, Instant::now());
        drop(clients);
        Either::Right(match taken {
            Ok(Left { requests, whole_in }) => {
                let answering = self.next.call(request);
                Either::Left(Box::pin(async move {
                    let response = answering.await?;
                    Ok(with_state(response, per_second, requests, whole_in))
                }))
            }
            Err(Wait(time)) => {
                let refusal = respond(ApiError::rate_limited(per_second.get(), time).reply());
                Either::Right(ready(Ok(with_state(refusal, per_second, 0, time))))
            }
        })
    }
}

/// Adds what the client may do: `requests` more within the `time`.
fn with_state(
    mut response: Response,
    per_second: NonZero<u32>,
    requests: u128,
    time: Duration,
) -> Response {
    let burst = burst(per_second);
    let seconds = time.as_millis().div_ceil(1000).max(1);
    for (name, value) in [
        (POLICY, format!("\"default\";q={burst};w={BURST}")),
        (STATE, format!("\"default\";r={requests};t={seconds}")),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(now: Instant) -> Clients {
        Clients {
            known: HashMap::new(),
            swept: now,
            refused: 0,
        }
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + number).to_be_bytes())
    }

    const TEN: NonZero<u32> = NonZero::new(10).expect("ten");

    #[test]
    fn a_quiet_client_has_a_burst_and_then_the_rate() {
        let mut now = Instant::now();
        let mut clients = clients(now);
        for left in (0..20).rev() {
            let Ok(after) = clients.take(address(1), TEN, now) else {
                panic!("{left} are left");
            };
            assert_eq!(after.requests, left);
        }
        for _ in 0..50 {
            let Err(Wait(time)) = clients.take(address(1), TEN, now) else {
                panic!("the allowance is used up");
            };
            assert_eq!(time, Duration::from_millis(100));
            now += time;
            assert!(clients.take(address(1), TEN, now).is_ok());
        }
        now += Duration::from_secs(2);
        let after = clients.take(address(1), TEN, now);
        assert_eq!(after.ok().map(|left| left.requests), Some(19));
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_and_no_allowance_of_those_that_are_known() {
        let mut now = Instant::now();
        let mut clients = clients(now);
        let most = u32::try_from(MAX_CLIENTS).expect("few");
        for number in 0..most {
            assert!(clients.take(address(number), TEN, now).is_ok());
        }
        // The new ones share one allowance.
        let accepted = |clients: &mut Clients, numbers: std::ops::Range<u32>, now| {
            let numbers = numbers.filter(|number| clients.take(address(*number), TEN, now).is_ok());
            numbers.count()
        };
        let all = most..2 * most;
        assert_eq!(accepted(&mut clients, all.clone(), now), 20);
        assert_eq!(clients.known.len(), MAX_CLIENTS + 1);
        assert_eq!(accepted(&mut clients, 0..100, now), 100);
        // Once the others are quiet there is room again.
        now += Duration::from_secs(1);
        assert_eq!(accepted(&mut clients, all.start..all.start + 100, now), 100);
        assert!(clients.known.len() < 300, "{}", clients.known.len());
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_a_network_of_ipv6() {
        let network = |text: &str| network(text.parse().expect("an address")).to_string();
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:2::ffff"), "2001:db8:1:2::");
    }

    #[test]
    fn only_the_api_counts_however_its_path_is_written() {
        for (path, expected) in [
            ("/api", true),
            ("/api/", true),
            ("/api/users/7", true),
            ("/%61pi/users/7", true),
            ("/%61%70%69", true),
            ("/apis", false),
            ("/ap", false),
            ("/", false),
            ("/health", false),
            ("/docs/api", false),
            ("", false),
        ] {
            assert_eq!(is_api(path), expected, "{path}");
        }
    }

    #[test]
    fn the_limit_is_a_number_or_off() {
        for (text, expected) in [
            ("off", Some("off")),
            ("1", Some("1")),
            ("1000000", Some("1000000")),
            ("0", None),
            ("1000001", None),
            ("-1", None),
            ("1.5", None),
            ("on", None),
        ] {
            let parsed = RateLimit::parse(text).map(|limit| limit.shown());
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
        assert_eq!(RateLimit::default().shown(), "200");
    }
}
