//! The latest spans of a service, for the lab: whether or not spans are exported.
//!
//! The memory for all of them is taken at the start. Recording one copies some 300 bytes under a
//! lock that nobody holds for longer than that.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use uuid::Uuid;

use crate::telemetry::context::Context;
use crate::values::time::milliseconds;

/// How many spans are kept.
const MOST: usize = 4096;

/// The longest id of a request.
const ID_LENGTH: usize = 128;

/// The longest path of a record that is kept: `/api/notifications/` and the longest id.
const PATH_LENGTH: usize = 39;

/// The latest spans of a service.
#[derive(Debug)]
pub(crate) struct Recorder {
    service: String,
    spans: Mutex<Spans>,
}

#[derive(Debug)]
struct Spans {
    /// How many there have been.
    count: u64,
    latest: VecDeque<Recorded>,
}

/// A span, without memory of its own.
#[derive(Clone, Debug)]
struct Recorded {
    trace: u128,
    span: u64,
    parent: Option<u64>,
    request_id: [u8; ID_LENGTH],
    id_length: u8,
    start: Timestamp,
    duration: Duration,
    status: Option<u16>,
    what: What,
}

/// What a span is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// A request that this service answers.
    Server {
        /// Its method.
        method: &'static str,
        /// Its route; `None` if no route matches.
        route: Option<&'static str>,
        /// The record that it created, if it did.
        created: Option<Created>,
    },
    /// An attempt of a call to another service.
    Client(Attempt),
}

/// The path of a record that a request created, without memory of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Created {
    path: [u8; PATH_LENGTH],
    length: u8,
}

impl Created {
    /// The path in a `Location`; `None` for one that no record of the shop has.
    pub(crate) fn at(location: &[u8]) -> Option<Self> {
        let length = u8::try_from(location.len()).ok()?;
        let mut path = [0; PATH_LENGTH];
        path.get_mut(..location.len())?.copy_from_slice(location);
        Some(Self { path, length })
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path[..usize::from(self.length)]).into_owned()
    }
}

/// An attempt of a call to another service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// The service.
    pub(crate) dependency: &'static str,
    /// The number of the attempt: 1 for the first.
    pub(crate) number: u32,
    /// The circuit to the service, before the attempt, if there is one.
    pub(crate) circuit: Option<&'static str>,
    /// Whether something was sent.
    pub(crate) was_made: bool,
    /// The reason in one word, if it failed.
    pub(crate) failure: Option<&'static str>,
}

/// When a span has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    at: Timestamp,
    started: Instant,
}

impl Begun {
    /// Now.
    pub(crate) fn now() -> Self {
        Self {
            at: Timestamp::now(),
            started: Instant::now(),
        }
    }
}

/// The spans that are asked for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// Only those of this trace, or of the request with this id.
    pub(crate) of: Option<&'a str>,
    /// Only those after the one with this number.
    pub(crate) after: u64,
    /// The most: the first of them,
    pub(crate) limit: usize,
    /// or the newest, which come first then.
    pub(crate) newest: bool,
}

/// A span as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown<'a> {
    number: u64,
    trace_id: String,
    span_id: String,
    parent_id: Option<String>,
    request_id: String,
    service: &'a str,
    name: String,
    kind: &'static str,
    start: String,
    duration_ms: f64,
    status: Option<u16>,
    attributes: Attributes,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'static str>,
    /// The path of the record that a request created.
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependency: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    circuit: Option<&'static str>,
    /// Why an attempt failed that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
    /// Why a call was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_made: Option<&'static str>,
}

impl Recorder {
    /// A recorder of the spans of `service`, without any.
    pub(crate) fn new(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            spans: Mutex::new(Spans {
                count: 0,
                latest: VecDeque::with_capacity(MOST),
            }),
        }
    }

    /// Records the span `id` below `parent` of the request of `context`, which ends now.
    pub(crate) fn record(
        &self,
        context: &Context,
        (id, parent): (u64, Option<u64>),
        begun: Begun,
        status: Option<u16>,
        what: What,
    ) {
        let text = context.request_id().as_bytes();
        let length = text.len().min(ID_LENGTH);
        let mut request_id = [0; ID_LENGTH];
        request_id[..length].copy_from_slice(&text[..length]);
        let recorded = Recorded {
            trace: context.trace().id,
            span: id,
            parent,
            request_id,
            id_length: u8::try_from(length).unwrap_or(u8::MAX),
            start: begun.at,
            duration: begun.started.elapsed(),
            status,
            what,
        };
        let mut spans = self.spans.lock();
        if spans.latest.len() == MOST {
            spans.latest.pop_front();
        }
        spans.latest.push_back(recorded);
        spans.count += 1;
    }

    /// The spans that are wanted, in the order in which they ended, or in the reverse order.
    pub(crate) fn shown(&self, wanted: &Wanted<'_>) -> Vec<Shown<'_>> {
        let trace = wanted.of.and_then(|id| u128::from_str_radix(id, 16).ok());
        let is_wanted = |one: &Recorded| {
            wanted
                .of
                .is_none_or(|id| Some(one.trace) == trace || one.request_id() == id.as_bytes())
        };
        let spans = self.spans.lock();
        let first = spans.count - spans.latest.len() as u64;
        // Copied under the lock, and made into text after it.
        let skipped = usize::try_from(wanted.after.saturating_sub(first)).unwrap_or(usize::MAX);
        let numbered = spans.latest.iter().enumerate().skip(skipped);
        let numbered = numbered.filter(|(_, one)| is_wanted(one));
        let copied = |(n, one): (usize, &Recorded)| (one.clone(), first + 1 + n as u64);
        let found: Vec<_> = if wanted.newest {
            let numbered = numbered.rev();
            numbered.take(wanted.limit).map(copied).collect()
        } else {
            numbered.take(wanted.limit).map(copied).collect()
        };
        drop(spans);
        let found = found.iter();
        found
            .map(|(one, number)| one.shown(*number, &self.service))
            .collect()
    }

    /// How many spans may be asked for at once.
    pub(crate) const LIMITS: RangeInclusive<usize> = 1..=MOST;
}

