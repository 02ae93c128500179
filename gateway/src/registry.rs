//! The registry: where the instances of the services are, as they say themselves.
//!
//! An instance registers, renews that every two seconds, and deregisters before it shuts down. One
//! that is silent for six seconds is forgotten. Nothing is written to a disk: a gateway that has
//! just started learns of all instances within two seconds. Until six seconds have passed, it says
//! that its list is not complete, and its readers keep those that they know.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::contract::body::{Field, Form};
use chassis::contract::error::ApiError;
use chassis::serve::config::ServiceConfig;
use chassis::serve::connection::peer;
use chassis::upstream::instances::source::MAX_INSTANCES;
use chassis::upstream::registry::{FORGET_AFTER, Listing, Registered, Token, run_id};
use hyper::header::{AUTHORIZATION, HeaderMap, ORIGIN};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use utoipa::ToSchema;

use crate::routes::DESTINATIONS;

/// The pause between two searches for instances that are to be forgotten.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// If a search comes so much later than the one before, the gateway was frozen, and has heard of
/// nobody in the meantime.
const FROZEN: Duration = Duration::from_secs(2);

/// How long the id of an instance that has deregistered cannot be registered: longer than a
/// renewal can be on its way.
const KEEP_REMOVED: Duration = Duration::from_mins(1);

/// The most such ids. For one more, the oldest is forgotten.
const MAX_REMOVED: usize = 1024;

/// The most characters of an id.
const MAX_ID: usize = 64;

/// The registry.
#[derive(Debug)]
pub struct Registry {
    token: Option<Token>,
    is_local: bool,
    state: Arc<State>,
    _sweeping: AbortOnDropHandle<()>,
}

/// The body of a registration.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RegistrationBody {
    /// The address on which the instance listens: an IP address, that of the sender, and a port.
    #[serde(default)]
    #[schema(value_type = String, required = true, pattern = r"^.+:[1-9][0-9]*$", examples("127.0.0.1:8005"))]
    address: Field<String>,
}

/// An instance in a path: which service, and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceId {
    service: &'static str,
    instance: String,
}

#[derive(Debug)]
struct State {
    entries: Mutex<Entries>,
    told: watch::Sender<Listing>,
}

#[derive(Debug)]
struct Entries {
    known: Vec<Entry>,
    /// The oldest first.
    removed: VecDeque<(InstanceId, Instant)>,
    began: Instant,
    swept: Instant,
}

#[derive(Debug)]
struct Entry {
    id: InstanceId,
    address: SocketAddr,
    renewed: Instant,
}

impl InstanceId {
    /// The instance in `/registry/{service}/{instance}`.
    pub fn in_path(service: &str, instance: &str) -> Result<Self, ApiError> {
        let known = DESTINATIONS.iter().find(|known| known.service == service);
        let known = known.ok_or_else(|| ApiError::no_such("service", service))?;
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_id = (1..=MAX_ID).contains(&instance.len())
            && instance.bytes().all(is_allowed)
            && !instance.starts_with('.');
        if !is_id {
            return Err(ApiError::not_found(format!(
                "An instance has an id of 1 to {MAX_ID} letters, digits, dots, dashes or \
                 underscores, which does not begin with a dot"
            )));
        }
        Ok(Self {
            service: known.service,
            instance: instance.to_owned(),
        })
    }

    /// Its path.
    pub fn path(&self) -> String {
        format!("/registry/{}/{}", self.service, self.instance)
    }
}

impl RegistrationBody {
    /// The address, if it is one of `peer`, who sends it.
    fn address(self, peer: IpAddr) -> Result<SocketAddr, ApiError> {
        let mut form = Form::default();
        let address = form.required("address", self.address, |text| {
            let address = text.parse::<SocketAddr>().map_err(|_| {
                "must be an IP address and a port, such as 127.0.0.1:8005".to_owned()
            })?;
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            if address.port() == 0 {
                Err("must have the port on which the instance listens, not 0".to_owned())
            } else if address.ip() != peer {
                Err(format!(
                    "must be an address of who sends it, which is {peer}"
                ))
            } else {
                Ok(address)
            }
        });
        form.finish(|| address)
    }
}

