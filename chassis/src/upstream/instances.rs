//! The instances of a service, and which of them gets the next request.
//!
//! ```text
//!   source ──▶ instances ──▶ choice ──▶ one request ──▶ how it ended ─┐
//!   a list,        ▲                                                  │
//!   a name, or     └── latency, failures, ejection ◀──────────────────┘
//!   the registry   └── health: asked every 2 s, and at once if a request fails
//! ```
//!
//! | an instance | gets |
//! |---|---|
//! | is ready | requests, as [`Balance`] spreads them |
//! | had three failed connections, or five responses 500, 502 or 503, in a row | none for 5 s, then one that shows whether it is back |
//! | says that it is unavailable, or does not answer three times | none |
//! | was not asked yet | none |
//! | is draining, no longer named by its source, or another service | none, whatever happens |
//!
//! If all are ejected or not ready, the requests go to the least bad ones, so that reads of a
//! service that works in part go on, and one that is back is found by the next request.

pub mod choice;
mod health;
pub mod instance;
pub mod source;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use serde::Serialize;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use utoipa::ToSchema;

use crate::env::Parameter;
use crate::upstream::instances::choice::Balance;
use crate::upstream::instances::instance::{Change, End, Health, Instance};
use crate::upstream::instances::source::{MAX_INSTANCES, Resolver, Source};
use crate::upstream::registry::Registry;
use crate::upstream::url::UpstreamUrl;
use crate::values::time::milliseconds;

/// How instances are watched and chosen.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How requests are spread.
    pub balance: Balance,
    /// Whether an instance is asked for its health even if it is the only one there can be.
    pub ask_only_one: bool,
    /// The pause between two questions for its health.
    pub ask_every: Duration,
    /// The pause after a question that was not answered, and while the instance is gone.
    pub ask_again: Duration,
    /// How long an answer may take, with the connection.
    pub answer_within: Duration,
    /// The pause before a name is resolved again.
    pub resolve_every: Duration,
    /// How long an instance stays ejected.
    pub eject_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            balance: Balance::default(),
            ask_only_one: false,
            ask_every: Duration::from_secs(2),
            ask_again: Duration::from_millis(250),
            answer_within: Duration::from_secs(1),
            resolve_every: Duration::from_secs(5),
            eject_for: Duration::from_secs(5),
        }
    }
}

/// The instances of one service.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use chassis::env::Parameter;
/// use chassis::upstream::instances::source::Source;
/// use chassis::upstream::instances::{Instances, Settings};
///
/// let source = Source::parse("http://127.0.0.1:8001,http://127.0.0.1:9001").unwrap();
/// let users = Instances::new("user-service", &source, Settings::default());
/// let mut picked = users.choose(None).unwrap();
/// picked.failed();
/// let mut other = users.choose(Some(picked.instance())).unwrap();
/// assert_ne!(other.url(), picked.url());
/// other.answered(200);
/// # });
/// ```
#[derive(Debug)]
pub struct Instances {
    service: &'static str,
    shown: String,
    all: Arc<All>,
    settings: Settings,
    turn: AtomicUsize,
    /// What asks for health, and follows the source; it ends with the last request.
    _watching: Vec<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
enum All {
    /// The same ones for ever: read without a lock.
    Fixed(Vec<Arc<Instance>>),
    /// Those of a name or of the registry, which change.
    Named(RwLock<Vec<Arc<Instance>>>),
}

impl All {
    fn with<T>(&self, read: impl FnOnce(&[Arc<Instance>]) -> T) -> T {
        match self {
            Self::Fixed(all) => read(all),
            Self::Named(all) => read(&all.read()),
        }
    }
}

/// What is known about one instance.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceState {
    /// Where it is.
    pub url: String,
    /// What named it: `fixed`, `dns` or `registry`.
    pub source: &'static str,
    /// What it is good for.
    pub state: State,
    /// The requests in flight.
    pub in_flight: u32,
    /// The average time to a response, in milliseconds; null if there was none of late.
    pub latency_ms: Option<f64>,
    /// All requests so far.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
}

/// What an instance is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It gets requests.
    Up,
    /// It does not answer, or says that it is unavailable.
    Down,
    /// It has failed many times in a row.
    Ejected,
    /// It finishes what is in flight and gets nothing new.
    Draining,
}

