//! Faults: what goes wrong on purpose, for a share of the requests to a route.
//!
//! Whether a fault hits a request follows from its seed and from the number of the request among
//! those that match the fault. So the same seed has the same effect on each machine, whatever
//! else happens at the same time.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::contract::api::{Api, Route};
use crate::contract::body::{self, Field, FieldType, Form, text, whole};
use crate::contract::cut::Cut;
use crate::contract::error::{ApiError, FieldError};
use crate::contract::reply::Reply;
use crate::telemetry::context::Context;
use crate::values::text::shortened;

/// The most faults at a time.
const MOST: usize = 64;

/// The longest latency, in milliseconds.
const LONGEST: u32 = 60_000;

/// How long a fault lasts if nothing else is said, and at most, in seconds.
const USUAL_SECONDS: u32 = 600;
const MOST_SECONDS: u32 = 60 * 60;

/// The methods that are never affected: a browser sends `OPTIONS` when it likes, and a response
/// to `HEAD` has no body that could go wrong.
const SPARED: [&str; 2] = ["HEAD", "OPTIONS"];

/// The active faults of a service.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Whether there are some: what every request asks.
    some: AtomicBool,
    active: Mutex<Vec<Arc<Fault>>>,
}

/// A fault.
#[derive(Debug)]
pub(crate) struct Fault {
    given: Given,
    kind: Kind,
    /// `None` for every method.
    method: Option<String>,
    /// `None` for every route.
    template: Option<String>,
    ends: Instant,
    /// Cancelled when it is removed.
    removed: CancellationToken,
    matched: AtomicU64,
    hit: AtomicU64,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The request waits, for so many milliseconds.
    Latency(u32, u32),
    /// An error instead of what the handler would answer.
    Status(u16),
    /// No response, until the fault ends.
    Hang,
    /// No response; the connection is closed.
    Close,
    /// Text that is not JSON.
    Text,
    /// JSON that nobody expects.
    OtherJson,
    /// The handler does its work, and its response is cut.
    Cut(Cut),
}

/// A fault as it was set.
#[derive(Clone, Debug, Serialize)]
struct Given {
    route: String,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    share: f64,
    seed: u64,
    seconds: u32,
}

/// A fault as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    #[serde(flatten)]
    given: Given,
    /// How long it will last.
    seconds_left: u64,
    /// The requests that it could have hit, and those that it has.
    matched: u64,
    hit: u64,
}

/// The JSON of a fault that `GET` shows and `PUT` ignores, so that a client can send again what
/// it got.
const ONLY_SHOWN: [&str; 3] = ["secondsLeft", "matched", "hit"];

#[derive(Serialize)]
struct Unexpected {
    unexpected: [&'static str; 2],
}

impl Faults {
    /// Whether there may be some.
    pub(crate) fn any(&self) -> bool {
        self.some.load(Ordering::Relaxed)
    }

    /// Replaces all faults. The requests that the old ones hold are let go.
    pub(crate) fn replace(&self, faults: Vec<Fault>) {
        let faults: Vec<_> = faults.into_iter().map(Arc::new).collect();
        let mut active = self.active.lock();
        self.some.store(!faults.is_empty(), Ordering::Relaxed);
        let removed = mem::replace(&mut *active, faults);
        drop(active);
        for fault in removed {
            fault.removed.cancel();
        }
    }

    /// The active faults.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        self.remaining().iter().map(|fault| fault.shown()).collect()
    }

    fn remaining(&self) -> Vec<Arc<Fault>> {
        let mut active = self.active.lock();
        let now = Instant::now();
        active.retain(|fault| fault.ends > now);
        self.some.store(!active.is_empty(), Ordering::Relaxed);
        active.clone()
    }

    /// Lets the faults act on a request. Returns how its response is to be cut, if it is; the
    /// error is what takes the place of its response. `stopping` ends when the service is to
    /// stop.
    pub(crate) async fn act(
        &self,
        context: &Context,
        method: &str,
        route: &Route,
        stopping: impl Future<Output = ()>,
    ) -> Result<Option<Cut>, Reply> {
        if SPARED.contains(&method) {
            return Ok(None);
        }
        // Each counts the request, whatever the others do to it.
        let hits: Vec<_> = self
            .remaining()
            .into_iter()
            .filter(|fault| fault.matches(method, route))
            .filter_map(|fault| fault.draw().map(|number| (fault, number)))
            .collect();
        let mut cut = None;
        let mut stopping = std::pin::pin!(stopping);
        for (fault, number) in hits {
            let failed =
                || context.record_cause(format!("a fault of the lab: {}", fault.given.kind));
            let instead = |reply: &dyn Fn() -> Reply| Err(context.clone().enter(reply));
            match fault.kind {
                Kind::Latency(from, to) => {
                    let latency = fault.latency(number, from, to);
                    tokio::select! {
                        () = sleep(latency) => {}
                        () = fault.removed.cancelled() => {}
                        () = stopping.as_mut() => {}
                    }
                }
                Kind::Hang => {
                    failed();
                    tokio::select! {
                        () = sleep_until(fault.ends) => {}
                        () = fault.removed.cancelled() => {}
                        () = stopping.as_mut() => {}
                    }
                    return Err(Reply::none());
                }
                Kind::Close => {
                    failed();
                    return Err(Reply::none());
                }
                Kind::Status(status) => {
                    failed();
                    return instead(&|| ApiError::fault(status).reply());
                }
                Kind::Text => {
                    failed();
                    return instead(&|| {
                        let text: &[u8] = b"<!doctype html><p>This is not JSON.";
                        Reply::ok("application/json", text)
                    });
                }
                Kind::OtherJson => {
                    failed();
                    let unexpected = ["JSON", "of another shape"];
                    return instead(&|| Reply::json(200, &Unexpected { unexpected }));
                }
                Kind::Cut(how) => {
                    failed();
                    cut = Some(how);
                }
            }
        }
        Ok(cut)
    }
}

