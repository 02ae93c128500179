//! What is asked of each service once a second, while somebody watches.

use std::sync::Arc;
use std::time::Duration;

use chassis::upstream::error::CallError;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::clients::{GATEWAY, Operations, Probe, THIS};
use crate::stream::tick::InstanceNow;

/// How long the answer to `/health` may take: one that hangs is down in the next tick.
const ALIVE: Duration = Duration::from_millis(500);

/// How long all answers of a service may take, so that a poll ends before the next one begins.
const ALL: Duration = Duration::from_millis(800);

/// The most spans of a service that are asked for: the newest ones.
const SPANS: usize = 128;

/// The most instances of a service that are shown. The gateway has no more.
const INSTANCES: usize = 64;

/// What is known from the polls before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// How long the service had been running at its latest answer.
    pub uptime_seconds: Option<u64>,
    /// Whether it said that it has no lab.
    pub has_no_lab: bool,
    /// The number of its latest span.
    pub latest_span: Option<u64>,
    /// Whether it said last that it is ready, if it said that.
    pub readiness: Option<Readiness>,
}

/// What a service says about itself at one moment. Whatever it does not say in time is `None`.
#[derive(Debug)]
pub struct Look {
    /// Its health and metrics.
    pub probe: Arc<Probe>,
    /// What was known about it; nothing, if it has restarted since.
    pub known: Known,
    /// Whether it can do its work.
    pub readiness: Option<Readiness>,
    /// Its faults.
    pub faults: Option<Vec<Value>>,
    /// Its latest spans.
    pub spans: Spans,
    /// If it is the gateway, the services behind it.
    pub behind: Option<Vec<Behind>>,
}

/// The spans of a service since the last poll.
#[derive(Debug)]
pub enum Spans {
    /// There is no lab.
    NoLab,
    /// They are not known.
    Unknown,
    /// The newest ones.
    Newest {
        /// These.
        spans: Vec<Span>,
        /// Whether there were more.
        is_cut: bool,
    },
}

/// A span, as `GET /lab/spans` shows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/faults.md describes them")]
pub struct Span {
    pub number: u64,
    pub trace_id: String,
    pub span_id: String,
    pub parent_id: Option<String>,
    pub request_id: String,
    pub service: String,
    pub name: String,
    pub kind: String,
    pub start: String,
    pub duration_ms: f64,
    pub status: Option<u16>,
}

/// Whether a service can do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// All of it.
    Ready,
    /// Without something it can do without.
    Degraded,
    /// Not now.
    Unavailable,
}

/// The answer of `GET /health/ready`.
#[derive(Deserialize)]
struct Ready {
    status: Readiness,
}

/// The answer of `GET /status` of the gateway.
#[derive(Deserialize)]
struct Status {
    services: Vec<Behind>,
}

/// A service behind the gateway.
#[derive(Debug, Deserialize)]
pub struct Behind {
    /// Its name.
    pub name: String,
    /// Its instances.
    pub instances: Vec<InstanceNow>,
}

impl Look {
    /// Asks a service; for what the lab knows only if `with_lab`. `None` if it does not answer.
    pub async fn at(service: &Operations, known: Known, with_lab: bool) -> Option<Self> {
        let deadline = Instant::now() + ALL;
        let probe = service.probe(ALIVE, ALL).await?;
        let has_restarted = probe.uptime_seconds < known.uptime_seconds;
        let known = if has_restarted {
            Known {
                latest_span: Some(0),
                ..Known::default()
            }
        } else {
            known
        };
        let service = service.before(deadline);
        // One after the other: so its metrics count one request of this poll as in flight.
        let readiness = readiness(&service).await.or(known.readiness);
        let behind = match service.name() {
            GATEWAY => behind(&service).await,
            _ => None,
        };
        let (mut faults, mut spans) = (None, Spans::NoLab);
        if with_lab && !known.has_no_lab {
            let answered = service.json::<Vec<Value>>("/lab/faults").await;
            let is_missing = matches!(answered, Err(CallError::TurnedAway { status: 404, .. }));
            faults = answered.ok();
            if !is_missing {
                spans = latest_spans(&service, known.latest_span).await;
            }
        }
        Some(Self {
            probe: Arc::new(probe),
            known,
            readiness,
            faults,
            spans,
            behind,
        })
    }
}

/// Whether a service can do its work, if it says so. What this service and the gateway can do
/// without the others is clear from the other answers, and asking them would make them ask all
/// services.
async fn readiness(service: &Operations) -> Option<Readiness> {
    if [GATEWAY, THIS].contains(&service.name()) {
        return None;
    }
    match service.json::<Ready>("/health/ready").await {
        Ok(ready) => Some(ready.status),
        Err(CallError::Failed { status: 503, .. }) => Some(Readiness::Unavailable),
        Err(_) => None,
    }
}

/// The services behind the gateway, if it says so.
pub async fn behind(gateway: &Operations) -> Option<Vec<Behind>> {
    let mut services = gateway.json::<Status>("/status").await.ok()?.services;
    for service in &mut services {
        service.instances.truncate(INSTANCES);
    }
    Some(services)
}

/// The spans after the one with the number `after`; without that only the latest one, from which
/// the next poll goes on.
async fn latest_spans(service: &Operations, after: Option<u64>) -> Spans {
    let path = match after {
        Some(after) => format!("/lab/spans?order=desc&limit={SPANS}&after={after}"),
        None => "/lab/spans?order=desc&limit=1".to_owned(),
    };
    match service.json::<Vec<Span>>(&path).await {
        Ok(spans) => Spans::Newest {
            is_cut: spans.len() == SPANS || after.is_none(),
            spans,
        },
        Err(_) => Spans::Unknown,
    }
}
