//! The traces of the shop, as the spans that each service remembers tell them. It exists only
//! where there is a lab.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chassis::contract::error::{ApiError, FieldError};
use chassis::contract::page::number;
use chassis::contract::reply::Body;
use chassis::serve::service::Service;
use chassis::telemetry::context::Context;
use chassis::upstream::client::{Connections, Upstream};
use chassis::upstream::resilience::Resilience;
use chassis::values::text::shortened;
use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};

use crate::config::Config;
use crate::spans::{Entry, Span};
use crate::trace::{self, Listed, Trace};

/// How long a service may take to show its spans.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The spans that a service is asked for at once. They fit into the largest response that a call
/// reads.
const PAGE: usize = 1000;

/// The pages of one service: all spans that it keeps.
const PAGES: usize = 5;

/// The most requests that look at spans at the same time. Each holds the spans of all services.
const LOOKS: usize = 4;

/// How long one more of them waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// The services that are asked for their spans.
#[derive(Debug)]
pub struct Traces {
    others: Vec<Upstream>,
    own: Arc<Service>,
    turns: Semaphore,
}

/// The latest traces.
#[derive(Debug, Serialize, ToSchema)]
pub struct Latest {
    /// The traces, newest first.
    pub traces: Vec<Listed>,
    /// The services that could not be asked for their spans.
    #[schema(examples("user-service"))]
    pub unavailable: Vec<&'static str>,
}

/// The spans of all services, and the services that could not be asked.
type Asked = (Vec<Span>, BTreeSet<&'static str>);

impl Traces {
    /// The traces of the services that `config` names, and of `own`, which is this one.
    pub fn new(config: &Config, own: &Arc<Service>) -> Self {
        // Whoever looks at a shop that is broken must not be kept from it by a circuit, and the
        // metrics of calls are about what the shop does.
        let resilience = Resilience {
            timeout: TIMEOUT,
            deadline: TIMEOUT,
            retries: 0,
            circuit: None,
            bulkhead: None,
            ..config.resilience
        };
        let http = Connections::new();
        let services = [
            ("gateway", config.gateway.as_ref()),
            ("user-service", Some(&config.user_service)),
            ("product-service", Some(&config.product_service)),
            ("order-service", Some(&config.order_service)),
            ("notification-service", Some(&config.notification_service)),
        ];
        let services = services.into_iter();
        let others = services.filter_map(|(name, source)| {
            let source = source?;
            Some(Upstream::new(name, source, http.clone(), resilience))
        });
        Self {
            others: others.collect(),
            own: Arc::clone(own),
            turns: Semaphore::new(LOOKS),
        }
    }

    /// The latest `limit` traces, newest first.
    pub async fn latest(&self, limit: usize) -> Result<Latest, ApiError> {
        let _turn = self.turn().await?;
        let (spans, unavailable) = self.ask(&Question::Last).await;
        Ok(Latest {
            traces: trace::latest(spans, limit),
            unavailable: unavailable.into_iter().collect(),
        })
    }

    /// The trace with this id, or of the latest request with it.
    pub async fn find(&self, id: &TraceId) -> Result<Trace, ApiError> {
        let _turn = self.turn().await?;
        let (mut spans, mut unavailable) = self.ask(&Question::Of(id.0.clone())).await;
        let newest = newest(&spans);
        if let Some(trace) = newest.filter(|trace| id.0 != format!("{trace:032x}")) {
            // Other requests of the same trace may have other ids.
            let question = Question::Of(format!("{trace:032x}"));
            let (all, not_asked) = self.ask(&question).await;
            unavailable.extend(not_asked);
            // What one of them did not answer twice is kept.
            spans.extend(all);
        }
        spans.retain(|span| Some(span.trace) == newest);
        let without = unavailable.iter().copied().collect::<Vec<_>>();
        let missing = without.join(", ");
        trace::tree(spans, without).ok_or_else(|| {
            let id = &id.0;
            ApiError::not_found(if missing.is_empty() {
                format!("No service has spans of {id:?}; each keeps its latest 4,096")
            } else {
                format!("No service that can be asked has spans of {id:?}; not asked: {missing}")
            })
        })
    }

    async fn turn(&self) -> Result<impl Drop + '_, ApiError> {
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire()).await;
        let turn = turn.map_err(|_| {
            ApiError::overloaded_by(format_args!("{LOOKS} requests already look at traces"))
        })?;
        turn.map_err(ApiError::internal)
    }

    /// Asks all services at once.
    async fn ask(&self, question: &Question) -> Asked {
        // The same request, without a recorder: looking at spans leaves none.
        let context = Context::new(Some(Context::current().request_id()), None);
        let others = self.others.iter().map(|upstream| async move {
            let spans = pages(question, async |query| {
                let path = format!("/lab/spans?{query}");
                // One deadline for all pages.
                upstream.get(&path).json::<Vec<Entry>>().await.ok()
            });
            let spans = tokio::time::timeout(TIMEOUT, spans).await;
            (upstream.name(), spans.ok().flatten())
        });
        let own = pages(question, async |query| self.own_entries(query));
        let (others, own) = context
            .scope(async { tokio::join!(join_all(others), own) })
            .await;
        let (mut spans, mut unavailable) = (Vec::new(), BTreeSet::new());
        for (service, answer) in others.into_iter().chain([("analytics-service", own)]) {
            match answer {
                Some(entries) => spans.extend(entries.into_iter().map(|entry| entry.of(service))),
                None => drop(unavailable.insert(service)),
            }
        }
        (spans, unavailable)
    }

    /// What this service answers itself.
    fn own_entries(&self, query: &str) -> Option<Vec<Entry>> {
        let reply = self.own.lab()?.spans(query).ok()?;
        match reply.body {
            Body::Bytes(bytes) => serde_json::from_slice(&bytes).ok(),
            Body::Stream(_) => None,
        }
    }
}

