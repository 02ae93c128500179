//! The data of all bare servers: JSON like that of user-service, of the same size.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize, Serializer};

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The answer to `GET /health`, created for each request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    status: &'static str,
    service: &'static str,
    framework: &'static str,
    version: &'static str,
    #[serde(serialize_with = "milliseconds")]
    time: jiff::Timestamp,
    uptime_seconds: u64,
}

impl Health {
    /// The health of the server on this framework.
    pub fn of(framework: &'static str) -> Self {
        Self::of_service("bare-service", framework)
    }

    /// The health of a server that stands in for this service.
    pub fn of_service(service: &'static str, framework: &'static str) -> Self {
        Self {
            status: "healthy",
            service,
            framework,
            version: env!("CARGO_PKG_VERSION"),
            time: jiff::Timestamp::now(),
            uptime_seconds: STARTED.elapsed().as_secs(),
        }
    }
}

fn milliseconds<S: Serializer>(time: &jiff::Timestamp, json: S) -> Result<S::Ok, S::Error> {
    json.collect_str(&format_args!("{time:.3}"))
}

/// A record with the fields of a user.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    id: String,
    name: String,
    email: String,
    created_at: String,
    updated_at: String,
}

/// The body of `POST /items`.
#[derive(Deserialize)]
pub struct NewItem {
    name: String,
    email: String,
}

/// The query of `GET /items`.
#[derive(Deserialize)]
pub struct Paging {
    /// The most items to return; 100 by default.
    pub limit: Option<usize>,
}

/// The items in memory. Cheap to clone.
#[derive(Clone, Default)]
pub struct Items(Arc<RwLock<BTreeMap<u64, Item>>>);

impl Items {
    /// The first items.
    pub fn list(&self, limit: Option<usize>) -> Vec<Item> {
        let items = self.0.read();
        items.values().take(limit.unwrap_or(100)).cloned().collect()
    }

    /// The item with this id.
    pub fn find(&self, id: u64) -> Option<Item> {
        self.0.read().get(&id).cloned()
    }

    /// Adds an item with the next id.
    pub fn create(&self, new: NewItem) -> Item {
        let now = format!("{:.3}", jiff::Timestamp::now());
        let mut items = self.0.write();
        let id = items.len() as u64 + 1;
        let item = Item {
            id: id.to_string(),
            name: new.name,
            email: new.email,
            created_at: now.clone(),
            updated_at: now,
        };
        items.insert(id, item.clone());
        item
    }
}
