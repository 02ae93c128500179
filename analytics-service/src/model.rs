//! What is told of the shop, and what is known of a neighbour.

use std::time::Duration;

use chassis::contract::error::{ApiError, FieldError};
use chassis::contract::health::UpDown;
use chassis::values::money::Money;
use chassis::values::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::clients::Probe;
use crate::counters::Increase;

/// What polls of one neighbour have brought so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading<T> {
    /// Whether it answered the latest poll.
    pub status: UpDown,
    /// What it answered when it last did, and the moment that is from.
    pub last: Option<(T, Timestamp)>,
}

impl<T: Copy> Reading<T> {
    /// Before the first poll. A neighbour is taken for up until it shows
    /// otherwise; nobody is ever told so.
    pub const UNKNOWN: Self = Self {
        status: UpDown::Up,
        last: None,
    };

    /// After one more poll, which was begun at `begun`, with its answer, if there
    /// was one. A neighbour that is down takes nothing away from what is known.
    #[must_use]
    pub fn after(self, begun: Timestamp, answer: Option<T>) -> Self {
        match answer {
            Some(value) => Self {
                status: UpDown::Up,
                last: Some((value, begun)),
            },
            None => Self {
                status: UpDown::Down,
                ..self
            },
        }
    }

    /// The last value known, if any ever was.
    pub fn value(&self) -> Option<T> {
        self.last.map(|(value, _)| value)
    }
}

/// What order-service says of its orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct OrderStats {
    /// All of them.
    pub total: u64,
    /// Those that stand.
    pub confirmed: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
    /// What the confirmed ones are worth.
    pub revenue: Money,
}

/// The answer of the routes for users, products and notifications.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Total {
    /// How many there are; null if that was never known.
    total: Option<u64>,
    /// When this was answered.
    timestamp: Timestamp,
}

impl From<Reading<u64>> for Total {
    fn from(reading: Reading<u64>) -> Self {
        Self {
            total: reading.value(),
            timestamp: Timestamp::now(),
        }
    }
}

/// The answer of the route for orders. All numbers are null if they were never
/// known.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct OrderTotals {
    /// How many there are.
    total: Option<u64>,
    /// How many of them stand.
    confirmed: Option<u64>,
    /// How many were cancelled.
    cancelled: Option<u64>,
    /// What the confirmed ones are worth.
    revenue: Option<Money>,
    /// The revenue shared out over the confirmed orders; 0 if there are none.
    average_order_value: Option<Money>,
    /// When this was answered.
    timestamp: Timestamp,
}

impl From<Reading<OrderStats>> for OrderTotals {
    fn from(reading: Reading<OrderStats>) -> Self {
        let stats = reading.value();
        Self {
            total: stats.map(|stats| stats.total),
            confirmed: stats.map(|stats| stats.confirmed),
            cancelled: stats.map(|stats| stats.cancelled),
            revenue: stats.map(|stats| stats.revenue),
            average_order_value: stats.map(|stats| stats.revenue.average_over(stats.confirmed)),
            timestamp: Timestamp::now(),
        }
    }
}

/// The answer of the route for everything. A total is null if it was never
/// known.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Summary {
    /// How many users there are.
    pub total_users: Option<u64>,
    /// How many products there are.
    pub total_products: Option<u64>,
    /// How many orders there are, cancelled ones too.
    pub total_orders: Option<u64>,
    /// How many notifications there are.
    pub total_notifications: Option<u64>,
    /// When this was answered.
    pub timestamp: Timestamp,
    /// Where the totals come from: user, product, order and notification.
    pub services: [Source; 4],
}

/// A neighbour that a total comes from.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Source {
    /// The name of the service.
    #[schema(examples("user-service"))]
    name: &'static str,
    status: UpDown,
    /// The moment its total is from: every write before it is counted. Null if
    /// no total was ever known.
    as_of: Option<Timestamp>,
}

impl Source {
    /// The neighbour called `name`, as `reading` has it.
    pub fn new<T>(name: &'static str, reading: &Reading<T>) -> Self {
        Self {
            name,
            status: reading.status,
            as_of: reading.last.as_ref().map(|(_, moment)| *moment),
        }
    }
}

