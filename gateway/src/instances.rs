//! The instances of a service, and which of them gets a request. There is one of each service so
//! far.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chassis::upstream::url::UpstreamUrl;

use crate::connections::Connections;

/// The instances of a service.
#[derive(Debug)]
pub struct Instances {
    /// The name of the service.
    pub service: &'static str,
    only: Arc<Instance>,
}

/// One instance of a service.
#[derive(Debug)]
pub struct Instance {
    /// Its URL.
    pub url: UpstreamUrl,
    /// The connections to it.
    pub connections: Arc<Connections>,
    /// The requests that it has not answered to the end.
    in_flight: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
    /// The time to the head of a response in microseconds, the recent ones weighted more.
    latency: AtomicU64,
}

/// What an instance has done so far.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// The requests that it has not answered to the end.
    pub in_flight: u64,
    /// The requests that were sent to it, and the attempts to connect that failed.
    pub requests: u64,
    /// The failed attempts to connect, the requests without a response, and the 5xx responses.
    pub failures: u64,
    /// The time to the head of a response, the recent ones weighted more. `None` without one.
    pub latency: Option<Duration>,
}

/// A request in flight to an instance, until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    instance: Arc<Instance>,
    began: Instant,
}

impl Instances {
    /// The one instance of `service` at `url`.
    pub fn new(service: &'static str, url: UpstreamUrl) -> Self {
        let only = Instance {
            connections: Connections::new(url.clone()),
            url,
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            latency: AtomicU64::new(0),
        };
        Self {
            service,
            only: Arc::new(only),
        }
    }

    /// The instance for the next request.
    pub fn choose(&self) -> &Arc<Instance> {
        &self.only
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Instance> {
        std::iter::once(&*self.only)
    }
}

impl Instance {
    /// A request to it begins.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        InFlight {
            instance: Arc::clone(self),
            began: Instant::now(),
        }
    }

    /// There is no connection or no response.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// What it has done so far.
    pub fn tally(&self) -> Tally {
        let latency = self.latency.load(Ordering::Relaxed);
        Tally {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            latency: (latency > 0).then(|| Duration::from_micros(latency)),
        }
    }
}

impl InFlight {
    /// The head of the response has come.
    pub fn answered(&self, status: u16) {
        if status >= 500 {
            self.instance.failed();
        }
        let taken = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let weighted = |latency: u64| match latency {
            0 => taken.max(1),
            latency => (latency - latency / 8 + taken / 8).max(1),
        };
        // Two that end at the same moment may lose one of the times, which is only a part of it.
        let latency = &self.instance.latency;
        latency.store(weighted(latency.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// The response has broken off.
    pub fn broke_off(&self) {
        self.instance.failed();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.instance.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