impl Recorded {
    fn request_id(&self) -> &[u8] {
        &self.request_id[..usize::from(self.id_length)]
    }

    fn shown<'a>(&self, number: u64, service: &'a str) -> Shown<'a> {
        let (name, kind, attributes) = match self.what {
            What::Server {
                method,
                route,
                created,
            } => (
                route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")),
                "server",
                Attributes {
                    route,
                    created: created.map(|created| created.shown()),
                    ..Attributes::default()
                },
            ),
            What::Client(attempt) => (
                format!("call {}", attempt.dependency),
                "client",
                Attributes {
                    dependency: Some(attempt.dependency),
                    attempt: Some(attempt.number),
                    circuit: attempt.circuit,
                    failure: attempt.failure.filter(|_| attempt.was_made),
                    not_made: attempt.failure.filter(|_| !attempt.was_made),
                    ..Attributes::default()
                },
            ),
        };
        Shown {
            number,
            trace_id: Uuid::from_u128(self.trace).simple().to_string(),
            span_id: format!("{:016x}", self.span),
            parent_id: self.parent.map(|parent| format!("{parent:016x}")),
            request_id: String::from_utf8_lossy(self.request_id()).into_owned(),
            service,
            name,
            kind,
            start: format!("{:.6}", self.start),
            duration_ms: milliseconds(self.duration),
            status: self.status,
            attributes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(after: u64, limit: usize) -> Wanted<'static> {
        Wanted {
            of: None,
            after,
            limit,
            newest: false,
        }
    }

    fn record(recorder: &Recorder, context: &Context) {
        let what = What::Server {
            method: "GET",
            route: Some("/api/things"),
            created: Created::at(b"/api/things/7"),
        };
        recorder.record(context, (7, None), Begun::now(), Some(200), what);
    }

    #[test]
    fn the_latest_are_kept_and_the_memory_does_not_grow() {
        let recorder = Recorder::new("test");
        let context = Context::new(Some("demo-1"), None);
        let capacity = || recorder.spans.lock().latest.capacity();
        let before = capacity();
        for _ in 0..MOST + 10 {
            record(&recorder, &context);
        }
        assert_eq!(capacity(), before);
        let all = recorder.shown(&wanted(0, usize::MAX));
        assert_eq!(all.len(), MOST);
        assert_eq!(
            (all[0].number, all[MOST - 1].number),
            (11, MOST as u64 + 10)
        );
        let some = recorder.shown(&wanted(20, 2));
        assert_eq!(
            some.iter().map(|one| one.number).collect::<Vec<_>>(),
            [21, 22]
        );
        assert!(recorder.shown(&wanted(u64::MAX, 2)).is_empty());
        let newest = recorder.shown(&Wanted {
            newest: true,
            ..wanted(20, 2)
        });
        assert_eq!(
            newest.iter().map(|one| one.number).collect::<Vec<_>>(),
            [MOST as u64 + 10, MOST as u64 + 9]
        );
    }

    #[test]
    fn the_path_of_a_created_record_is_kept_up_to_a_length() {
        let longest = format!("/api/notifications/{}", u64::MAX);
        for (location, kept) in [
            ("/api/orders/7", Some("/api/orders/7")),
            (&longest, Some(&longest)),
            (&format!("{longest}0"), None),
            (&"x".repeat(1000), None),
        ] {
            let created = Created::at(location.as_bytes());
            let shown = created.map(|created| created.shown());
            assert_eq!(shown.as_deref(), kept, "{location}");
        }
    }

    /// The fastest of many rounds, which nothing else disturbed. A debug build is several times
    /// slower than the release build that the promise is about.
    #[test]
    fn recording_a_span_takes_less_than_three_microseconds() {
        const ROUND: u32 = 1000;
        let recorder = Recorder::new("test");
        let context = Context::new(Some("demo-1"), None);
        let rounds = (0..50).map(|_| {
            let begun = Instant::now();
            for _ in 0..ROUND {
                record(&recorder, &context);
            }
            begun.elapsed() / ROUND
        });
        let fastest = rounds.min().expect("fifty");
        println!("{fastest:?} a span");
        assert!(fastest < Duration::from_micros(3), "{fastest:?}");
    }
}
