//! The current request: its id, its trace and its span.
//!
//! The context travels with the task, not through every signature, so a log line, an
//! error body and an outgoing call anywhere below a handler have the right ids without
//! being given them.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::telemetry::recorder::Recorder;
use crate::telemetry::spans;
use crate::values::headers::{REQUEST_ID, TRACEPARENT, TRACESTATE};

/// The longest `tracestate` that is passed on, in characters, and the most entries in a
/// received one. Entries over `LONG_ENTRY` are the first to go.
const TRACESTATE_MAX: usize = 512;
const MAX_ENTRIES: usize = 32;
const LONG_ENTRY: usize = 128;

/// The flags that the standard defines: sampled, and a random trace id.
const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

tokio::task_local! {
    static CURRENT: Context;
}

/// The ids and the span of one request. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    request_id: String,
    trace: Trace,
    /// The span of the request, disabled if spans are not exported.
    span: Span,
    /// The entries of other tracing systems.
    tracestate: Option<String>,
    cause: OnceLock<String>,
    /// The span of the caller.
    parent: Option<u64>,
    /// What keeps the spans of this request, if something does.
    recorder: Option<Arc<Recorder>>,
}

/// The position of this service in a distributed trace
/// ([W3C Trace Context](https://www.w3.org/TR/trace-context/)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) id: u128,
    pub(crate) span: u64,
    pub(crate) flags: u8,
}

impl Context {
    /// The context of a request with these headers, without a span. An id that is not
    /// 1–128 characters of `[A-Za-z0-9._-]`, or a trace that does not parse, is replaced
    /// by a new one: it would end up in logs and other services.
    pub fn new(request_id: Option<&str>, traceparent: Option<&str>) -> Self {
        Self::received(
            |name| {
                let value = match name {
                    REQUEST_ID => request_id,
                    TRACEPARENT => traceparent,
                    _ => None,
                };
                value.map(str::as_bytes).into_iter()
            },
            Span::none(),
            None,
        )
    }

    /// The context of a received request; `header` finds the values of a header by its name
    /// in lower case, and `span` becomes a child of the caller's span. The sampler decides
    /// whether the trace is recorded; without it, the caller's decision is passed on. `recorder`
    /// keeps the spans of the request.
    pub(crate) fn received<'a, V>(
        header: impl Fn(&'static str) -> V,
        span: Span,
        recorder: Option<Arc<Recorder>>,
    ) -> Self
    where
        V: Iterator<Item = &'a [u8]>,
    {
        let parent = only(header(TRACEPARENT)).and_then(Trace::parse);
        // It means nothing without the parent that it came with.
        let tracestate = parent.and_then(|_| combined(header(TRACESTATE)));
        if let Some(parent) = parent {
            spans::set_parent(&span, parent, tracestate.as_deref());
        }
        let trace = spans::trace(&span).unwrap_or_else(|| Trace::below(parent));
        let request_id = only(header(REQUEST_ID)).filter(|id| is_request_id(id));
        Self(Arc::new(Inner {
            request_id: request_id.map_or_else(|| Uuid::new_v4().to_string(), ToOwned::to_owned),
            trace,
            span,
            tracestate,
            cause: OnceLock::new(),
            parent: parent.map(|parent| parent.span),
            recorder,
        }))
    }

    /// The context of the request that this task answers; outside of a request,
    /// one with new ids.
    pub fn current() -> Self {
        CURRENT
            .try_with(Clone::clone)
            .unwrap_or_else(|_| Self::new(None, None))
    }

    /// Calls `read` with the context of the request that this task answers, if
    /// there is one.
    pub fn with_current<T>(read: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.try_with(read).ok()
    }

    /// Runs `future` as part of this request, in its span.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        let span = self.span().clone();
        CURRENT.scope(self, future).instrument(span)
    }

    /// Runs `work` as part of this request, in its span.
    pub fn enter<T>(self, work: impl FnOnce() -> T) -> T {
        let span = self.span().clone();
        span.in_scope(|| CURRENT.sync_scope(self, work))
    }

    /// The id in `X-Request-Id`.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The id of the whole trace, 32 hexadecimal digits when printed.
    pub fn trace_id(&self) -> impl fmt::Display {
        Uuid::from_u128(self.0.trace.id).simple()
    }

    /// The `traceparent` of this request.
    pub fn traceparent(&self) -> String {
        self.0.trace.traceparent()
    }

    /// The `tracestate` that is passed on to other services.
    pub fn tracestate(&self) -> Option<&str> {
        self.0.tracestate.as_deref()
    }

    pub(crate) fn trace(&self) -> Trace {
        self.0.trace
    }

    /// The span of this request.
    pub(crate) fn span(&self) -> &Span {
        &self.0.span
    }

    /// The span of the caller, if it has sent one.
    pub(crate) fn parent(&self) -> Option<u64> {
        self.0.parent
    }

    /// What keeps the spans of this request, if something does.
    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.0.recorder.as_deref()
    }

    /// Records the cause of a failure for the request's log line; the first wins.
    pub fn record_cause(&self, cause: String) {
        // A second cause follows from the first.
        let _ = self.0.cause.set(cause);
    }

    /// Why the request failed, if it did.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.get().map(String::as_str)
    }
}

