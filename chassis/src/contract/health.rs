//! The answers to `GET /health` and `GET /health/ready`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::values::time::Timestamp;

/// The answer of `GET /health`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Always `healthy`: a service that is not does not answer.
    #[schema(examples("healthy"))]
    pub(crate) status: &'static str,
    /// The name of the service.
    pub(crate) service: String,
    /// The web framework it is built on.
    pub(crate) framework: &'static str,
    /// The version of the service.
    pub(crate) version: &'static str,
    /// The time on its clock.
    pub(crate) time: Timestamp,
    /// Whole seconds since it started.
    pub(crate) uptime_seconds: u64,
}

/// The answer of `GET /health/ready`.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    pub(crate) status: Readied,
    /// The name of the service.
    pub(crate) service: String,
    /// What it calls, and whether that answers.
    pub(crate) dependencies: Vec<DependencyState>,
}

/// Whether a service can do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Readied {
    /// All of it.
    Ready,
    /// Without something it can do without.
    Degraded,
    /// Not now: it lacks something it needs, or is shutting down.
    Unavailable,
}

/// A service that another one calls.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DependencyState {
    /// Its name.
    pub name: &'static str,
    /// Whether the service cannot do its work without it.
    pub required: bool,
    /// `down` also if another service answers at its address.
    pub status: UpDown,
    /// What the circuit breaker does with calls to it.
    pub circuit: CircuitState,
    /// How long its answer took, in milliseconds; null if there was none.
    pub latency_ms: Option<f64>,
}

/// Whether another service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpDown {
    /// It does.
    Up,
    /// It does not.
    Down,
}

/// What a circuit breaker does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// It lets them through.
    Closed,
    /// It refuses them at once.
    Open,
    /// It lets one through at a time, to see whether the service is back.
    HalfOpen,
}

impl CircuitState {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// As a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl DependencyState {
    /// A service that answers behind an open circuit gets no calls, so it is of no use.
    pub(crate) fn can_be_called(&self) -> bool {
        self.status == UpDown::Up && self.circuit != CircuitState::Open
    }
}