/// An instance that was chosen for a request. The request is in flight until this is dropped.
#[derive(Debug)]
#[must_use = "the request is in flight until this is dropped"]
pub struct Picked {
    instance: Arc<Instance>,
    service: &'static str,
    began: Instant,
    sent: Option<Sent>,
    is_probe: bool,
    has_ended: bool,
    eject_for: Duration,
}

/// When the body of a request was sent to its end; not set before.
pub type Sent = Arc<OnceLock<Instant>>;

impl Picked {
    /// The instance, to choose another one than this.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Where it is.
    pub fn url(&self) -> &UpstreamUrl {
        self.instance.url()
    }

    /// The request has a body that comes from a client. The time in which the client sends it does
    /// not count for the latency of the instance.
    pub fn waits_for(&mut self, sent: Sent) {
        self.sent = Some(sent);
    }

    /// The head of a response with this status came.
    pub fn answered(&mut self, status: u16) {
        self.ended(End::Answered(status), Instant::now());
    }

    /// There was no connection, or it broke.
    pub fn failed(&mut self) {
        self.ended(End::Failed, Instant::now());
    }

    /// There was no response in time.
    pub fn timed_out(&mut self) {
        self.ended(End::TimedOut, Instant::now());
    }

    /// How long the instance has had the whole request; `None` if it has not had it.
    fn taken(&self, now: Instant) -> Option<Duration> {
        let since = match &self.sent {
            Some(sent) => (*sent.get()?).max(self.began),
            None => self.began,
        };
        Some(now.saturating_duration_since(since))
    }

    fn ended(&mut self, end: End, now: Instant) {
        self.has_ended = true;
        let (taken, is_probe) = (self.taken(now), std::mem::take(&mut self.is_probe));
        let instance = &self.instance;
        let change = instance.ended(end, taken, is_probe, now, self.eject_for);
        let (upstream, url) = (self.service, self.url().as_str());
        match change {
            Change::None => {}
            Change::Ejected => {
                let seconds = self.eject_for.as_secs_f64();
                tracing::warn!(
                    upstream,
                    url,
                    "the instance gets no requests for {seconds} s, after failures in a row"
                );
            }
            Change::Returned => tracing::info!(upstream, url, "the instance gets requests again"),
        }
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        if !self.has_ended {
            self.ended(End::Abandoned, Instant::now());
        }
        self.instance.leave();
    }
}

impl Instances {
    /// Those of `service` that `source` names.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, unless there is only one and nobody asks for its health:
    /// several are watched by tasks.
    pub fn new(service: &'static str, source: &Source, settings: Settings) -> Self {
        let (known, kind, now) = (source.known(), source.kind(), Instant::now());
        let is_watched = match source {
            Source::Fixed(urls) => urls.len() > 1 || settings.ask_only_one,
            // Itself, until its addresses are known.
            Source::Dns(..) | Source::Registry(_) => false,
        };
        let new = |url: &UpstreamUrl| Instance::new(url.clone(), kind, is_watched, now);
        let known: Vec<_> = known.iter().map(|url| Arc::new(new(url))).collect();
        let named = |known| {
            let all = Arc::new(All::Named(RwLock::new(known)));
            let following = Following {
                service,
                source: kind,
                settings,
                all: Arc::clone(&all),
                watching: Vec::new(),
            };
            (all, following)
        };
        let (all, watching) = match source {
            Source::Fixed(_) => {
                let watched = known.iter().filter(|_| is_watched);
                let watching = watched.map(|instance| watch(instance, service, settings));
                let watching = watching.collect();
                (Arc::new(All::Fixed(known)), watching)
            }
            Source::Dns(url, resolver) => {
                let (all, following) = named(known);
                let following = tokio::spawn(following.name(url.clone(), resolver.clone()));
                (all, vec![AbortOnDropHandle::new(following)])
            }
            Source::Registry(registry) => {
                let (all, following) = named(known);
                let following = tokio::spawn(following.registry(registry.clone()));
                (all, vec![AbortOnDropHandle::new(following)])
            }
        };
        Self {
            service,
            shown: source.shown(),
            all,
            settings,
            turn: AtomicUsize::new(0),
            _watching: watching,
        }
    }