/// The value of a header that must be there once: of two, nobody knows which is meant.
fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a str> {
    let value = values.next().filter(|_| values.next().is_none())?;
    str::from_utf8(value).ok()
}

fn is_request_id(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=128).contains(&id.len()) && id.bytes().all(allowed)
}

impl Trace {
    /// Reads `version-trace-parent-flags`. A version above 00 may add fields at the end and
    /// give a meaning to more flags; 00 may not, and ff is forbidden. Flags without a meaning
    /// in 00 are dropped, because 00 is what is passed on.
    fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let [version, trace_id, span_id, flags] =
            [(); 4].map(|()| parts.next().unwrap_or_default());
        let known = version.len() == 2 && is_lower_hex(version) && version != "ff";
        let sized = trace_id.len() == 32 && span_id.len() == 16 && flags.len() == 2;
        let whole = version != "00" || parts.next().is_none();
        if !(known && sized && whole && [trace_id, span_id, flags].into_iter().all(is_lower_hex)) {
            return None;
        }
        let meant = if version == "00" {
            SAMPLED | RANDOM
        } else {
            SAMPLED
        };
        let trace = Self {
            id: u128::from_str_radix(trace_id, 16).ok()?,
            span: u64::from_str_radix(span_id, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()? & meant,
        };
        (trace.id != 0 && trace.span != 0).then_some(trace)
    }

    pub(crate) fn traceparent(self) -> String {
        let Self { id, span, flags } = self;
        // `simple` prints the digits several times faster than the format `{id:032x}` does.
        let id = Uuid::from_u128(id).simple();
        format!("00-{id}-{span:016x}-{flags:02x}")
    }

    /// A new span below `parent`, or at the root of a new, unsampled trace.
    pub(crate) fn below(parent: Option<Self>) -> Self {
        let random = Uuid::new_v4();
        let root = Self {
            id: random.as_u128(),
            span: random.as_u64_pair().1,
            flags: 0,
        };
        match parent {
            Some(parent) => Self {
                span: root.span,
                ..parent
            },
            None => root,
        }
    }
}

/// The `tracestate` that is passed on: the entries of all lines of the header, the newest
/// first, in at most [`TRACESTATE_MAX`] characters. By the standard, one invalid entry or
/// one too many makes all of it invalid.
fn combined<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let mut entries = Vec::new();
    for line in lines {
        for entry in str::from_utf8(line).ok()?.split(',') {
            let entry = entry.trim_matches([' ', '\t']);
            if entry.is_empty() {
                continue;
            }
            if !is_entry(entry) || entries.len() == MAX_ENTRIES {
                return None;
            }
            entries.push(entry);
        }
    }
    // One comma less than entries.
    while entries.iter().map(|entry| entry.len() + 1).sum::<usize>() > TRACESTATE_MAX + 1 {
        let long = entries.iter().rposition(|entry| entry.len() > LONG_ENTRY);
        entries.remove(long.unwrap_or(entries.len() - 1));
    }
    (!entries.is_empty()).then(|| entries.join(","))
}

