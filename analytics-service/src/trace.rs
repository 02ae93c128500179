//! A trace: the spans of one request in all services, put together into a tree.
//!
//! Pure: it asks nobody. It makes a tree of any spans, also of those that no service of the shop
//! would record, because they come from outside.

mod latest;

use std::collections::HashMap;

use chassis::values::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::spans::{Attributes, Kind, Span};
pub use latest::{Listed, latest};

/// The most spans of a trace that are shown.
pub const MOST: usize = 2000;

/// Spans that overlap for less than this are not concurrent, in microseconds. The clocks of one
/// machine are read one after the other.
const SLACK: i64 = 20;

/// A request, with all that is known of its way through the shop.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// The id of the whole trace.
    #[schema(examples("4bf92f3577b34da6a3ce929d0e0e4736"))]
    pub trace_id: String,
    /// The id of the request.
    #[schema(examples("demo-1"))]
    pub request_id: String,
    /// When its first span began.
    pub start: Timestamp,
    /// From the start of the first span to the end of the last one, in milliseconds.
    #[schema(examples(9.1))]
    pub duration_ms: f64,
    /// The spans in the order in which they are drawn: each below its parent, siblings by their
    /// start.
    pub spans: Vec<TraceSpan>,
    /// How much of the trace is shown, if it is too long to be shown whole.
    pub cut: Option<Cut>,
    /// The services that could not be asked for their spans, or which instance of one.
    #[schema(examples("user-service", "analytics-service (127.0.0.1:8015)"))]
    pub unavailable: Vec<String>,
}

/// How much of a trace is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Cut {
    /// The number of spans that are shown.
    pub shown: usize,
    /// The number of spans that there are.
    pub of: usize,
}

/// A span at its place in the tree.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraceSpan {
    /// Its id.
    #[schema(examples("00f067aa0ba902b7"))]
    pub span_id: String,
    /// The id of the span that it is a part of, if it is a part of one.
    #[schema(examples("b7ad6b7169203331"))]
    pub parent_id: Option<String>,
    /// How many spans it is below.
    #[schema(examples(1))]
    pub depth: usize,
    /// The service that recorded it.
    #[schema(examples("order-service"))]
    pub service: &'static str,
    /// What was done.
    #[schema(examples("POST /api/orders"))]
    pub name: String,
    /// A request that the service answered, or a call that it made.
    pub kind: Kind,
    /// When it began, in milliseconds after the start of the trace.
    #[schema(minimum = 0, examples(0.4))]
    pub offset_ms: f64,
    /// How long it took, in milliseconds.
    #[schema(minimum = 0, examples(8.2))]
    pub duration_ms: f64,
    /// The status of the response, if there was one.
    #[schema(examples(201))]
    pub status: Option<u16>,
    /// What else is known.
    pub attributes: Attributes,
    /// For a request below the call that sent it: how long the call took outside of it, on the
    /// network and in queues, in milliseconds.
    #[schema(minimum = 0, examples(0.3))]
    pub gap_ms: Option<f64>,
    /// Whether it overlaps in time with another one below the same parent.
    pub concurrent: bool,
    /// Whether it names a parent that no service knows, or that is itself below it.
    pub parent_missing: bool,
    /// By how much its start was moved, in milliseconds, because the clocks of the services
    /// differ: without that, it would begin before its parent, or after its parent had the
    /// response. 0 if it was not moved.
    #[schema(examples(0.0))]
    pub shifted_ms: f64,
}

/// The tree of `spans`, which are those of one trace. `None` if there are none.
pub fn tree(spans: Vec<Span>, unavailable: Vec<String>) -> Option<Trace> {
    let spans = once_each(spans);
    let parents = parents(&spans);
    let mut placed = placed(&spans, &parents);
    let first = placed.iter().map(|one| one.start).min()?;
    let last = placed.iter().map(|one| one.end(&spans)).max()?;
    let of = placed.len();
    // Whoever is shown is below somebody who is shown.
    placed.truncate(MOST);
    let cut = (placed.len() < of).then_some(Cut {
        shown: placed.len(),
        of,
    });
    let concurrent = concurrent(&spans, &placed);
    let root = &spans[placed.first()?.span];
    let shown = placed.iter().zip(concurrent).map(|(one, concurrent)| {
        let span = &spans[one.span];
        TraceSpan {
            span_id: span_id(span.id),
            parent_id: span.parent.map(span_id),
            depth: one.depth,
            service: span.service,
            name: span.name.clone(),
            kind: span.kind,
            offset_ms: milliseconds(one.start - first),
            duration_ms: milliseconds(span.duration),
            status: span.status,
            attributes: span.attributes.clone(),
            gap_ms: one.parent.and_then(|parent| {
                let gap = gap(&spans, &placed[parent], one)?;
                Some(milliseconds(gap))
            }),
            concurrent,
            parent_missing: span.parent.is_some() && one.parent.is_none(),
            shifted_ms: milliseconds(one.start - span.start),
        }
    });
    Some(Trace {
        trace_id: trace_id(root.trace),
        request_id: root.request_id.clone(),
        start: Timestamp::at_microseconds(first),
        duration_ms: milliseconds(last - first),
        spans: shown.collect(),
        cut,
        unavailable,
    })
}

/// The spans in an order of their own, whoever answered first; of several with one id, one.
fn once_each(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| (span.id, span.start, span.service));
    spans.dedup_by_key(|span| span.id);
    spans.sort_by_key(|span| (span.start, span.id));
    spans
}

