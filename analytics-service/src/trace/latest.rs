//! The latest traces, each in a few words.

use std::collections::HashMap;

use chassis::values::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::spans::Span;
use crate::trace::{milliseconds, trace_id};

/// A trace in a list.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The id of the whole trace.
    #[schema(examples("4bf92f3577b34da6a3ce929d0e0e4736"))]
    pub trace_id: String,
    /// The id of the request.
    #[schema(examples("demo-1"))]
    pub request_id: String,
    /// What was done.
    #[schema(examples("POST /api/orders"))]
    pub name: String,
    /// The service that a client asked.
    #[schema(examples("gateway"))]
    pub service: &'static str,
    /// When the request arrived.
    pub start: Timestamp,
    /// How long it took, in milliseconds.
    #[schema(examples(9.1))]
    pub duration_ms: f64,
    /// The status of the response.
    #[schema(examples(201))]
    pub status: Option<u16>,
    /// The number of its spans.
    #[schema(examples(9))]
    pub spans: usize,
    /// How many of them went wrong: answered with 500 or more, failed, or not made.
    #[schema(examples(0))]
    pub errors: usize,
    /// The services that it touched, by the start of their first span.
    #[schema(examples("gateway", "order-service"))]
    pub services: Vec<&'static str>,
}

/// The latest `limit` traces among `spans`, the newest first. Those of looking at traces are left
/// out.
pub fn latest(spans: Vec<Span>, limit: usize) -> Vec<Listed> {
    let mut traces: HashMap<u128, Vec<Span>> = HashMap::new();
    for span in spans {
        traces.entry(span.trace).or_default().push(span);
    }
    let traces = traces.into_values();
    let traces = traces.filter(|spans| !spans.iter().any(is_look));
    let mut listed: Vec<_> = traces.filter_map(|spans| listed(&spans)).collect();
    listed.sort_by(|(start, one), (other_start, other)| {
        (other_start, &one.trace_id).cmp(&(start, &other.trace_id))
    });
    listed.truncate(limit);
    listed.into_iter().map(|(_, listed)| listed).collect()
}

/// Whether it belongs to somebody who looks at the shop, and not to the shop.
fn is_look(span: &Span) -> bool {
    let route = span.attributes.route.as_deref().unwrap_or_default();
    span.service == "analytics-service"
        && (route.starts_with("/api/analytics/traces") || route == "/api/analytics/stream")
}

/// A trace in a list, and its start in microseconds.
fn listed(spans: &[Span]) -> Option<(i64, Listed)> {
    let known: HashMap<u64, &Span> = spans.iter().map(|span| (span.id, span)).collect();
    let is_root = |span: &&&Span| span.parent.is_none_or(|id| !known.contains_key(&id));
    let mut spans: Vec<&Span> = known.values().copied().collect();
    spans.sort_by_key(|span| (span.start, span.id));
    // If each is below another one, the first.
    let root = spans.iter().find(is_root).or(spans.first())?;
    let mut services = Vec::new();
    for span in &spans {
        if !services.contains(&span.service) {
            services.push(span.service);
        }
    }
    let listed = Listed {
        trace_id: trace_id(root.trace),
        request_id: root.request_id.clone(),
        name: root.name.clone(),
        service: root.service,
        start: Timestamp::at_microseconds(root.start),
        duration_ms: milliseconds(root.duration),
        status: root.status,
        spans: spans.len(),
        errors: spans.iter().filter(|span| span.went_wrong()).count(),
        services,
    };
    Some((root.start, listed))
}