/// Whether this is `key=value` by the standard's grammar, without white space around it.
fn is_entry(entry: &str) -> bool {
    let Some((key, value)) = entry.split_once('=') else {
        return false;
    };
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let in_key = |byte| first(byte) || b"_-*/@".contains(&byte);
    let in_value = |byte| (b' '..=b'~').contains(&byte) && byte != b'=';
    key.bytes().next().is_some_and(first)
        && key.len() <= 256
        && key.bytes().all(in_key)
        && (1..=256).contains(&value.len())
        && value.bytes().all(in_value)
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_request_id_is_kept_and_a_bad_one_replaced() {
        let long = "x".repeat(128);
        for good in ["a", "demo-1.2_3", &long] {
            assert_eq!(Context::new(Some(good), None).request_id(), good);
        }
        let too_long = "x".repeat(129);
        for bad in ["", "two words", "<script>", "naïve", &too_long] {
            let context = Context::new(Some(bad), None);
            assert!(
                Uuid::parse_str(context.request_id()).is_ok(),
                "{bad:?} became {}",
                context.request_id()
            );
        }
    }

    #[test]
    fn a_trace_goes_on_under_a_span_of_our_own() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let ours = Context::new(None, Some(parent)).traceparent();
        assert!(
            ours.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && ours.ends_with("-01"),
            "{ours}"
        );
        assert_ne!(ours, parent);
    }

    #[test]
    fn a_trace_that_does_not_parse_is_replaced() {
        for (bad, reason) in [
            ("", "empty"),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
                "no flags",
            ),
            (
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                "upper case",
            ),
            (
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                "no trace",
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                "no parent",
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
                "too long for version 00",
            ),
            (
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "a forbidden version",
            ),
            (
                "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "a sign",
            ),
        ] {
            assert_eq!(Trace::parse(bad), None, "{reason}");
        }
        assert!(
            Trace::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some(),
            "a later version may add"
        );
    }

    #[test]
    fn flags_that_version_00_does_not_know_are_dropped() {
        for (version, sent, kept, reason) in [
            ("00", "01", 1, "sampled"),
            ("00", "02", 2, "a random id"),
            ("00", "ff", 3, "these two, and six that have no meaning"),
            (
                "cc",
                "ff",
                1,
                "only sampled means the same in a later version",
            ),
        ] {
            let header = format!("{version}-{:032x}-{:016x}-{sent}", 1, 2);
            let flags = Trace::parse(&header).map(|trace| trace.flags);
            assert_eq!(flags, Some(kept), "{reason}");
        }
    }

    #[test]
    fn of_two_ids_none_is_taken() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let header = |name| {
            let value = if name == REQUEST_ID { "demo-1" } else { parent };
            [value.as_bytes(), &b"\xff"[..]].into_iter()
        };
        let context = Context::received(header, Span::none(), None);
        assert_ne!(context.request_id(), "demo-1");
        assert_ne!(context.trace_id().to_string(), parent[3..35]);
    }

    #[test]
    fn a_tracestate_goes_along_whole_or_not_at_all_up_to_a_bound() {
        let kept = |lines: &[&str]| combined(lines.iter().map(|line| line.as_bytes()));
        let entry = |key: &str, length: usize| {
            let value = "x".repeat(length - key.len() - 1);
            format!("{key}={value}")
        };
        let many = |count| vec!["a=1"; count].join(",");
        let (long, short) = (entry("b", 129), entry("c", 128));
        let full = [short.as_str(); 3].join(",");
        for (lines, expected, reason) in [
            (&["a=1,b@c=x/y z"][..], Some("a=1,b@c=x/y z"), "as it came"),
            (
                &["a=1, \tb=2\t", "\tc=3"],
                Some("a=1,b=2,c=3"),
                "white space",
            ),
            (
                &["a=1", "", ",,", "b= 2"],
                Some("a=1,b= 2"),
                "empty entries",
            ),
            (&[""], None, "nothing"),
            (&[], None, "no header"),
            (&["a=1,?"], None, "one entry without a value"),
            (&["a=1", "B=2"], None, "a key in upper case"),
            (&["a=1,b="], None, "an empty value"),
            (&["a=1,b=2=3"], None, "two values"),
            (&["a=\u{e4}"], None, "not ASCII"),
            (&["a=1\n"], None, "a control character"),
            (&[&many(32)], Some(many(32).as_str()), "as many as may be"),
            (&[&many(32), "b=1"], None, "one entry too many"),
            (
                &[&full, &short, "d=1"],
                Some(full.as_str()),
                "the oldest go first",
            ),
            (
                &[&full, &long, "d=1"],
                Some(&format!("{full},d=1")),
                "a long one goes first",
            ),
            (
                &[&long, &full, "d=1"],
                Some(&format!("{full},d=1")),
                "wherever it is",
            ),
        ] {
            assert_eq!(kept(lines).as_deref(), expected, "{reason}");
        }
        assert_eq!(
            kept(&[&entry("k", 258), &entry("l", 253)]).map(|kept| kept.len()),
            Some(512)
        );
        assert_eq!(kept(&[&entry("k", 259)]), None, "a value of 257 characters");
        let key = "k".repeat(257);
        assert_eq!(kept(&[&entry(&key, 260)]), None, "a key of 257");
    }

    #[tokio::test]
    async fn the_context_is_the_same_all_through_a_request() {
        let context = Context::new(Some("outer"), None);
        let seen = context
            .scope(async { Context::current().request_id().to_owned() })
            .await;
        assert_eq!(seen, "outer");
        assert_ne!(Context::current().request_id(), "outer");
    }
}
