//! A trace as `GET /api/analytics/traces/{id}` shows it, and the rows that are drawn of it.

use std::collections::HashMap;

use serde::Deserialize;

/// A request, with all that is known of its way through the shop.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// The id of the whole trace.
    pub trace_id: String,
    /// The id of the request.
    pub request_id: String,
    /// When it began.
    pub start: String,
    /// How long all of it took.
    pub duration_ms: f64,
    /// The spans in the order in which they are drawn.
    pub spans: Vec<Span>,
    /// How much of it is shown, if not all.
    pub cut: Option<Cut>,
    /// The services that could not be asked.
    pub unavailable: Vec<String>,
}

/// How much of a trace is shown.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Cut {
    /// So many spans.
    pub shown: usize,
    /// Of so many.
    pub of: usize,
}

/// A request that a service answered, or a call that it made.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// Its id.
    pub span_id: String,
    /// The id of the span that it is a part of.
    pub parent_id: Option<String>,
    /// How many spans it is below.
    pub depth: usize,
    /// The service that recorded it.
    pub service: String,
    /// What was done.
    pub name: String,
    /// A request or a call.
    pub kind: Kind,
    /// When it began, after the start of the trace.
    pub offset_ms: f64,
    /// How long it took.
    pub duration_ms: f64,
    /// The status of the response.
    pub status: Option<u16>,
    /// What else is known.
    pub attributes: Attributes,
    /// How long a call took outside of this request.
    pub gap_ms: Option<f64>,
    /// Whether it overlaps with another one below the same parent.
    pub concurrent: bool,
    /// Whether no service knows its parent.
    pub parent_missing: bool,
    /// By how much its start was moved, because clocks differ.
    pub shifted_ms: f64,
}

/// The two kinds of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A request that the service answered.
    Server,
    /// An attempt of a call to another service.
    Client,
}

/// What else is known of a span.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attributes {
    /// The path of the record that a request created.
    pub created: Option<String>,
    /// The service that is called.
    pub dependency: Option<String>,
    /// The number of the attempt.
    pub attempt: Option<u32>,
    /// The circuit to that service before the call.
    pub circuit: Option<String>,
    /// Why the call failed.
    pub failure: Option<String>,
    /// Why nothing was sent.
    pub not_made: Option<String>,
}

impl Span {
    /// When it ended.
    pub fn end_ms(&self) -> f64 {
        self.offset_ms + self.duration_ms
    }

    /// The service that does the work: the one that is called, for a call.
    pub fn worker(&self) -> &str {
        self.attributes
            .dependency
            .as_deref()
            .unwrap_or(&self.service)
    }

    /// Whether something went wrong: a status of 500 or more, a call that failed or that was not
    /// made. A refusal is an answer.
    pub fn went_wrong(&self) -> bool {
        let failure = self.attributes.failure.as_deref();
        self.status.is_some_and(|status| status >= 500)
            || failure.is_some_and(|failure| failure != "refused")
            || self.attributes.not_made.is_some()
    }

    /// The outcome in a word or two: the status, if there is one.
    pub fn outcome(&self) -> String {
        if self.attributes.not_made.is_some() {
            return "not made".to_owned();
        }
        match (self.status, self.attributes.failure.as_deref()) {
            // A response that did not arrive whole, or that is not what it should be.
            (Some(status), Some(failure @ ("broken" | "unusable" | "timed_out"))) => {
                format!("{status} {}", in_words(failure))
            }
            (Some(status), _) => status.to_string(),
            (None, Some(failure)) => in_words(failure),
            (None, None) => "no answer".to_owned(),
        }
    }

    /// Why nothing was sent, as a sentence.
    pub fn why_not_made(&self) -> Option<String> {
        let service = short(self.worker());
        Some(match self.attributes.not_made.as_deref()? {
            "circuit_open" => format!("circuit to {service} is open: nothing was sent"),
            "bulkhead_full" => {
                format!("as many calls to {service} as may be are in flight: nothing was sent")
            }
            other => format!("{}: nothing was sent", in_words(other)),
        })
    }
}

/// `timed_out` in words.
pub fn in_words(code: &str) -> String {
    code.replace('_', " ")
}

/// The name of a service without what all of them have.
pub fn short(service: &str) -> &str {
    service.strip_suffix("-service").unwrap_or(service)
}

/// What is drawn in one line of a waterfall: a span, or a call with the request that answered it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The span, or the call.
    pub span: &'a Span,
    /// The request that answered the call.
    pub answer: Option<&'a Span>,
    /// How many rows it is below.
    pub depth: usize,
    /// Whether no further row has the same parent.
    pub is_last: bool,
}

