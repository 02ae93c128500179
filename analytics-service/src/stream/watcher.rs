//! Looks at all services, and says what is there in one tick.

use std::sync::Arc;

use chassis::values::time::Timestamp;
use futures_util::future::join_all;

use crate::clients::{GATEWAY, Operations, THIS};
use crate::stream::look::{Behind, Known, Look, Readiness, Spans};
use crate::stream::numbers::{About, Readings, edges, orders};
use crate::stream::past::Past;
use crate::stream::roots::Roots;
use crate::stream::tick::{Edge, InstanceNow, Recent, ServiceNow, Status, Tick};

/// The services, and what is known about them from the ticks before.
#[derive(Debug)]
pub(super) struct Watcher {
    services: Vec<Watched>,
    past: Arc<Past>,
    with_lab: bool,
    readings: Readings,
    roots: Roots,
}

/// A service.
#[derive(Debug)]
struct Watched {
    operations: Operations,
    about: About,
    known: Known,
    /// The calls of the latest tick in which it answered: so its edges do not vanish with it.
    edges: Vec<Edge>,
}

impl Watcher {
    /// Knows nothing about `services` yet, but for what `past` knows.
    pub(super) fn new(services: Vec<Operations>, past: Arc<Past>, with_lab: bool) -> Self {
        let services = services.into_iter().map(|operations| Watched {
            about: About::new(operations.name(), operations.url().to_owned()),
            operations,
            known: Known::default(),
            edges: Vec::new(),
        });
        Self {
            services: services.collect(),
            past,
            with_lab,
            readings: Readings::default(),
            roots: Roots::default(),
        }
    }

    /// Somebody watches again. What was between is not told: neither spans nor rates.
    pub(super) fn begin(&mut self) {
        for service in &mut self.services {
            service.known.latest_span = None;
        }
        self.roots = Roots::default();
        self.readings = Readings::default();
        self.readings.add(self.past.latest());
    }

    /// Looks at all services at once. The tick as JSON.
    pub(super) async fn tick(&mut self) -> String {
        let at = Timestamp::now();
        let with_lab = self.with_lab;
        let looks = self.services.iter();
        let looks = looks.map(|one| Look::at(&one.operations, one.known, with_lab));
        let mut looks = join_all(looks).await;

        let recent = self.recent(&mut looks);
        let mut all = looks.iter_mut().flatten();
        let behind = all.find_map(|look| look.behind.take());
        let mut calls = Vec::new();
        let mut totals = None;
        let mut services = Vec::with_capacity(self.services.len());
        for (n, (service, look)) in self.services.iter_mut().zip(&mut looks).enumerate() {
            let faults = look.as_mut().and_then(|look| look.faults.take());
            let look = look.as_ref();
            let now = look.map(|look| &*look.probe);
            let before = now.and_then(|now| self.readings.before(n, now));
            match now {
                Some(now) => service.edges = edges(service.about.name, now, before),
                None => service.edges.iter_mut().for_each(Edge::forget),
            }
            calls.extend(service.edges.iter().cloned());
            totals = totals.or_else(|| orders(now?));
            if let Some(look) = look {
                service.learn(look);
            }
            let instances = instances(behind.as_deref(), service.about.name);
            let mut numbers = service.about.numbers(now, before);
            let readiness = look.and_then(|look| look.readiness);
            numbers.status = status(look.is_some(), readiness, instances.as_deref());
            services.push(ServiceNow {
                numbers,
                faults,
                instances,
            });
        }
        judge(&mut services);
        let reading = looks.into_iter().map(|look| Some(look?.probe));
        self.readings.add(reading.collect());
        let tick = Tick {
            at,
            services,
            edges: calls,
            orders: totals,
            recent,
        };
        // It has no keys but strings, and no number that JSON lacks.
        serde_json::to_string(&tick).unwrap_or_else(|_| "{}".to_owned())
    }

    /// The requests from outside that have ended since the last tick.
    fn recent(&mut self, looks: &mut [Option<Look>]) -> Vec<Recent> {
        let (mut all, mut were_cut) = (Vec::new(), false);
        for look in looks.iter_mut().flatten() {
            if let Spans::Newest { spans, is_cut } = &mut look.spans {
                were_cut |= *is_cut;
                let latest = spans.iter().map(|span| span.number).max();
                // What was before somebody watched is not new.
                if look.known.latest_span.is_some() {
                    all.append(spans);
                }
                let before = look.known.latest_span.unwrap_or(0);
                look.known.latest_span = Some(latest.unwrap_or(before));
            }
        }
        self.roots.add(all, were_cut)
    }
}

impl Watched {
    fn learn(&mut self, look: &Look) {
        self.about.learn(&look.probe);
        self.known = Known {
            uptime_seconds: look.probe.uptime_seconds,
            has_no_lab: matches!(look.spans, Spans::NoLab),
            latest_span: look.known.latest_span,
            readiness: look.readiness,
        };
    }
}

/// The instances of a service, if the gateway says which there are.
fn instances(behind: Option<&[Behind]>, name: &str) -> Option<Vec<InstanceNow>> {
    let service = behind?.iter().find(|one| one.name == name)?;
    Some(service.instances.clone())
}

/// What a service is good for, by what it says itself, and by its instances.
fn status(
    answers: bool,
    readiness: Option<Readiness>,
    instances: Option<&[InstanceNow]>,
) -> Status {
    let mut all = instances.unwrap_or_default().iter();
    let is_leaving = all.len() > 0 && all.all(|one| one.state == "draining");
    match readiness {
        _ if is_leaving => Status::Draining,
        _ if !answers => Status::Down,
        Some(Readiness::Degraded) => Status::Degraded,
        Some(Readiness::Unavailable) => Status::Unavailable,
        Some(Readiness::Ready) | None => Status::Up,
    }
}

/// The gateway and this service can do without each of the others. So they are degraded while one
/// of those does not answer.
fn judge(services: &mut [ServiceNow]) {
    let of_the_four = |one: &&ServiceNow| ![GATEWAY, THIS].contains(&one.numbers.name);
    let mut four = services.iter().filter(of_the_four);
    if four.all(|one| one.numbers.status != Status::Down) {
        return;
    }
    for service in services {
        let numbers = &mut service.numbers;
        if [GATEWAY, THIS].contains(&numbers.name) && numbers.status == Status::Up {
            numbers.status = Status::Degraded;
        }
    }
}
