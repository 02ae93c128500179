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
