//! The requests from outside, found among the spans of all services: their spans have no parent,
//! or one that no service knows.

use std::collections::{HashSet, VecDeque};

use crate::stream::look::Span;
use crate::stream::tick::Recent;

/// The most requests in a tick.
const SHOWN: usize = 20;

/// The most ids of spans that are kept. A parent usually ends right after its children.
const IDS: usize = 8192;

/// The most spans that wait for their parent.
const WAITING: usize = 256;

/// For how many ticks a span waits for its parent.
const TICKS: u32 = 2;

/// What is known about the latest spans.
#[derive(Debug, Default)]
pub struct Roots {
    ids: HashSet<u64>,
    /// The same, oldest first.
    in_order: VecDeque<u64>,
    /// Spans whose parent is not known yet, and for how many more ticks they wait.
    waiting: VecDeque<(Span, u32)>,
}

impl Roots {
    /// The requests from outside among `spans`, which are new since the last tick, and among
    /// those before: the newest, in the order in which they began. If `is_cut`, there were too
    /// many spans to have them all, and an unknown parent says nothing.
    pub fn add(&mut self, spans: Vec<Span>, is_cut: bool) -> Vec<Recent> {
        for span in &spans {
            self.know(&span.span_id);
        }
        let mut found = Vec::new();
        let servers = spans.into_iter().filter(|span| span.kind == "server");
        for span in servers {
            match &span.parent_id {
                None => found.push(span),
                Some(_) if is_cut => {}
                Some(_) => {
                    if self.waiting.len() == WAITING {
                        self.waiting.pop_front();
                    }
                    self.waiting.push_back((span, TICKS));
                }
            }
        }
        if is_cut {
            self.waiting.clear();
        }
        let ids = &self.ids;
        self.waiting.retain_mut(|(span, ticks)| {
            let parent = span.parent_id.as_deref().and_then(id);
            if parent.is_some_and(|parent| ids.contains(&parent)) {
                return false;
            }
            if *ticks == 0 {
                found.push(span.clone());
                return false;
            }
            *ticks -= 1;
            true
        });
        // A text that ends later is one that is later.
        found.sort_by(|one, other| one.start.cmp(&other.start));
        let too_many = found.len().saturating_sub(SHOWN);
        let newest = found.into_iter().skip(too_many);
        newest.map(Recent::from).collect()
    }

    fn know(&mut self, text: &str) {
        let Some(id) = id(text).filter(|id| self.ids.insert(*id)) else {
            return;
        };
        self.in_order.push_back(id);
        if self.in_order.len() > IDS
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

/// The id of a span.
fn id(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

impl From<Span> for Recent {
    fn from(span: Span) -> Self {
        Self {
            trace_id: span.trace_id,
            request_id: span.request_id,
            service: span.service,
            name: span.name,
            status: span.status,
            duration_ms: span.duration_ms,
            start: span.start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(kind: &str, id: u64, parent: Option<u64>) -> Span {
        let hex = |id: u64| format!("{id:016x}");
        Span {
            number: id,
            trace_id: "t".to_owned(),
            span_id: hex(id),
            parent_id: parent.map(hex),
            request_id: hex(id),
            service: "s".to_owned(),
            name: "GET /".to_owned(),
            kind: kind.to_owned(),
            start: hex(id),
            duration_ms: 1.0,
            status: Some(200),
        }
    }

    fn server(id: u64, parent: Option<u64>) -> Span {
        span("server", id, parent)
    }

    /// The requests that are found in each of these ticks.
    fn found(ticks: impl IntoIterator<Item = Vec<Span>>) -> Vec<Vec<u64>> {
        let mut roots = Roots::default();
        let id = |one: Recent| u64::from_str_radix(&one.request_id, 16).expect("an id");
        let ticks = ticks.into_iter();
        ticks
            .map(|spans| roots.add(spans, false).into_iter().map(id).collect())
            .collect()
    }

    #[test]
    fn a_request_without_a_known_parent_is_one_from_outside() {
        for (ticks, expected, reason) in [
            (vec![vec![server(1, None)]], vec![vec![1]], "no parent"),
            (
                vec![vec![
                    server(3, Some(2)),
                    span("client", 2, Some(1)),
                    server(1, None),
                ]],
                vec![vec![1]],
                "the others have one",
            ),
            (
                vec![
                    vec![server(3, Some(2))],
                    vec![span("client", 2, None)],
                    vec![],
                    vec![],
                ],
                vec![vec![], vec![], vec![], vec![]],
                "the parent ends a tick later",
            ),
            (
                vec![
                    vec![span("client", 2, None)],
                    vec![],
                    vec![server(3, Some(2))],
                    vec![],
                ],
                vec![vec![], vec![], vec![], vec![]],
                "the parent gave up before",
            ),
            (
                vec![vec![server(3, Some(9))], vec![], vec![], vec![]],
                vec![vec![], vec![], vec![3], vec![]],
                "nobody knows the parent",
            ),
            (
                vec![(1..=25).rev().map(|id| server(id, None)).collect()],
                vec![(6..=25).collect()],
                "the newest, in order",
            ),
        ] {
            assert_eq!(found(ticks), expected, "{reason}");
        }
    }

    #[test]
    fn nothing_grows() {
        let mut roots = Roots::default();
        for first in (0..100_000).step_by(500) {
            let spans = (first..first + 500).map(|id| server(id, Some(id + 1_000_000)));
            roots.add(spans.collect(), false);
            assert!(roots.waiting.len() <= WAITING);
            assert!(roots.ids.len() <= IDS && roots.in_order.len() <= IDS);
        }
        // Where spans are missing, an unknown parent says nothing.
        assert!(roots.add(vec![server(1, Some(2))], true).is_empty());
        assert!(roots.waiting.is_empty());
    }
}