impl Fault {
    fn matches(&self, method: &str, route: &Route) -> bool {
        let is = |wanted: &Option<String>, it: &str| wanted.as_ref().is_none_or(|one| one == it);
        is(&self.template, &route.template) && is(&self.method, method)
    }

    /// Counts a request that matches. Returns its number if the fault hits it.
    fn draw(&self) -> Option<u64> {
        let number = self.matched.fetch_add(1, Ordering::Relaxed);
        let hits = fraction(self.given.seed, number) < self.given.share;
        hits.then(|| {
            self.hit.fetch_add(1, Ordering::Relaxed);
            number
        })
    }

    fn latency(&self, number: u64, from: u32, to: u32) -> Duration {
        // Another sequence than that of `draw`.
        let part = fraction(!self.given.seed, number);
        let (from, to) = (f64::from(from), f64::from(to));
        Duration::from_secs_f64((from + (to - from) * part) / 1000.0)
    }

    fn shown(&self) -> Shown {
        let left = self.ends.saturating_duration_since(Instant::now());
        Shown {
            given: self.given.clone(),
            seconds_left: left.as_secs(),
            matched: self.matched.load(Ordering::Relaxed),
            hit: self.hit.load(Ordering::Relaxed),
        }
    }
}

/// The `number`th of the fractions from 0 to below 1 that belong to `seed`.
fn fraction(seed: u64, number: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let fraction = (mixed(mixed(seed) ^ number) >> 11) as f64 / (1_u64 << 53) as f64;
    fraction
}