    /// The instance for the next request, another one than `except`. `None` if there is no
    /// other, or none that may get a request: [`none_left`](Self::none_left) says why.
    pub fn choose(&self, except: Option<&Instance>) -> Option<Picked> {
        self.choose_at(Instant::now(), except)
    }

    fn choose_at(&self, now: Instant, except: Option<&Instance>) -> Option<Picked> {
        let (instance, is_probe) = self.all.with(|all| {
            // A repeated request is no probe: it should succeed.
            let probed = match except {
                None => all.iter().find(|one| one.begins_probe(now)),
                Some(_) => None,
            };
            let balance = self.settings.balance;
            let chosen = probed.or_else(|| balance.choose(all, except, &self.turn, now))?;
            chosen.begin();
            Some((Arc::clone(chosen), probed.is_some()))
        })?;
        Some(Picked {
            instance,
            service: self.service,
            began: now,
            sent: None,
            is_probe,
            has_ended: false,
            eject_for: self.settings.eject_for,
        })
    }

    /// The instance at `url`, for a request that must go to no other.
    pub fn pick(&self, url: &str) -> Option<Picked> {
        let instance = self.all.with(|all| {
            let found = all.iter().find(|one| one.url().as_str() == url)?;
            found.begin();
            Some(Arc::clone(found))
        })?;
        Some(Picked {
            instance,
            service: self.service,
            began: Instant::now(),
            sent: None,
            is_probe: false,
            has_ended: false,
            eject_for: self.settings.eject_for,
        })
    }

    /// Why none of them may get a request.
    pub fn none_left(&self) -> &'static str {
        if self.all.with(<[_]>::is_empty) {
            "none of its instances is registered"
        } else {
            "each of its instances shuts down, or is another service"
        }
    }

    /// What is known about each.
    pub fn states(&self) -> Vec<InstanceState> {
        let now = Instant::now();
        self.all.with(|all| {
            let states = all.iter().map(|one| InstanceState {
                url: one.url().as_str().to_owned(),
                source: one.source(),
                state: State::of(one),
                in_flight: one.in_flight(),
                latency_ms: one.latency(now).map(milliseconds),
                requests: one.requests(),
                failures: one.failures(),
            });
            states.collect()
        })
    }

    /// The name of the service.
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// Where they are found, as in the configuration.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

impl State {
    fn of(instance: &Instance) -> Self {
        match instance.health() {
            _ if instance.is_leaving() => Self::Draining,
            Health::Draining => Self::Draining,
            // It has stopped accepting, and still does what it accepted before.
            Health::Gone if instance.in_flight() > 0 => Self::Draining,
            Health::Gone | Health::Silent | Health::Mistaken | Health::Unavailable => Self::Down,
            _ if instance.is_ejected() => Self::Ejected,
            Health::Ready | Health::Unasked => Self::Up,
        }
    }
}

fn watch(
    instance: &Arc<Instance>,
    service: &'static str,
    settings: Settings,
) -> AbortOnDropHandle<()> {
    let watching = health::watch(Arc::clone(instance), service, settings);
    AbortOnDropHandle::new(tokio::spawn(watching))
}

/// Instances that change with their source.
struct Following {
    service: &'static str,
    source: &'static str,
    settings: Settings,
    all: Arc<All>,
    watching: Vec<Watched>,
}

impl Following {
    /// Resolves a name again and again: there is an instance at each of its addresses. While that
    /// fails, the instances stay the same.
    async fn name(mut self, url: UpstreamUrl, resolver: Resolver) {
        let (upstream, name) = (self.service, url.as_str());
        let mut is_resolved = true;
        loop {
            match self.resolve(&url, &resolver).await {
                Ok(urls) => {
                    if !is_resolved {
                        tracing::info!(upstream, name, "the name is resolved again");
                    }
                    is_resolved = true;
                    self.update(urls, |_| true);
                }
                Err(error) => {
                    if is_resolved {
                        tracing::warn!(
                            upstream, name, %error,
                            "the name is not resolved, the last known addresses stay in use"
                        );
                    }
                    is_resolved = false;
                }
            }
            sleep(self.settings.resolve_every).await;
        }
    }