impl<'a> Row<'a> {
    /// What names the row: the request, where there is one.
    pub fn named(&self) -> &'a Span {
        self.answer.unwrap_or(self.span)
    }
}

impl Trace {
    /// The rows of the trace. A call whose only child is the request that answered it is one row
    /// with it, if they agree on the outcome.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let below = self.children();
        let mut merged = vec![false; self.spans.len()];
        let mut rows: Vec<Row<'_>> = Vec::with_capacity(self.spans.len());
        // The depth in rows of the spans above the current one.
        let mut depths: Vec<usize> = Vec::new();
        for (n, span) in self.spans.iter().enumerate() {
            // Depths come from outside, so none is trusted.
            depths.truncate(span.depth);
            let depth = depths.last().map_or(0, |above| above + 1);
            if merged[n] {
                // What is below it is below the row of its call.
                depths.push(depth.saturating_sub(1));
                continue;
            }
            let answer = below.get(&n).and_then(|children| match children[..] {
                [child] if agree(span, &self.spans[child]) => Some(child),
                _ => None,
            });
            if let Some(child) = answer {
                merged[child] = true;
            }
            depths.push(depth);
            rows.push(Row {
                span,
                answer: answer.map(|child| &self.spans[child]),
                depth,
                is_last: true,
            });
        }
        // A row is not the last of its parent if one of the same depth follows before a higher one.
        let mut follows: Vec<bool> = Vec::new();
        for row in rows.iter_mut().rev() {
            follows.resize(row.depth + 1, false);
            row.is_last = !std::mem::replace(&mut follows[row.depth], true);
        }
        rows
    }

    /// The places of the spans below each, by the depths.
    fn children(&self) -> HashMap<usize, Vec<usize>> {
        let mut below: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut above: Vec<usize> = Vec::new();
        for (n, span) in self.spans.iter().enumerate() {
            above.truncate(span.depth);
            if let Some(parent) = above.last() {
                below.entry(*parent).or_default().push(n);
            }
            above.push(n);
        }
        below
    }

    /// The place of the parent of each span, by the depths.
    pub fn parents(&self) -> Vec<Option<usize>> {
        let mut parents = vec![None; self.spans.len()];
        for (parent, children) in self.children() {
            for child in children {
                parents[child] = Some(parent);
            }
        }
        parents
    }
}

/// Whether `request` is what answered `call`, with the outcome that the caller saw.
fn agree(call: &Span, request: &Span) -> bool {
    (call.kind, request.kind) == (Kind::Client, Kind::Server)
        && call.worker() == request.service
        && call.status == request.status
        && !call.outcome().contains(' ')
        && request.end_ms() <= call.end_ms() + 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(depth: usize, service: &str, kind: &str, status: Option<u16>) -> Span {
        let is_call = kind == "client";
        serde_json::from_value(serde_json::json!({
            "spanId": "1", "parentId": null, "depth": depth, "service": service, "name": "n",
            "kind": kind, "offsetMs": 0.0, "durationMs": 1.0, "status": status,
            "attributes": if is_call { serde_json::json!({"dependency": "b"}) } else { serde_json::json!({}) },
            "gapMs": null, "concurrent": false, "parentMissing": false, "shiftedMs": 0.0,
        }))
        .expect("a span")
    }

    fn trace(spans: Vec<Span>) -> Trace {
        Trace {
            trace_id: "1".to_owned(),
            request_id: "demo-1".to_owned(),
            start: String::new(),
            duration_ms: 1.0,
            spans,
            cut: None,
            unavailable: Vec::new(),
        }
    }

    #[test]
    fn a_call_is_one_row_with_the_request_that_answered_it() {
        let trace = trace(vec![
            span(0, "a", "server", Some(200)),
            span(1, "a", "client", Some(200)),
            span(2, "b", "server", Some(200)),
            span(3, "b", "client", None),
            span(1, "a", "client", None),
            span(2, "b", "server", Some(200)),
        ]);
        let rows = trace.rows();
        let shown: Vec<_> = rows
            .iter()
            .map(|row| (row.depth, row.answer.is_some(), row.is_last))
            .collect();
        assert_eq!(
            shown,
            [
                (0, false, true),
                (1, true, false),
                (2, false, true),
                // The caller saw no response.
                (1, false, true),
                (2, false, true),
            ]
        );
    }

    #[test]
    fn depths_that_make_no_tree_are_drawn_too() {
        let depths = [7, 0, 9, 3, usize::MAX, 1];
        let spans = depths.map(|depth| span(depth, "a", "server", None));
        let trace = trace(spans.to_vec());
        let rows = trace.rows();
        assert_eq!(rows.len(), depths.len());
        assert!(rows.iter().all(|row| row.depth < depths.len()));
    }
}