/// The place of the parent of each span. `None` for one without a parent, whose parent is
/// missing, or for the first of those that are below each other in a circle.
fn parents(spans: &[Span]) -> Vec<Option<usize>> {
    let places: HashMap<u64, usize> = spans.iter().map(|span| span.id).zip(0..).collect();
    let parent = |span: &Span| places.get(&span.parent?).copied();
    let mut parents: Vec<_> = spans.iter().map(parent).collect();
    // On which walk each was seen; each is walked over once.
    let mut seen = vec![None; spans.len()];
    for walk in 0..spans.len() {
        let mut at = Some(walk);
        while let Some(span) = at.filter(|span| seen[*span].is_none()) {
            seen[span] = Some(walk);
            at = parents[span];
        }
        if let Some(circle) = at.filter(|span| seen[*span] == Some(walk)) {
            let next = |span: &usize| parents[*span].filter(|next| *next != circle);
            let first = std::iter::successors(Some(circle), next).min();
            // The places are in the order of time.
            parents[first.unwrap_or(circle)] = None;
        }
    }
    parents
}

/// A span at its place in the order in which spans are drawn.
#[derive(Clone, Copy, Debug)]
struct Placed {
    /// Its place among the spans.
    span: usize,
    /// Its parent's place in the order.
    parent: Option<usize>,
    depth: usize,
    /// Its start, in microseconds, on the clock of its parent.
    start: i64,
}

impl Placed {
    fn end(&self, spans: &[Span]) -> i64 {
        self.start + spans[self.span].duration
    }
}

/// The spans, each below its parent, with their clocks corrected.
fn placed(spans: &[Span], parents: &[Option<usize>]) -> Vec<Placed> {
    let mut children = vec![Vec::new(); spans.len()];
    let mut next = Vec::new();
    for (span, parent) in parents.iter().enumerate() {
        match parent {
            Some(parent) => children[*parent].push(span),
            None => next.push(Placed {
                span,
                parent: None,
                depth: 0,
                start: spans[span].start,
            }),
        }
    }
    // The last of them is the next one, so that a deep tree takes no deep stack.
    next.reverse();
    let mut order = Vec::with_capacity(spans.len());
    while let Some(one) = next.pop() {
        let mut below: Vec<_> = children[one.span]
            .iter()
            .map(|child| Placed {
                span: *child,
                parent: Some(order.len()),
                depth: one.depth + 1,
                start: corrected(spans, &one, &spans[*child]),
            })
            .collect();
        below.sort_by_key(|child| (child.start, spans[child.span].id));
        next.extend(below.into_iter().rev());
        order.push(one);
    }
    order
}

/// The start of `child` on the clock of its parent.
///
/// One service has one clock, so that what was corrected for the parent counts for the child.
/// The clock of another service is wrong if the child begins before its parent, or after the
/// parent had the response. Where it really was is unknown: it gets the middle.
fn corrected(spans: &[Span], placed: &Placed, child: &Span) -> i64 {
    let parent = &spans[placed.span];
    let same_clock = child.service == parent.service;
    let start = if same_clock {
        child.start + (placed.start - parent.start)
    } else {
        child.start
    };
    // The statuses that a service answers without a response of its own.
    let has_response = match (parent.kind, parent.status) {
        (Kind::Client, status) => status.is_some(),
        (Kind::Server, status) => status.is_some_and(|status| status < 499),
    };
    let is_early = start < placed.start;
    let is_late = !same_clock && has_response && start > placed.end(spans);
    if is_early || is_late {
        let room = (parent.duration - child.duration).max(0);
        placed.start + if same_clock { 0 } else { room / 2 }
    } else {
        start
    }
}

/// How long the call `parent` took outside of the request `child`; `None` if they are not these.
fn gap(spans: &[Span], parent: &Placed, child: &Placed) -> Option<i64> {
    let (call, request) = (&spans[parent.span], &spans[child.span]);
    if (call.kind, request.kind) != (Kind::Client, Kind::Server) {
        return None;
    }
    // The request may go on after the caller has given up.
    let within = child.end(spans).min(parent.end(spans)) - child.start;
    Some(call.duration - within.max(0))
}

/// Whether each span overlaps in time with another one below the same parent.
fn concurrent(spans: &[Span], placed: &[Placed]) -> Vec<bool> {
    let mut below: HashMap<usize, Vec<usize>> = HashMap::new();
    for (place, one) in placed.iter().enumerate() {
        // In the order of their starts.
        below
            .entry(one.parent.unwrap_or(usize::MAX))
            .or_default()
            .push(place);
    }
    below.remove(&usize::MAX);
    let mut concurrent = vec![false; placed.len()];
    for siblings in below.values() {
        for (n, one) in siblings.iter().enumerate() {
            let end = placed[*one].end(spans);
            let later = siblings[n + 1..].iter();
            for other in later.take_while(|other| placed[**other].start + SLACK < end) {
                if placed[*one].start + SLACK < placed[*other].end(spans) {
                    concurrent[*one] = true;
                    concurrent[*other] = true;
                }
            }
        }
    }
    concurrent
}

fn trace_id(id: u128) -> String {
    format!("{id:032x}")
}

fn span_id(id: u64) -> String {
    format!("{id:016x}")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of thousands of years"
)]
fn milliseconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1e3
}

#[cfg(test)]
mod tests;