/// Which spans the services are asked for.
#[derive(Debug)]
enum Question {
    /// The last ones.
    Last,
    /// Those of the trace or the request with this id.
    Of(String),
}

/// The entries of one service, read page by page. `None` if it does not answer a page with a
/// list of spans.
async fn pages(
    question: &Question,
    mut page: impl AsyncFnMut(&str) -> Option<Vec<Entry>>,
) -> Option<Vec<Entry>> {
    let id = match question {
        Question::Last => {
            let mut entries = page(&format!("order=desc&limit={PAGE}")).await?;
            entries.truncate(PAGE);
            return Some(entries);
        }
        Question::Of(id) => id,
    };
    let (mut all, mut after) = (Vec::new(), 0);
    for _ in 0..PAGES {
        let query = format!("trace={id}&after={after}&limit={PAGE}");
        let mut entries = page(&query).await?;
        entries.truncate(PAGE);
        let is_last = entries.len() < PAGE;
        let reached = entries.last().map_or(after, |entry| entry.number);
        all.extend(entries);
        if is_last || reached <= after {
            break;
        }
        after = reached;
    }
    Some(all)
}

/// The trace whose first span is the latest.
fn newest(spans: &[Span]) -> Option<u128> {
    let mut starts = HashMap::new();
    for span in spans {
        let start = starts.entry(span.trace).or_insert(span.start);
        *start = span.start.min(*start);
    }
    let newest = starts
        .into_iter()
        .max_by_key(|(trace, start)| (*start, *trace));
    newest.map(|(trace, _)| trace)
}

/// The id of a trace or of a request: 1 to 128 letters, digits, dots, dashes or underscores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceId(String);

impl FromStr for TraceId {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, ApiError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        let text = shortened(text);
        Err(ApiError::not_found(format!(
            "{text:?} is not the id of a trace or a request"
        )))
    }
}

/// How many traces a client asks for: `?limit=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Newest {
    /// The most traces.
    #[param(required = false, minimum = 1, maximum = 100, default = 20)]
    limit: u32,
}

impl Newest {
    /// Reads a query string; other parameters are ignored.
    pub fn parse(query: &str) -> Result<Self, ApiError> {
        let mut limit = 20;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name == "limit" {
                limit = number(&value, 1..=100).ok_or_else(|| {
                    let value = shortened(&value);
                    let message = format!("limit is {value:?}, expected 1 to 100");
                    ApiError::validation(vec![FieldError::new("limit", message)])
                })?;
            }
        }
        Ok(Self { limit })
    }

    /// The most traces.
    pub fn limit(self) -> usize {
        self.limit as usize
    }
}