/// `SplitMix64`: bits that look random, and are the same everywhere.
fn mixed(bits: u64) -> u64 {
    let mut bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Reads the body of `PUT /lab/faults`: a list of faults of the routes in `api`.
pub(crate) fn parse(body: &[u8], api: &Api) -> Result<Vec<Fault>, ApiError> {
    let list: Vec<Box<RawValue>> = body::parse_list(body)?;
    if list.len() > MOST {
        return Err(ApiError::validation(vec![FieldError::new(
            "",
            format!("The body has {} faults; {MOST} is the most", list.len()),
        )]));
    }
    let faults = list.iter().enumerate();
    faults
        .map(|(place, json)| fault(place, json, api))
        .collect()
}

/// The fields of one fault that have not been read yet.
struct Fields {
    place: usize,
    rest: BTreeMap<String, Box<RawValue>>,
    form: Form,
}

impl Fields {
    fn name(&self, name: &str) -> String {
        format!("[{}].{name}", self.place)
    }

    fn take<T: FieldType>(&mut self, name: &str) -> Field<T> {
        match self.rest.remove(name) {
            None => Field::Absent,
            Some(json) => Field::read(json.get()),
        }
    }

    fn required<T: FieldType, U>(
        &mut self,
        name: &str,
        check: impl FnOnce(T) -> Result<U, String>,
    ) -> Option<U> {
        let field = self.take(name);
        self.form.required(&self.name(name), field, check)
    }

    fn optional<T: FieldType, U>(
        &mut self,
        name: &str,
        check: impl FnOnce(T) -> Result<U, String>,
    ) -> Option<U> {
        let field = self.take(name);
        self.form.optional(&self.name(name), field, check)
    }

    fn reject(&mut self, name: &str, fault: &str) {
        let name = self.name(name);
        self.form.reject(&name, &format!("{name} {fault}"));
    }

    /// One of `words`; the first of them if it is left out.
    fn word(&mut self, name: &str, words: [&'static str; 2]) -> &'static str {
        let word = self.optional(name, |word: String| {
            let known = words.into_iter().find(|known| *known == word);
            known.ok_or_else(|| format!("must be {:?} or {:?}", words[0], words[1]))
        });
        word.unwrap_or(words[0])
    }

    /// How long a request waits, in milliseconds: `ms`, or `from` and `to`.
    fn latency(&mut self, given: &mut Given) -> Kind {
        let is_given = ["ms", "from", "to"].map(|name| self.rest.contains_key(name));
        let mut number = |name| self.optional(name, whole(0..=LONGEST));
        (given.ms, given.from, given.to) = (number("ms"), number("from"), number("to"));
        if !matches!(is_given, [true, false, false] | [false, true, true]) {
            self.reject(
                "ms",
                "is required for latency, or from and to instead of it",
            );
        }
        let from = given.ms.or(given.from).unwrap_or_default();
        let to = given.ms.or(given.to).unwrap_or(LONGEST);
        if from > to {
            self.reject("to", &format!("must not be less than from, {from}"));
        }
        Kind::Latency(from, to)
    }
}

fn fault(place: usize, json: &RawValue, api: &Api) -> Result<Fault, ApiError> {
    let Ok(rest) = serde_json::from_str(json.get()) else {
        let name = format!("[{place}]");
        let message = format!("{name} is not a fault; send an object with route and kind");
        return Err(ApiError::wrong_type(vec![FieldError::new(name, message)]));
    };
    let mut fields = Fields {
        place,
        rest,
        form: Form::default(),
    };
    for name in ONLY_SHOWN {
        fields.rest.remove(name);
    }
    let route = fields.required("route", |route: String| {
        matcher(&route, api).map(|it| (route, it))
    });
    let share = fields.optional("share", |Share(share)| Ok(share));
    let seed = fields.optional("seed", |Seed(seed)| Ok(seed));
    let seconds = fields.optional("seconds", whole(1..=MOST_SECONDS));
    let kind = fields.required("kind", text(1..=20));
    let ((route, (method, template)), is_known) = match route {
        Some(route) => (route, true),
        None => ((String::new(), (None, None)), false),
    };
    let mut given = Given {
        route,
        kind: kind.unwrap_or_default(),
        ms: None,
        from: None,
        to: None,
        status: None,
        when: None,
        body: None,
        share: share.unwrap_or(1.0),
        seed: seed.unwrap_or(0),
        seconds: seconds.unwrap_or(USUAL_SECONDS),
    };
    let kind = match given.kind.as_str() {
        "latency" => Some(fields.latency(&mut given)),
        "status" => {
            given.status = fields.required("status", whole(400..=599));
            let status = given.status.and_then(|status| u16::try_from(status).ok());
            status.map(Kind::Status)
        }
        "hang" => Some(Kind::Hang),
        "close" => {
            let when = fields.word("when", ["before", "middle"]);
            given.when = Some(when.to_owned());
            Some(match when {
                "middle" => Kind::Cut(Cut::Close),
                _ => Kind::Close,
            })
        }
        "garbage" => {
            let body = fields.word("body", ["text", "json"]);
            given.body = Some(body.to_owned());
            Some(match body {
                "json" => Kind::OtherJson,
                _ => Kind::Text,
            })
        }
        "truncate" => Some(Kind::Cut(Cut::Truncate)),
        "" => None,
        other => {
            let fault = format!(
                "is {:?}; it must be latency, status, hang, close, garbage or truncate",
                shortened(other)
            );
            fields.reject("kind", &fault);
            None
        }
    };
    if kind.is_some()
        && let Some(unknown) = fields.rest.keys().next().cloned()
    {
        let fault = format!("is no field of the kind {}", given.kind);
        fields.reject(&shortened(&unknown), &fault);
    }
    let lasts = Duration::from_secs(given.seconds.into());
    fields.form.finish(|| {
        Some(Fault {
            kind: kind.filter(|_| is_known)?,
            given,
            method,
            template,
            ends: Instant::now() + lasts,
            removed: CancellationToken::new(),
            matched: AtomicU64::new(0),
            hit: AtomicU64::new(0),
        })
    })
}

/// The method and the template that a fault is for; `None` for all.
type Matcher = (Option<String>, Option<String>);

/// Reads `*`, a template, or a method and a template.
fn matcher(route: &str, api: &Api) -> Result<Matcher, String> {
    if route == "*" {
        return Ok((None, None));
    }
    let (method, template) = match route.split_once(' ') {
        Some((method, template)) => (Some(method), template),
        None => (None, route),
    };
    let Some(known) = api.route_called(template) else {
        return Err(format!(
            "is {:?}; it must be *, or a route of GET /openapi.json such as /api/things/{{id}} or \
             GET /api/things/{{id}}",
            shortened(route)
        ));
    };
    if known.is_always_open() {
        return Err(format!("is {template}, which no fault affects"));
    }
    if let Some(method) = method
        && (!known.may_have(method) || SPARED.contains(&method))
    {
        let method = shortened(method);
        let allow = known.allow();
        return Err(format!(
            "has the method {method}, which no fault of {template} can have; the route has {allow}"
        ));
    }
    Ok((method.map(str::to_owned), Some(template.to_owned())))
}

/// A number from 0 to 1.
struct Share(f64);

impl FieldType for Share {
    fn read(json: &str) -> Result<Self, String> {
        let share = json
            .parse()
            .ok()
            .filter(|share| (0.0..=1.0).contains(share));
        share
            .map(Self)
            .ok_or_else(|| "must be a number from 0 to 1".to_owned())
    }
}

/// A whole number.
struct Seed(u64);

impl FieldType for Seed {
    fn read(json: &str) -> Result<Self, String> {
        let seed = json.parse().map(Self);
        seed.map_err(|_| "must be a whole number from 0".to_owned())
    }
}
