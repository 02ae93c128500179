//! The responses, and the known state of an upstream.

use std::time::Duration;

use chassis::contract::error::{ApiError, FieldError};
use chassis::contract::health::UpDown;
use chassis::contract::page::number;
use chassis::values::money::Money;
use chassis::values::text::shortened;
use chassis::values::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::clients::Probe;
use crate::counters::Increase;

/// The outcome of the polls of one upstream so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading<T> {
    /// Whether it answered the latest poll.
    pub status: UpDown,
    /// The last answer, and the moment its poll began.
    pub last: Option<(T, Timestamp)>,
}

impl<T: Copy> Reading<T> {
    /// The state before the first poll. No response contains it.
    pub const UNKNOWN: Self = Self {
        status: UpDown::Up,
        last: None,
    };

    /// The state after one more poll, which began at `begun`. Without an answer, the last
    /// known value stays.
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

    /// The last known value, if any.
    pub fn value(&self) -> Option<T> {
        self.last.map(|(value, _)| value)
    }

    /// The time of the last known value, if any.
    pub fn as_of(&self) -> Option<Timestamp> {
        self.last.map(|(_, begun)| begun)
    }
}

/// The totals of order-service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct OrderStats {
    /// The number of orders.
    pub total: u64,
    /// The number of confirmed orders.
    pub confirmed: u64,
    /// The number of cancelled orders.
    pub cancelled: u64,
    /// The sum of the confirmed orders.
    pub revenue: Money,
}

/// The answer of the routes for users, products and notifications.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the name in the contract")]
pub struct Total {
    /// How many there are, or were when last known; null if never known.
    #[schema(examples(3))]
    total: Option<u64>,
    /// The time of this answer.
    timestamp: Timestamp,
    /// Whether the service that has them answers. If it is down, the total is the last known
    /// one.
    status: UpDown,
    /// The time of the total, which includes every write before it. Null if never known.
    as_of: Option<Timestamp>,
}

impl From<Reading<u64>> for Total {
    fn from(reading: Reading<u64>) -> Self {
        Self {
            total: reading.value(),
            timestamp: Timestamp::now(),
            status: reading.status,
            as_of: reading.as_of(),
        }
    }
}

/// The answer of the route for orders. All numbers are null if never known.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct OrderTotals {
    /// How many there are.
    #[schema(examples(3))]
    total: Option<u64>,
    /// How many of them are confirmed.
    #[schema(examples(2))]
    confirmed: Option<u64>,
    /// How many of them are cancelled.
    #[schema(examples(1))]
    cancelled: Option<u64>,
    /// The sum of the confirmed orders.
    #[schema(value_type = Option<f64>, examples(79.96))]
    revenue: Option<Money>,
    /// The revenue divided by the number of confirmed orders; 0 if there are none.
    #[schema(value_type = Option<f64>, examples(39.98))]
    average_order_value: Option<Money>,
    /// The time of this answer.
    timestamp: Timestamp,
    /// Whether order-service answers. If it is down, the numbers are the last known ones.
    status: UpDown,
    /// The time of the numbers, which include every write before it. Null if never known.
    as_of: Option<Timestamp>,
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
            status: reading.status,
            as_of: reading.as_of(),
        }
    }
}

/// The answer of the summary. A total is null if never known.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Summary {
    /// How many users there are.
    #[schema(examples(2))]
    pub total_users: Option<u64>,
    /// How many products there are.
    #[schema(examples(5))]
    pub total_products: Option<u64>,
    /// How many orders there are, including cancelled ones.
    #[schema(examples(3))]
    pub total_orders: Option<u64>,
    /// How many notifications there are.
    #[schema(examples(3))]
    pub total_notifications: Option<u64>,
    /// The time of this answer.
    pub timestamp: Timestamp,
    /// The services that the totals come from: user, product, order and notification.
    pub services: [Source; 4],
}

/// A service that a total comes from.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Source {
    /// The name of the service.
    #[schema(examples("user-service"))]
    name: &'static str,
    status: UpDown,
    /// The time of its total, which includes every write before it. Null if no total was
    /// ever known.
    as_of: Option<Timestamp>,
}

impl Source {
    /// The source called `name`, in the state of `reading`.
    pub fn new<T: Copy>(name: &'static str, reading: &Reading<T>) -> Self {
        Self {
            name,
            status: reading.status,
            as_of: reading.as_of(),
        }
    }
}