    /// Follows what is registered, until the registry is gone. A registry that has just started
    /// does not know all instances yet: one that it has not named stays.
    async fn registry(mut self, registry: Registry) {
        let mut listings = registry.follow();
        let (mut run, mut named) = (String::new(), BTreeSet::new());
        loop {
            let listing = listings.borrow_and_update().clone();
            if listing.registry != run {
                run = listing.registry;
                named.clear();
            }
            let all = listing.instances.into_iter();
            let ours = all.filter(|one| one.service == self.service);
            let urls: Vec<_> = ours.map(|one| UpstreamUrl::of(one.address)).collect();
            let urls = self.bounded(urls);
            if listing.complete {
                // It is about all there are.
                named.clear();
            }
            named.extend(urls.iter().map(|url| url.as_str().to_owned()));
            self.update(urls, |url| listing.complete || named.contains(url.as_str()));
            // Those that are leaving go when their last request has ended.
            let changed = timeout(self.settings.resolve_every, listings.changed()).await;
            if let Ok(Err(_)) = changed {
                return;
            }
        }
    }

    /// The URL of each address. Without a time-out: the resolver of the system has one, and to
    /// stop waiting would leave its thread behind.
    async fn resolve(
        &self,
        url: &UpstreamUrl,
        resolver: &Resolver,
    ) -> Result<Vec<UpstreamUrl>, String> {
        let (resolver, url) = (resolver.clone(), url.clone());
        let resolving = tokio::task::spawn_blocking(move || {
            let (host, port) = url.host_and_port();
            resolver.resolve(host, port)
        });
        let addresses = resolving.await.map_err(|died| died.to_string())?;
        let mut addresses = addresses.map_err(|error| error.to_string())?;
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return Err("it has no address".to_owned());
        }
        Ok(self.bounded(addresses.into_iter().map(UpstreamUrl::of).collect()))
    }

    /// The first of many.
    fn bounded(&self, mut urls: Vec<UpstreamUrl>) -> Vec<UpstreamUrl> {
        if urls.len() > MAX_INSTANCES {
            let (upstream, count) = (self.service, urls.len());
            tracing::warn!(upstream, count, "only {MAX_INSTANCES} addresses are used");
            urls.truncate(MAX_INSTANCES);
        }
        urls
    }

    /// Makes those at `urls` instances. Another one stays, unless it `is_gone`; then it stays until
    /// its requests have ended, as far as there is room.
    fn update(&mut self, urls: Vec<UpstreamUrl>, is_gone: impl Fn(&UpstreamUrl) -> bool) {
        let All::Named(all) = &*self.all else {
            return;
        };
        let (upstream, now) = (self.service, Instant::now());
        let mut all = all.write();
        for instance in all.iter() {
            let is_named = urls.contains(instance.url());
            let is_gone = !is_named && (instance.is_leaving() || is_gone(instance.url()));
            if is_gone != instance.is_leaving() {
                let url = instance.url().as_str();
                let what = if is_gone { "is gone" } else { "is back" };
                tracing::info!(upstream, url, "the address of an instance {what}");
            }
            instance.set_leaving(is_gone);
        }
        for url in urls {
            if all.iter().all(|instance| *instance.url() != url) {
                tracing::info!(
                    upstream,
                    url = url.as_str(),
                    "the address of an instance is new"
                );
                all.push(Arc::new(Instance::new(url, self.source, true, now)));
            }
        }
        all.retain(|instance| !instance.is_leaving() || instance.in_flight() > 0);
        all.sort_by_key(|instance| instance.is_leaving());
        all.truncate(MAX_INSTANCES);

        let watching = &mut self.watching;
        watching.retain(|watched| !watched.instance.is_leaving());
        for instance in all.iter().filter(|instance| !instance.is_leaving()) {
            let mut watched = watching.iter();
            if watched.all(|watched| !Arc::ptr_eq(&watched.instance, instance)) {
                watching.push(Watched {
                    instance: Arc::clone(instance),
                    _watching: watch(instance, self.service, self.settings),
                });
            }
        }
    }
}

/// An instance and the task that asks for its health.
struct Watched {
    instance: Arc<Instance>,
    _watching: AbortOnDropHandle<()>,
}

#[cfg(test)]
mod tests;