impl Registry {
    /// A registry without instances, of a gateway with this configuration.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: a task on it forgets instances.
    pub fn new(config: &ServiceConfig) -> Self {
        let state = Arc::new(State::new(Instant::now()));
        let sweeping = Arc::clone(&state);
        let sweeping = tokio::spawn(async move {
            loop {
                sleep(SWEEP_EVERY).await;
                sweeping.sweep(Instant::now());
            }
        });
        Self {
            token: config.registry.token().cloned(),
            is_local: config.listen.ip().is_loopback(),
            state,
            _sweeping: AbortOnDropHandle::new(sweeping),
        }
    }

    /// The instances, and those after each change.
    pub fn follow(&self) -> watch::Receiver<Listing> {
        self.state.told.subscribe()
    }

    /// The instances now.
    pub fn listing(&self) -> Listing {
        self.state.told.borrow().clone()
    }

    /// Whether a request with these headers may change the registry.
    pub fn admit(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if headers.contains_key(ORIGIN) {
            let sentence = "A page in a browser must not register or deregister an instance";
            return Err(ApiError::forbidden(sentence));
        }
        let sent = headers.get(AUTHORIZATION);
        match (&self.token, sent) {
            (None, _) if self.is_local => Ok(()),
            (None, _) => Err(ApiError::forbidden(
                "This gateway can be reached from other machines and has no REGISTRY_TOKEN, so \
                 nobody may register; set the same one for the gateway and the services",
            )),
            (Some(_), None) => Err(ApiError::unauthenticated(
                "No token was sent; set REGISTRY_TOKEN to the one of the gateway",
            )),
            (Some(token), Some(sent)) if token.is_in(sent.as_bytes()) => Ok(()),
            (Some(_), Some(_)) => Err(ApiError::unauthenticated(
                "The token is not the gateway's REGISTRY_TOKEN; set the same one for both",
            )),
        }
    }

    /// Registers an instance of the sender of the current request, or renews it. Returns it, and
    /// whether it is new.
    pub fn register(
        &self,
        id: InstanceId,
        body: RegistrationBody,
    ) -> Result<(Registered, bool), ApiError> {
        let peer = peer().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let address = body.address(peer.to_canonical())?;
        let is_new = self.state.register(id.clone(), address, Instant::now())?;
        let registered = Registered {
            service: id.service.to_owned(),
            instance: id.instance,
            address,
        };
        Ok((registered, is_new))
    }

