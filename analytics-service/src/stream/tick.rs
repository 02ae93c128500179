//! What a viewer is sent: the shop at one moment. An unknown number is null.

use chassis::contract::health::CircuitState;
use chassis::values::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The data of the event `past`.
#[derive(Debug, Serialize, ToSchema)]
pub struct PastSamples {
    /// The last 15 minutes, oldest first: a sample each five seconds, or as often as the services
    /// are polled, if that is less often.
    pub samples: Vec<PastSample>,
}

/// The shop at a moment in the past.
#[derive(Debug, Serialize, ToSchema)]
pub struct PastSample {
    /// When it was.
    pub at: Timestamp,
    /// The services, without faults and instances. `status` is `up` or `down`.
    pub services: Vec<ServiceNow>,
    /// The calls of each service to others.
    pub edges: Vec<Edge>,
    /// The orders; null if order-service is down.
    pub orders: Option<Orders>,
}

/// The data of the event `tick`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tick {
    /// When it was.
    pub at: Timestamp,
    /// The gateway, if `GATEWAY_URL` names it, then user, product, order, notification and
    /// analytics-service.
    pub services: Vec<ServiceNow>,
    /// The calls of each service to others.
    pub edges: Vec<Edge>,
    /// The orders; null if order-service is down.
    pub orders: Option<Orders>,
    /// The requests from outside that have ended since the last tick: the newest 20. None without
    /// the lab.
    pub recent: Vec<Recent>,
}

/// A service.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceNow {
    /// Its name.
    #[schema(examples("user-service"))]
    pub name: &'static str,
    /// What it is good for.
    pub status: Status,
    /// The web framework it is built on, as last known.
    #[schema(examples("axum"))]
    pub framework: Option<String>,
    /// Its version, as last known.
    #[schema(examples("0.1.0"))]
    pub version: Option<String>,
    /// Where it is found, as in the configuration.
    #[schema(examples("http://127.0.0.1:8001"))]
    pub url: String,
    /// Whole seconds since it started.
    #[schema(examples(3600))]
    pub uptime_seconds: Option<u64>,
    /// The memory of its process, in bytes.
    #[schema(examples(9_437_184))]
    pub resident_memory_bytes: Option<u64>,
    /// Requests answered per second, over the last five seconds. Requests for health, metrics, the
    /// lab and this stream do not count.
    #[schema(examples(12.5))]
    pub request_rate: Option<f32>,
    /// Requests answered with a 5xx, per second.
    #[schema(examples(0.0))]
    pub error_rate: Option<f32>,
    /// The median duration of these requests, in milliseconds; null if there were none.
    #[schema(examples(0.4))]
    pub p50_ms: Option<f32>,
    /// The 95th percentile.
    #[schema(examples(2.1))]
    pub p95_ms: Option<f32>,
    /// The 99th percentile.
    #[schema(examples(4.8))]
    pub p99_ms: Option<f32>,
    /// Requests in flight, with those of viewers of this stream.
    #[schema(examples(1))]
    pub in_flight: Option<u32>,
    /// Its faults, as `GET /lab/faults` shows them; null without the lab, or if they are not
    /// known. Absent in the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>, required = false)]
    pub faults: Option<Option<Vec<Value>>>,
    /// Its instances, as the gateway sees them; null if that is not known. Absent in the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<InstanceNow>>, required = false)]
    pub instances: Option<Option<Vec<InstanceNow>>>,
}

/// What a service is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does all of its work.
    Up,
    /// It lacks something it can do without.
    Degraded,
    /// It lacks something it needs.
    Unavailable,
    /// It finishes what is in flight, and gets nothing new.
    Draining,
    /// It does not answer.
    Down,
}

/// The calls of one service to another.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// The caller.
    #[schema(examples("order-service"))]
    pub from: &'static str,
    /// The service that it calls.
    #[schema(examples("user-service"))]
    pub to: &'static str,
    /// Attempts that were sent, per second, over the last five seconds.
    #[schema(examples(12.5))]
    pub call_rate: Option<f32>,
    /// Those of them without a usable answer.
    #[schema(examples(0.0))]
    pub failure_rate: Option<f32>,
    /// Attempts that repeated a failed one, per second; null for what the gateway forwards.
    #[schema(examples(0.0))]
    pub retry_rate: Option<f32>,
    /// Attempts that were not sent, because the circuit was open or the bulkhead full, per
    /// second.
    #[schema(examples(0.0))]
    pub not_made_rate: Option<f32>,
    /// The median duration of an attempt that was sent, in milliseconds; null if there was none.
    #[schema(examples(0.4))]
    pub p50_ms: Option<f32>,
    /// The 95th percentile.
    #[schema(examples(2.1))]
    pub p95_ms: Option<f32>,
    /// The 99th percentile.
    #[schema(examples(4.8))]
    pub p99_ms: Option<f32>,
    /// What the circuit breaker does; null for what the gateway forwards, which has none.
    pub circuit: Option<CircuitState>,
}

impl Edge {
    /// Its caller does not answer, so nothing about it is known.
    pub(super) fn forget(&mut self) {
        *self = Self {
            call_rate: None,
            failure_rate: None,
            retry_rate: None,
            not_made_rate: None,
            p50_ms: None,
            p95_ms: None,
            p99_ms: None,
            circuit: None,
            ..*self
        };
    }
}

/// The orders of the shop.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = OrdersNow)]
pub struct Orders {
    /// How many there are.
    #[schema(examples(3))]
    pub total: u64,
    /// How many of them are confirmed.
    #[schema(examples(2))]
    pub confirmed: u64,
    /// How many of them are cancelled.
    #[schema(examples(1))]
    pub cancelled: u64,
    /// The sum of the confirmed ones.
    #[schema(examples(79.96))]
    pub revenue: f64,
}

/// An instance of a service, as the gateway sees it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceNow {
    /// Where it is.
    #[schema(examples("http://127.0.0.1:8001"))]
    pub url: String,
    /// `up`, `down`, `ejected` or `draining`.
    #[schema(examples("up"))]
    pub state: String,
    /// The requests in flight.
    #[schema(examples(0))]
    pub in_flight: u32,
    /// All requests so far.
    #[schema(examples(12))]
    pub requests: u64,
    /// Those that failed.
    #[schema(examples(0))]
    pub failures: u64,
    /// The average time to a response, in milliseconds; null if there was none of late.
    #[schema(examples(1.2))]
    pub latency_ms: Option<f64>,
}

/// A request from outside that has ended.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recent {
    /// Its trace.
    #[schema(examples("0af7651916cd43dd8448eb211c80319c"))]
    pub trace_id: String,
    /// Its id.
    #[schema(examples("demo-1"))]
    pub request_id: String,
    /// The service that answered it: the gateway, if it went through that.
    #[schema(examples("gateway"))]
    pub service: String,
    /// Its method and route.
    #[schema(examples("POST /api/orders"))]
    pub name: String,
    /// The status of the response.
    #[schema(examples(201))]
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    #[schema(examples(12.5))]
    pub duration_ms: f64,
    /// When it began.
    #[schema(examples("2026-01-01T12:00:00.000000Z"))]
    pub start: String,
}