/// A service as it is now. What cannot be measured is null.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ServiceState {
    /// The name of the service.
    #[schema(examples("user-service"))]
    pub name: &'static str,
    /// The web framework it is built on, as last known.
    #[schema(examples("axum"))]
    pub framework: Option<String>,
    /// Its version, as last known.
    #[schema(examples("0.1.0"))]
    pub version: Option<String>,
    /// Where it is found.
    #[schema(examples("http://127.0.0.1:8001"))]
    pub url: String,
    /// Whether it says that it is alive.
    pub status: UpDown,
    /// Whole seconds since it started.
    pub uptime_seconds: Option<u64>,
    /// How long it took to say that it is alive, in milliseconds.
    pub latency_ms: Option<f32>,
    /// Requests answered per second, since the last sample that is at least a
    /// second old. What machines ask (`/health`, `/health/ready`, `/metrics`)
    /// does not count.
    pub request_rate: Option<f32>,
    /// Requests answered with a 5xx, per second.
    pub error_rate: Option<f32>,
    /// Half of these requests were answered within as many milliseconds; null if
    /// there was none. Worked out from a histogram: good to the bucket.
    pub p50_ms: Option<f32>,
    /// The same for 95 of 100.
    pub p95_ms: Option<f32>,
    /// The same for 99 of 100.
    pub p99_ms: Option<f32>,
    /// The memory of its process, in bytes.
    pub resident_memory_bytes: Option<u64>,
    /// The polls that the next number is of: the last hundred, or all there were.
    #[schema(maximum = 100)]
    pub polls: usize,
    /// How many of these it answered.
    #[schema(maximum = 100)]
    pub polls_answered: usize,
}

/// What one poll of the four has brought.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Sample {
    /// When it was, for reckoning.
    #[serde(skip)]
    pub at: Instant,
    /// When it began.
    pub timestamp: Timestamp,
    /// The four: user, product, order and notification.
    pub services: [ServiceSample; 4],
}

/// A service at the time of a poll. What could not be measured is null.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct ServiceSample {
    /// The name of the service.
    #[schema(examples("user-service"))]
    pub name: &'static str,
    /// Whether it said that it is alive.
    pub status: UpDown,
    /// How long it took to say so, in milliseconds.
    pub latency_ms: Option<f32>,
    /// Requests answered per second, since the sample before. What machines ask
    /// (`/health`, `/health/ready`, `/metrics`) does not count.
    pub request_rate: Option<f32>,
    /// Requests answered with a 5xx, per second.
    pub error_rate: Option<f32>,
    /// Half of these requests were answered within as many milliseconds; null if
    /// there was none. Worked out from a histogram: good to the bucket.
    pub p50_ms: Option<f32>,
    /// The same for 95 of 100.
    pub p95_ms: Option<f32>,
    /// The same for 99 of 100.
    pub p99_ms: Option<f32>,
    /// The memory of its process, in bytes.
    pub resident_memory_bytes: Option<u64>,
}

impl ServiceSample {
    /// The neighbour called `name`, which answered `now`, or not, with rates
    /// since `before`. There are none across a restart.
    pub fn new(name: &'static str, now: Option<&Probe>, before: Option<&Probe>) -> Self {
        let counters = now.and_then(|now| now.counters.as_ref().ok());
        let done = now.zip(before).and_then(|(now, before)| {
            let increase = now.since(before)?;
            Some((increase, now.at.duration_since(before.at)))
        });
        let per_second = |count: fn(&Increase) -> f64| {
            let (increase, span) = done.as_ref()?;
            Some(thousandths(count(increase) / span.as_secs_f64()))
        };
        let quantile = |q| Some(thousandths(done.as_ref()?.0.quantile(q)? * 1e3));
        Self {
            name,
            status: if now.is_some() {
                UpDown::Up
            } else {
                UpDown::Down
            },
            latency_ms: now.map(|now| thousandths(now.latency.as_secs_f64() * 1e3)),
            request_rate: per_second(|increase| increase.requests),
            error_rate: per_second(|increase| increase.errors),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            resident_memory_bytes: counters.and_then(|counters| counters.resident_memory),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "seven digits are more than a measurement has"
)]
fn thousandths(value: f64) -> f32 {
    ((value * 1e3).round() / 1e3) as f32
}

/// Which part of the history is asked for: `?minutes=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Window {
    /// How many minutes it goes back.
    #[param(required = false, minimum = 1, maximum = 60, default = 15)]
    minutes: u64,
}

impl Window {
    /// Reads a query string; other parameters are ignored.
    pub fn parse(query: &str) -> Result<Self, ApiError> {
        let mut minutes = 15;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name == "minutes" {
                minutes = match value.parse() {
                    Ok(number @ 1..=60) => number,
                    _ => {
                        return Err(ApiError::validation(vec![FieldError::new(
                            "minutes",
                            format!("minutes is {value:?}, expected 1 to 60"),
                        )]));
                    }
                };
            }
        }
        Ok(Self { minutes })
    }

    /// How long it is.
    pub fn length(self) -> Duration {
        Duration::from_secs(self.minutes * 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_that_is_down_takes_nothing_away_from_what_is_known() {
        let begun = Timestamp::now();
        let up = Reading::UNKNOWN.after(begun, Some(3_u64));
        assert_eq!((up.status, up.last), (UpDown::Up, Some((3, begun))));
        let down = up.after(Timestamp::now(), None);
        assert_eq!((down.status, down.last), (UpDown::Down, Some((3, begun))));
        assert_eq!(down.after(begun, Some(4)).value(), Some(4));
        assert_eq!(
            Reading::<u64>::UNKNOWN.after(begun, None).value(),
            None,
            "never known"
        );
    }
}
