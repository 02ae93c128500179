//! The traces of the shop, as the spans that each service remembers tell them. It exists only
//! where there is a lab.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use crate::clients::{GATEWAY, Operations, THIS};
use crate::config::Config;
use crate::spans::{Entry, Span};
use crate::stream::look::{self, Behind};
use crate::trace::{self, Listed, Trace};

/// How long a service may take to show its spans.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The spans that a service is asked for at once, all of its instances together. They fit into the
/// largest response that a call reads.
const PAGE: usize = 1000;

/// The most spans of a service, all of its instances together: more than one of them keeps, and more
/// than are shown.
const MOST: usize = 5000;

/// The most requests that look at spans at the same time. Each holds the spans of all services.
const LOOKS: usize = 4;

/// How long one more of them waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// The services that are asked for their spans.
#[derive(Debug)]
pub struct Traces {
    others: Vec<Upstream>,
    /// The gateway, which knows the instances.
    gateway: Option<Operations>,
    own: Arc<Service>,
    turns: Semaphore,
}

/// The latest traces.
#[derive(Debug, Serialize, ToSchema)]
pub struct Latest {
    /// The traces, newest first.
    pub traces: Vec<Listed>,
    /// The services that could not be asked for their spans, or which instance of one.
    #[schema(examples("user-service", "analytics-service (127.0.0.1:8015)"))]
    pub unavailable: Vec<String>,
}

/// The spans of all services, and who could not be asked.
type Asked = (Vec<Span>, BTreeSet<String>);

/// The hosts and ports of the instances of each service that has several.
type Several = HashMap<String, Vec<String>>;

impl Traces {
    /// The traces of the services that `config` names, and of `own`, which is this one. `gateway`
    /// knows their instances.
    pub fn new(config: &Config, gateway: Option<Operations>, own: &Arc<Service>) -> Self {
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
            (GATEWAY, config.gateway.as_ref()),
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
            gateway,
            own: Arc::clone(own),
            turns: Semaphore::new(LOOKS),
        }
    }

    /// The latest `limit` traces, newest first.
    pub async fn latest(&self, limit: usize) -> Result<Latest, ApiError> {
        let _turn = self.turn().await?;
        let several = self.several().await;
        let (spans, unavailable) = self.ask(&Question::Last, &several).await;
        Ok(Latest {
            traces: trace::latest(spans, limit),
            unavailable: unavailable.into_iter().collect(),
        })
    }

    /// The trace with this id, or of the latest request with it.
    pub async fn find(&self, id: &TraceId) -> Result<Trace, ApiError> {
        let _turn = self.turn().await?;
        let several = self.several().await;
        let question = Question::Of(id.0.clone());
        let (mut spans, mut unavailable) = self.ask(&question, &several).await;
        let newest = newest(&spans);
        if let Some(trace) = newest.filter(|trace| id.0 != format!("{trace:032x}")) {
            // Other requests of the same trace may have other ids.
            let question = Question::Of(format!("{trace:032x}"));
            let (all, not_asked) = self.ask(&question, &several).await;
            unavailable.extend(not_asked);
            // What one of them did not answer twice is kept.
            spans.extend(all);
        }
        spans.retain(|span| Some(span.trace) == newest);
        let without: Vec<_> = unavailable.into_iter().collect();
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
        let turn = timeout(PATIENCE, self.turns.acquire()).await;
        let turn = turn.map_err(|_| {
            ApiError::overloaded_by(format_args!("{LOOKS} requests already look at traces"))
        })?;
        turn.map_err(ApiError::internal)
    }

    /// The instances of each service that has several, if the gateway says so.
    async fn several(&self) -> Several {
        let Some(gateway) = &self.gateway else {
            return Several::new();
        };
        let behind = unrecorded(look::behind(gateway)).await;
        let behind = behind.unwrap_or_default().into_iter();
        let several = behind.filter(|service| service.instances.len() > 1);
        several.map(places).collect()
    }

    /// Asks all services at once, and of one that has `several` instances each of them.
    async fn ask(&self, question: &Question, several: &Several) -> Asked {
        let others = self.others.iter();
        let services = others.map(|upstream| (upstream.name(), Some(upstream)));
        // What it answers twice, as itself and as one of its instances, is kept once.
        let services = services.chain([(THIS, None)]);
        let asked = services.map(|(service, direct)| {
            let whom = self.whom(service, direct, several);
            async move { (service, ask_each(question, &whom).await) }
        });
        let left = AtomicUsize::new(MOST);
        let own = pages(question, PAGE, &left, async |query| self.own_entries(query));
        let (asked, own) = unrecorded(async { tokio::join!(join_all(asked), own) }).await;
        let own = (THIS, vec![(THIS.to_owned(), own)]);
        let (mut spans, mut unavailable) = (Vec::new(), BTreeSet::new());
        for (service, answers) in asked.into_iter().chain([own]) {
            for (who, entries) in answers {
                let Some(entries) = entries else {
                    unavailable.insert(who);
                    continue;
                };
                spans.extend(entries.into_iter().map(|entry| entry.of(service)));
            }
        }
        (spans, unavailable)
    }

    /// Whom to ask for the spans of a service: each of `several` instances, through the gateway, or
    /// the service at its own address, if it is another one.
    fn whom<'a>(
        &'a self,
        service: &str,
        direct: Option<&'a Upstream>,
        several: &Several,
    ) -> Vec<Respondent<'a>> {
        let gateway = self.others.iter().find(|one| one.name() == GATEWAY);
        let Some((upstream, places)) = gateway.zip(several.get(service)) else {
            let direct = direct.map(|upstream| Respondent {
                name: service.to_owned(),
                upstream,
                path: "/lab/spans".to_owned(),
            });
            return direct.into_iter().collect();
        };
        let places = places.iter().map(|place| Respondent {
            name: format!("{service} ({place})"),
            upstream,
            path: format!("/lab/{service}/{place}/spans"),
        });
        places.collect()
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