/// The current state of a service. An unknown value is null.
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
    /// Its base URL, or where its instances are found, as in the configuration.
    #[schema(examples("http://127.0.0.1:8001"))]
    pub url: String,
    /// Whether it answers `/health`.
    pub status: UpDown,
    /// Whole seconds since it started.
    #[schema(examples(3600))]
    pub uptime_seconds: Option<u64>,
    /// How long its answer to `/health` took, in milliseconds.
    #[schema(examples(1.2))]
    pub latency_ms: Option<f32>,
    /// Requests answered per second, since the newest sample that is at least a second old.
    /// `/health`, `/health/ready` and `/metrics` do not count.
    #[schema(examples(12.5))]
    pub request_rate: Option<f32>,
    /// Requests answered with a 5xx, per second.
    #[schema(examples(0.0))]
    pub error_rate: Option<f32>,
    /// The median duration of these requests, in milliseconds, computed from a histogram.
    /// Null if there were none.
    #[schema(examples(0.4))]
    pub p50_ms: Option<f32>,
    /// The 95th percentile.
    #[schema(examples(2.1))]
    pub p95_ms: Option<f32>,
    /// The 99th percentile.
    #[schema(examples(4.8))]
    pub p99_ms: Option<f32>,
    /// The memory of its process, in bytes.
    #[schema(examples(9_437_184))]
    pub resident_memory_bytes: Option<u64>,
    /// The number of latest samples that `polls_answered` counts: at most a hundred.
    #[schema(maximum = 100, examples(100))]
    pub polls: usize,
    /// In how many of these the service was up.
    #[schema(maximum = 100, examples(99))]
    pub polls_answered: usize,
}

/// The result of one poll of the four.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Sample {
    /// When it was, on the clock of the process.
    #[serde(skip)]
    pub at: Instant,
    /// When the poll began.
    pub timestamp: Timestamp,
    /// The four: user, product, order and notification.
    pub services: [ServiceSample; 4],
}

/// The state of a service at the time of a poll. An unknown value is null.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct ServiceSample {
    /// The name of the service.
    #[schema(examples("user-service"))]
    pub name: &'static str,
    /// Whether it answered `/health`.
    pub status: UpDown,
    /// How long that answer took, in milliseconds.
    #[schema(examples(1.2))]
    pub latency_ms: Option<f32>,
    /// Requests answered per second, since the previous sample. `/health`,
    /// `/health/ready` and `/metrics` do not count.
    #[schema(examples(12.5))]
    pub request_rate: Option<f32>,
    /// Requests answered with a 5xx, per second.
    #[schema(examples(0.0))]
    pub error_rate: Option<f32>,
    /// The median duration of these requests, in milliseconds, computed from a histogram.
    /// Null if there were none.
    #[schema(examples(0.4))]
    pub p50_ms: Option<f32>,
    /// The 95th percentile.
    #[schema(examples(2.1))]
    pub p95_ms: Option<f32>,
    /// The 99th percentile.
    #[schema(examples(4.8))]
    pub p99_ms: Option<f32>,
    /// The memory of its process, in bytes.
    #[schema(examples(9_437_184))]
    pub resident_memory_bytes: Option<u64>,
}

impl ServiceSample {
    /// The state of the service called `name`. `now` is its answer, if any; rates are since
    /// `before`, and unknown after a restart.
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

/// A measurement as it is shown.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a measurement has fewer than seven digits"
)]
pub fn thousandths(value: f64) -> f32 {
    ((value * 1e3).round() / 1e3) as f32
}

/// The part of the history that a client asks for: `?minutes=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Window {
    /// The length, in minutes.
    #[param(required = false, minimum = 1, maximum = 60, default = 15)]
    minutes: u32,
}

impl Window {
    /// Reads a query string; other parameters are ignored.
    pub fn parse(query: &str) -> Result<Self, ApiError> {
        let mut minutes = 15;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name == "minutes" {
                minutes = match number(&value, 1..=60) {
                    Some(number) => number,
                    None => {
                        return Err(ApiError::validation(vec![FieldError::new(
                            "minutes",
                            format!("minutes is {:?}, expected 1 to 60", shortened(&value)),
                        )]));
                    }
                };
            }
        }
        Ok(Self { minutes })
    }

    /// The length.
    pub fn length(self) -> Duration {
        Duration::from_secs(u64::from(self.minutes) * 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_without_an_answer_keeps_the_last_known_value() {
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
