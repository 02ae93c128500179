//! One OpenAPI document for the whole shop: that of the gateway with those of the services.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chassis::contract::api::Api;
use chassis::contract::error::ApiError;
use chassis::contract::examples::example;
use chassis::contract::reply::{Body, Reply};
use chassis::upstream::client::Upstream;
use chassis::upstream::shared_poll::SharedPoll;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};

use crate::routes::{DESTINATIONS, Destination};

/// How long a document is used until the services are asked again.
const KEPT: Duration = Duration::from_secs(10);

/// What a reference to a part of its own document begins with.
const COMPONENTS: &str = "#/components/";

/// The document of the whole shop.
#[derive(Debug)]
pub struct MergedDocument(SharedPoll<Option<Merged>>);

#[derive(Clone, Debug)]
struct Merged {
    at: Instant,
    document: Bytes,
}

impl MergedDocument {
    /// A document of the gateway's own `api` and those of `services`, which are in the order of
    /// [`DESTINATIONS`]. It is made when somebody asks for it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(api: &'static Api, services: &[Upstream; DESTINATIONS.len()]) -> Self {
        let services = services.clone();
        Self(SharedPoll::new(None, move |last: Option<Merged>| {
            let services = services.clone();
            async move {
                match last {
                    Some(last) if last.at.elapsed() < KEPT => Some(last),
                    _ => Some(Merged::make(api, &services).await),
                }
            }
        }))
    }

    /// The document, made less than ten seconds ago.
    pub async fn now(&self) -> Result<Reply, ApiError> {
        let merged = self.0.fresh().await?;
        let document = merged.map(|merged| merged.document).unwrap_or_default();
        Ok(Reply::ok("application/json", document))
    }
}

impl Merged {
    async fn make(api: &'static Api, services: &[Upstream]) -> Self {
        let documents = services.iter().map(async |service| {
            let document = service.get("/openapi.json").json::<Value>().await;
            document.inspect_err(|error| {
                tracing::warn!(upstream = service.name(), %error, "no OpenAPI document");
            })
        });
        let documents = join_all(documents).await;
        let mut whole = match api.document().body {
            Body::Bytes(own) => serde_json::from_slice(&own).unwrap_or_default(),
            Body::Stream(_) => Value::Null,
        };
        let mut missing = Vec::new();
        for (to, document) in DESTINATIONS.iter().zip(documents) {
            let part = document.ok().and_then(|document| Part::of(to, document));
            match part {
                Some(part) => part.add_to(&mut whole),
                None => missing.push(to.service),
            }
        }
        if !missing.is_empty() {
            let description = whole["info"]["description"].as_str().unwrap_or_default();
            let description = format!(
                "{description} Missing here, because they did not tell what they have: {}.",
                missing.join(", ")
            );
            whole["info"]["description"] = description.into();
        }
        Self {
            at: Instant::now(),
            document: whole.to_string().into(),
        }
    }
}

/// What a service adds to the document.
struct Part {
    service: &'static str,
    paths: Map<String, Value>,
    components: Map<String, Value>,
}

impl Part {
    /// What is forwarded to a service of what `document` describes. `None` if it describes
    /// nothing.
    fn of(to: &Destination, mut document: Value) -> Option<Self> {
        point_to(to.service, &mut document);
        let take = |value: &mut Value| match value.take() {
            Value::Object(object) => Some(object),
            _ => None,
        };
        let mut paths = take(document.get_mut("paths")?)?;
        paths.retain(|path, _| to.prefixes.iter().any(|prefix| is_below(prefix, path)));
        let items = paths.values_mut().filter_map(Value::as_object_mut);
        let operations = items.flat_map(Map::values_mut);
        for operation in operations.filter_map(Value::as_object_mut) {
            // A group of the page for each service.
            operation.insert("tags".to_owned(), json!([to.service]));
            if let Some(Value::String(id)) = operation.get_mut("operationId") {
                *id = format!("{}.{id}", to.service);
            }
            if let Some(Value::Object(responses)) = operation.get_mut("responses") {
                for (error, when) in instead_of(to.service) {
                    add_error(responses, &error, when);
                }
            }
        }
        let components = document.get_mut("components").and_then(take);
        Some(Self {
            service: to.service,
            paths,
            components: components.unwrap_or_default(),
        })
    }

    fn add_to(self, whole: &mut Value) {
        for (kind, parts) in self.components {
            let Value::Object(parts) = parts else {
                continue;
            };
            for (name, part) in parts {
                whole["components"][&kind][format!("{}.{name}", self.service)] = part;
            }
        }
        for (path, item) in self.paths {
            // What the gateway answers itself is not forwarded.
            if whole["paths"].get(&path).is_none() {
                whole["paths"][path] = item;
            }
        }
    }
}

/// What the gateway may answer in place of `service`, and when.
fn instead_of(service: &str) -> [(ApiError, &'static str); 3] {
    [
        (
            ApiError::rate_limited(200, Duration::from_secs(1)),
            "more requests than one client may send; `Retry-After` says when to try again",
        ),
        (
            ApiError::outcome_unknown(service, "broken off"),
            "the service broke off; what was asked for may have been done",
        ),
        (
            ApiError::gateway_timeout(service, Duration::from_secs(5)),
            "the service did not respond in time",
        ),
    ]
}

/// Adds an error that the operation itself does not name.
fn add_error(responses: &mut Map<String, Value>, error: &ApiError, when: &str) {
    let example = example(error);
    let Some(code) = example["code"].as_str() else {
        return;
    };
    let response = json!({
        "description": format!("`{code}`: {when}"),
        "content": { "application/json": {
            "schema": { "$ref": format!("{COMPONENTS}schemas/ErrorBody") },
            "examples": { code: { "value": example } },
        } },
    });
    responses
        .entry(error.status().to_string())
        .or_insert(response);
}

fn is_below(prefix: &str, path: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Makes references point to the components of `service`, which have its name in front.
fn point_to(service: &str, value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(target) if key == "$ref" => {
                        let part = target.strip_prefix(COMPONENTS);
                        if let Some((kind, name)) = part.and_then(|part| part.split_once('/')) {
                            *target = format!("{COMPONENTS}{kind}/{service}.{name}");
                        }
                    }
                    value => point_to(service, value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| point_to(service, value)),
        _ => {}
    }
}