/// A service or an instance that is asked for its spans.
#[derive(Debug)]
struct Respondent<'a> {
    name: String,
    upstream: &'a Upstream,
    path: String,
}

/// The name of one that was asked, and its entries if it has answered.
type Answer = (String, Option<Vec<Entry>>);

/// Asks all instances of one service at once.
async fn ask_each(question: &Question, whom: &[Respondent<'_>]) -> Vec<Answer> {
    let left = AtomicUsize::new(MOST);
    let size = PAGE.div_ceil(whom.len().max(1));
    let answers = whom.iter().map(async |one| {
        let spans = pages(question, size, &left, async |query| {
            let path = format!("{}?{query}", one.path);
            one.upstream.get(&path).json::<Vec<Entry>>().await.ok()
        });
        // One deadline for all pages.
        let spans = timeout(TIMEOUT, spans).await;
        (one.name.clone(), spans.ok().flatten())
    });
    join_all(answers).await
}

/// The entries of one that is asked, read in pages of this `size` while some are `left` of those
/// that its service may answer. `None` if it does not answer a page with a list of spans.
async fn pages(
    question: &Question,
    size: usize,
    left: &AtomicUsize,
    mut page: impl AsyncFnMut(&str) -> Option<Vec<Entry>>,
) -> Option<Vec<Entry>> {
    let id = match question {
        Question::Last => {
            let mut entries = page(&format!("order=desc&limit={size}")).await?;
            entries.truncate(size);
            return Some(entries);
        }
        Question::Of(id) => id,
    };
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let query = format!("trace={id}&after={after}&limit={size}");
        let mut entries = page(&query).await?;
        entries.truncate(size);
        let read = entries.len();
        let reached = entries.last().map_or(after, |entry| entry.number);
        all.extend(entries);
        // All who count run in one task.
        let rest = left.load(Ordering::Relaxed).saturating_sub(read);
        left.store(rest, Ordering::Relaxed);
        if read < size || reached <= after || rest == 0 {
            return Some(all);
        }
        after = reached;
    }
}

/// The same request, without a recorder: looking at spans leaves none.
fn unrecorded<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let context = Context::new(Some(Context::current().request_id()), None);
    context.scope(future)
}

/// The name of a service, and where its instances are.
fn places(service: Behind) -> (String, Vec<String>) {
    let urls = service.instances.into_iter().map(|instance| instance.url);
    let places = urls.map(|url| url.trim_start_matches("http://").to_owned());
    (service.name, places.collect())
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The entries of one that never runs out of spans: `size` of them after the one with the
    /// number `after`.
    fn endless(query: &str, size: u64) -> Vec<Entry> {
        let parameters = form_urlencoded::parse(query.as_bytes());
        let mut after = parameters.filter(|(name, _)| name == "after");
        let after: u64 = after
            .next()
            .map_or(0, |(_, n)| n.parse().expect("a number"));
        let entry = |number: u64| -> Value {
            json!({
                "number": number, "traceId": "1", "spanId": "2", "requestId": "r", "name": "n",
                "kind": "server", "start": "2026-01-01T12:00:00Z", "durationMs": 1,
            })
        };
        let entries = (after + 1..=after + size).map(entry).collect();
        serde_json::from_value(entries).expect("entries")
    }

    #[tokio::test]
    async fn the_instances_of_a_service_answer_no_more_than_one_would() {
        let question = Question::Of("1".to_owned());
        for count in [1, 4, 64] {
            let left = AtomicUsize::new(MOST);
            let size = PAGE.div_ceil(count);
            let answers = (0..count).map(|_| {
                pages(&question, size, &left, async |query| {
                    tokio::task::yield_now().await;
                    Some(endless(query, size as u64))
                })
            });
            let answers = join_all(answers).await.into_iter();
            let spans = answers.map(|answer| answer.expect("entries").len());
            // Each may have been on its way to its last page.
            let spans: usize = spans.sum();
            assert!((MOST..MOST + 2 * PAGE).contains(&spans), "{count}: {spans}");
        }
    }
}