    /// Removes an instance, known or not. Its id cannot be registered again for a minute.
    pub fn deregister(&self, id: InstanceId) {
        self.state.deregister(id, Instant::now());
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            entries: Mutex::new(Entries {
                known: Vec::new(),
                removed: VecDeque::new(),
                began: now,
                swept: now,
            }),
            told: watch::Sender::new(Listing {
                registry: run_id(),
                ..Listing::default()
            }),
        }
    }

    fn register(
        &self,
        id: InstanceId,
        address: SocketAddr,
        now: Instant,
    ) -> Result<bool, ApiError> {
        let entries = &mut *self.entries.lock();
        if entries.removed.iter().any(|(removed, _)| *removed == id) {
            return Err(ApiError::gone(format!(
                "The instance {} was deregistered; register another one under a new id",
                id.instance
            )));
        }
        if let Some(known) = entries.known.iter_mut().find(|known| known.id == id) {
            if known.address != address {
                return Err(ApiError::conflict(format!(
                    "The instance {} is registered at {}; register another one under a new id",
                    id.instance, known.address
                )));
            }
            known.renewed = now;
            return Ok(false);
        }
        let service = id.service;
        // Who listens there now is another process than before.
        let is_other = |known: &Entry| known.id.service != service || known.address != address;
        entries.known.retain(is_other);
        let count = entries
            .known
            .iter()
            .filter(|known| known.id.service == service);
        if count.count() >= MAX_INSTANCES {
            return Err(ApiError::full(format!(
                "The registry knows {MAX_INSTANCES} instances of {service}, the most there may be; \
                 stop one, or wait {} s until those that are gone are forgotten",
                FORGET_AFTER.as_secs()
            )));
        }
        tracing::info!(upstream = service, instance = id.instance, %address, "registered");
        entries.known.push(Entry {
            id,
            address,
            renewed: now,
        });
        self.tell(entries, now);
        Ok(true)
    }

    fn deregister(&self, id: InstanceId, now: Instant) {
        let entries = &mut *self.entries.lock();
        let count = entries.known.len();
        entries.known.retain(|known| known.id != id);
        if entries.known.len() < count {
            tracing::info!(
                upstream = id.service,
                instance = id.instance,
                "deregistered"
            );
        }
        // Also if it is not known: its first registration may still be on its way.
        if entries.removed.iter().all(|(removed, _)| *removed != id) {
            if entries.removed.len() >= MAX_REMOVED {
                entries.removed.pop_front();
            }
            entries.removed.push_back((id, now));
        }
        self.tell(entries, now);
    }

    /// Forgets those that were not renewed for too long.
    fn sweep(&self, now: Instant) {
        let entries = &mut *self.entries.lock();
        let pause = now.saturating_duration_since(entries.swept);
        entries.swept = now;
        if pause > FROZEN {
            for known in &mut entries.known {
                known.renewed += pause;
            }
        }
        entries.known.retain(|known| {
            let is_silent = now.saturating_duration_since(known.renewed) >= FORGET_AFTER;
            if is_silent {
                let (upstream, instance) = (known.id.service, known.id.instance.as_str());
                tracing::warn!(upstream, instance, "forgotten: it was not renewed");
            }
            !is_silent
        });
        let is_old =
            |(_, at): &(InstanceId, Instant)| now.saturating_duration_since(*at) >= KEEP_REMOVED;
        while entries.removed.front().is_some_and(is_old) {
            entries.removed.pop_front();
        }
        self.tell(entries, now);
    }

    /// Tells those who follow, if anything is new.
    fn tell(&self, entries: &Entries, now: Instant) {
        let instances = entries.known.iter().map(|known| Registered {
            service: known.id.service.to_owned(),
            instance: known.id.instance.clone(),
            address: known.address,
        });
        let mut instances: Vec<_> = instances.collect();
        instances.sort_unstable();
        let listing = Listing {
            registry: self.told.borrow().registry.clone(),
            complete: now.saturating_duration_since(entries.began) >= FORGET_AFTER,
            instances,
        };
        self.told.send_if_modified(|last| {
            let is_new = *last != listing;
            *last = listing;
            is_new
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(service: &str, instance: &str) -> InstanceId {
        InstanceId::in_path(service, instance).expect("an id")
    }

    fn users(instance: &str) -> InstanceId {
        id("user-service", instance)
    }

    fn at(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn ports(state: &State) -> Vec<u16> {
        let listing = state.told.borrow();
        let ports = listing.instances.iter().map(|one| one.address.port());
        ports.collect()
    }

    #[test]
    fn one_that_is_not_renewed_is_forgotten_after_six_seconds() {
        let start = Instant::now();
        let state = State::new(start);
        assert_eq!(state.register(users("a"), at(1), start), Ok(true));
        assert_eq!(state.register(users("b"), at(2), start), Ok(true));
        for half in 1..=40 {
            let now = start + half * SECOND / 2;
            if half % 4 == 0 {
                assert_eq!(state.register(users("a"), at(1), now), Ok(false));
            }
            state.sweep(now);
            let expected = if half < 12 { vec![1, 2] } else { vec![1] };
            assert_eq!(ports(&state), expected, "after {half} half seconds");
            assert_eq!(state.told.borrow().complete, half >= 12, "{half}");
        }
    }

    #[test]
    fn one_that_was_deregistered_is_not_revived_by_a_late_renewal() {
        let start = Instant::now();
        let state = State::new(start);
        state.register(users("a"), at(1), start).expect("new");
        state.deregister(users("a"), start);
        assert_eq!(ports(&state), [0; 0]);
        let late = state.register(users("a"), at(1), start + 50 * SECOND);
        assert_eq!(late.expect_err("it is gone").status(), 410);
        // The first registration of an instance that has stopped at once.
        state.deregister(users("b"), start);
        let late = state.register(users("b"), at(2), start);
        assert_eq!(late.expect_err("it is gone").status(), 410);
        state.register(users("c"), at(1), start).expect("another");
        state
            .register(id("order-service", "a"), at(3), start)
            .expect("of another service");
        assert_eq!(ports(&state), [3, 1]);

        let mut now = start;
        while now < start + 61 * SECOND {
            now += SWEEP_EVERY;
            state.sweep(now);
        }
        state.register(users("a"), at(1), now).expect("forgotten");
    }

    #[test]
    fn ids_that_were_deregistered_are_bounded() {
        let start = Instant::now();
        let state = State::new(start);
        for number in 0..3 * MAX_REMOVED {
            state.deregister(users(&number.to_string()), start);
        }
        assert_eq!(state.entries.lock().removed.len(), MAX_REMOVED);
        let newest = users(&(3 * MAX_REMOVED - 1).to_string());
        state
            .register(newest, at(1), start)
            .expect_err("it is known");
    }

    #[test]
    fn a_service_has_64_instances_at_most() {
        let start = Instant::now();
        let state = State::new(start);
        for number in 1..=64 {
            let added = state.register(users(&number.to_string()), at(number), start);
            added.expect("there is room");
        }
        let full = state
            .register(users("65"), at(65), start)
            .expect_err("full");
        assert_eq!(full.status(), 507);
        assert_eq!(
            state.register(users("1"), at(1), start),
            Ok(false),
            "renewed"
        );
        state
            .register(id("order-service", "1"), at(99), start)
            .expect("of another service");
        // A process that has taken the place of one that died.
        state
            .register(users("65"), at(64), start)
            .expect("in its place");
        state.deregister(users("1"), start);
        state
            .register(users("66"), at(66), start)
            .expect("there is room again");
    }

    #[test]
    fn at_one_address_there_is_one_instance_of_a_service() {
        let start = Instant::now();
        let state = State::new(start);
        state.register(users("a"), at(1), start).expect("new");
        state
            .register(users("b"), at(1), start)
            .expect("the next process");
        let moved = state.register(users("b"), at(2), start);
        assert_eq!(moved.expect_err("it does not move").status(), 409);
        state
            .register(id("order-service", "c"), at(1), start)
            .expect("a lie");
        let listing = state.told.borrow().clone();
        let ids = listing.instances.iter();
        let ids: Vec<_> = ids
            .map(|one| format!("{} {}", one.service, one.instance))
            .collect();
        assert_eq!(
            ids,
            ["order-service c", "user-service b"],
            "who lies displaces nobody"
        );
    }

    #[test]
    fn a_registry_that_was_frozen_forgets_nobody_for_it() {
        let start = Instant::now();
        let state = State::new(start);
        state.register(users("a"), at(1), start).expect("new");
        let thawed = start + 300 * SECOND;
        state.sweep(thawed);
        assert_eq!(ports(&state), [1]);
        for half in 1..12 {
            state.sweep(thawed + half * SECOND / 2);
        }
        assert_eq!(ports(&state), [1]);
        state.sweep(thawed + 6 * SECOND);
        assert_eq!(ports(&state), [0; 0], "if it is still silent");
    }

    #[test]
    fn only_an_address_of_the_sender_is_taken() {
        let peer = IpAddr::from([10, 0, 0, 7]);
        for (address, is_taken) in [
            ("10.0.0.7:8005", true),
            ("[::ffff:10.0.0.7]:8005", true),
            (" 10.0.0.7:8005 ", true),
            ("10.0.0.8:8005", false),
            ("127.0.0.1:8005", false),
            ("0.0.0.0:8005", false),
            ("[::]:8005", false),
            ("10.0.0.7:0", false),
            ("10.0.0.7:65536", false),
            ("10.0.0.7", false),
            ("gateway:8005", false),
            ("http://10.0.0.7:8005", false),
            ("", false),
        ] {
            let address = Field::Value(address.trim().to_owned());
            let body = RegistrationBody { address };
            let taken = body.address(peer);
            assert_eq!(taken.is_ok(), is_taken, "{taken:?}");
            if let Ok(address) = taken {
                assert_eq!(address.to_string(), "10.0.0.7:8005");
            }
        }
    }

    #[test]
    fn an_instance_has_a_service_of_the_shop_and_a_plain_id() {
        let long = "x".repeat(MAX_ID);
        for (service, instance, is_good) in [
            ("user-service", "1-5f0c3d5e", true),
            ("analytics-service", "A.b_c-9", true),
            ("user-service", &*long, true),
            ("user-service", &*format!("{long}x"), false),
            ("user-service", "", false),
            ("user-service", ".", false),
            ("user-service", "..", false),
            ("user-service", "%2e%2e", false),
            ("user-service", "a b", false),
            ("user-service", "\u{e4}", false),
            ("payment-service", "1", false),
            ("gateway", "1", false),
            ("", "1", false),
        ] {
            let id = InstanceId::in_path(service, instance);
            assert_eq!(id.is_ok(), is_good, "{service} {instance}");
            if let Err(error) = id {
                assert_eq!(error.status(), 404);
            }
        }
    }
}
