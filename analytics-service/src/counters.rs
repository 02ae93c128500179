//! The counters of a service, read from its `/metrics`, and the increase between two
//! readings.

pub mod calls;
pub mod histogram;
mod line;

use std::fmt;

use calls::{AllCalls, Calls, CallsIncrease};
use histogram::Histogram;
use line::Line;

/// Routes that machines request: this service, Prometheus, the container platform, the instances
/// that register. Their requests do not count as traffic of the shop. Nor does a stream, which
/// lasts as long as somebody watches, nor what is below `/lab/`.
const OPERATIONS: [&str; 7] = [
    "/health",
    "/health/ready",
    "/metrics",
    "/status",
    "/registry",
    "/registry/{service}/{instance}",
    "/api/analytics/stream",
];

/// What the routes of the lab begin with.
const LAB: &str = "/lab/";

// The series that are read, besides those of calls.
const REQUESTS: &str = "http_requests_total";
const DURATIONS: &str = "http_request_duration_seconds_bucket";
const IN_FLIGHT: &str = "http_requests_in_flight";
const MEMORY: &str = "process_resident_memory_bytes";
const ORDERS: &str = "orders";
const REVENUE: &str = "orders_revenue";

/// What a service has counted since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    requests: f64,
    /// The requests that were answered with a 5xx.
    errors: f64,
    durations: Histogram,
    /// The requests in flight, if reported.
    pub in_flight: Option<f64>,
    /// Its current memory, in bytes, if reported.
    pub resident_memory: Option<u64>,
    /// What order-service says about its orders.
    pub orders: Orders,
    calls: AllCalls,
}

/// The orders of the shop, each number if it is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Orders {
    /// The confirmed ones.
    pub confirmed: Option<f64>,
    /// The cancelled ones.
    pub cancelled: Option<f64>,
    /// The sum of the confirmed ones.
    pub revenue: Option<f64>,
}

/// The text is not the metrics of a service of the shop.
#[derive(Debug, PartialEq, Eq)]
pub struct NotMetrics(String);

impl fmt::Display for NotMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/metrics is not as expected: {}", self.0)
    }
}

/// The increase of the counters from one reading to a later one.
#[derive(Debug, PartialEq)]
pub struct Increase {
    /// The requests answered.
    pub requests: f64,
    /// The requests that were answered with a 5xx.
    pub errors: f64,
    durations: Histogram,
}

impl Counters {
    /// Parses the `OpenMetrics` text of a service, as far as it is needed. A missing series
    /// counts as 0: a service reports a series from its first event on.
    pub fn parse(text: &str) -> Result<Self, NotMetrics> {
        // The last line marks the end of a whole text; a page of HTML has no such line.
        if !text.trim_end().ends_with("# EOF") {
            return Err(NotMetrics("it does not end with # EOF".to_owned()));
        }
        let mut counters = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            counters
                .add(line)
                .ok_or_else(|| NotMetrics(beginning(line)))?;
        }
        Ok(counters)
    }

    /// Adds the sample of a line. `None` if the line is needed and malformed.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of bytes is whole and not negative"
    )]
    fn add(&mut self, text: &str) -> Option<()> {
        let (name, rest) = text.split_at(text.find(['{', ' ']).unwrap_or(text.len()));
        let is_own = [REQUESTS, DURATIONS, IN_FLIGHT, MEMORY, ORDERS, REVENUE].contains(&name);
        if !is_own && !AllCalls::has(name) {
            return Some(());
        }
        let line = Line::parse(rest)?;
        let by_machines = OPERATIONS.contains(&line.route) || line.route.starts_with(LAB);
        match name {
            IN_FLIGHT => self.in_flight = Some(line.value),
            MEMORY => self.resident_memory = Some(line.value as u64),
            REVENUE => self.orders.revenue = Some(line.value),
            ORDERS => match line.status {
                "confirmed" => self.orders.confirmed = Some(line.value),
                "cancelled" => self.orders.cancelled = Some(line.value),
                _ => {}
            },
            REQUESTS | DURATIONS if by_machines => {}
            DURATIONS => self.durations.add(line.le, line.value)?,
            REQUESTS => {
                self.requests += line.value;
                if line.status.starts_with('5') {
                    self.errors += line.value;
                }
            }
            _ => self.calls.add(name, &line)?,
        }
        Some(())
    }

    /// The calls to each other service, in the order of their names in the shop.
    pub fn calls(&self) -> impl Iterator<Item = &Calls> {
        self.calls.iter()
    }

    /// The increase since `before`; `None` if a counter went down, as it does after a
    /// restart.
    pub fn since(&self, before: &Self) -> Option<Increase> {
        Some(Increase {
            requests: increase(before.requests, self.requests)?,
            errors: increase(before.errors, self.errors)?,
            durations: self.durations.since(&before.durations)?,
        })
    }

    /// The increase of the calls to the service `to` since `before`; `None` after a restart.
    pub fn calls_since(&self, before: &Self, to: &str) -> Option<CallsIncrease> {
        self.calls.since(&before.calls, to)
    }
}

fn increase(before: f64, now: f64) -> Option<f64> {
    (now >= before).then_some(now - before)
}

impl Increase {
    /// The quantile `q` of the durations, in seconds; `None` if there were no requests.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.durations.quantile(q)
    }
}

/// The beginning of a line, for the log.
fn beginning(line: &str) -> String {
    format!("{:?}", line.chars().take(100).collect::<String>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counters(lines: &str) -> Counters {
        Counters::parse(&format!("{lines}\n# EOF\n")).expect("metrics")
    }

    fn histogram(counts: [u32; 4]) -> Counters {
        let lines: Vec<_> = ["0.1", "0.5", "1.0", "+Inf"]
            .iter()
            .zip(counts)
            .map(|(le, count)| {
                format!(
                    r#"http_request_duration_seconds_bucket{{route="/a",status="200",le="{le}"}} {count}"#
                )
            })
            .collect();
        counters(&lines.join("\n"))
    }

    #[test]
    fn percentiles_are_interpolated_within_their_bucket() {
        for (before, now, expected, reason) in [
            (
                [0, 0, 0, 0],
                [10, 10, 10, 10],
                [Some(0.05), Some(0.095), Some(0.099)],
                "spread evenly over the first bucket, which begins at 0",
            ),
            (
                [0, 0, 0, 0],
                [50, 90, 100, 100],
                [Some(0.1), Some(0.75), Some(0.95)],
                "the 50th at a bound; the 95th half-way from 0.5 to 1",
            ),
            (
                [7, 7, 7, 7],
                [7, 17, 17, 17],
                [Some(0.3), Some(0.48), Some(0.496)],
                "what was counted before does not count; an empty bucket is passed over",
            ),
            (
                [0, 0, 0, 0],
                [0, 0, 0, 4],
                [Some(1.0), Some(1.0), Some(1.0)],
                "beyond the last bound",
            ),
            ([5, 6, 7, 8], [5, 6, 7, 8], [None; 3], "no request"),
            ([0, 0, 0, 0], [0, 0, 0, 0], [None; 3], "never a request"),
        ] {
            let increase = histogram(now).since(&histogram(before)).expect(reason);
            for (q, expected) in [0.5, 0.95, 0.99].into_iter().zip(expected) {
                let got = increase.quantile(q);
                let near = match (got, expected) {
                    (Some(got), Some(expected)) => (got - expected).abs() < 1e-9,
                    (got, expected) => got == expected,
                };
                assert!(near, "{reason}: p{q} is {got:?}, expected {expected:?}");
            }
        }
    }

    #[test]
    fn after_a_restart_the_increase_is_unknown() {
        assert_eq!(
            histogram([1, 1, 1, 1]).since(&histogram([2, 2, 2, 2])),
            None
        );
        let before = counters(r#"http_requests_total{status="200"} 3"#);
        let now = counters(r#"http_requests_total{status="200"} 2"#);
        assert_eq!(now.since(&before), None);
    }

    #[test]
    fn operations_do_not_count_as_traffic() {
        let counted = counters(
            r#"# TYPE http_requests counter
http_requests_total{service="s",method="GET",route="/api/users",status="200"} 4
http_requests_total{service="s",method="GET",route="unmatched",status="404"} 1
http_requests_total{service="s",method="GET",route="/api/users",status="503"} 2
http_requests_total{service="s",method="GET",route="/health",status="200"} 100
http_requests_total{service="s",method="GET",route="/health/ready",status="503"} 100
http_requests_total{service="s",method="GET",route="/metrics",status="200"} 100
http_requests_total{service="s",method="GET",route="/lab/faults",status="200"} 100
http_requests_total{service="s",method="GET",route="/status",status="200"} 100
http_requests_total{service="s",method="GET",route="/api/analytics/stream",status="200"} 100
http_request_duration_seconds_bucket{service="s",method="GET",route="/metrics",status="200",le="+Inf"} 100
another_total{label="}\\\" # \"{"} 5
process_resident_memory_bytes{service="s"} 12345678"#,
        );
        assert_eq!((counted.requests, counted.errors), (7.0, 2.0));
        assert_eq!(counted.durations, Histogram::default());
        assert_eq!(counted.resident_memory, Some(12_345_678));
    }

    #[test]
    fn calls_are_read_by_the_service_that_they_go_to() {
        let metrics = |count: u32| {
            counters(&format!(
                r#"upstream_calls_total{{dependency="order-service",outcome="ok"}} {count}
upstream_calls_total{{dependency="user-service",outcome="ok"}} {count}
upstream_calls_total{{dependency="user-service",outcome="refused"}} {count}
upstream_calls_total{{dependency="user-service",outcome="timed_out"}} {count}
upstream_calls_total{{dependency="user-service",outcome="circuit_open"}} {count}
upstream_calls_total{{dependency="user-service",outcome="bulkhead_full"}} {count}
upstream_calls_total{{dependency="made-up",outcome="ok"}} {count}
upstream_retries_total{{dependency="user-service"}} {count}
upstream_call_duration_seconds_bucket{{dependency="user-service",le="0.1"}} {count}
upstream_call_duration_seconds_bucket{{dependency="user-service",le="+Inf"}} {count}
upstream_circuit_state{{dependency="user-service",state="open"}} 1
upstream_circuit_state{{dependency="user-service",state="closed"}} 0
gateway_instance_requests_total{{dependency="order-service",url="a"}} {count}
gateway_instance_requests_total{{dependency="order-service",url="b"}} {count}
gateway_instance_failures_total{{dependency="order-service",url="b"}} {count}
orders{{status="confirmed"}} {count}
orders_revenue 7.5"#
            ))
        };
        let (before, now) = (metrics(1), metrics(11));
        let to: Vec<_> = now
            .calls()
            .map(|calls| (calls.to, calls.circuit()))
            .collect();
        let open = Some(chassis::contract::health::CircuitState::Open);
        assert_eq!(to, [("user-service", open), ("order-service", None)]);
        let calls = now.calls_since(&before, "user-service").expect("known");
        let counts = (calls.made, calls.failed, calls.not_made, calls.retries);
        assert_eq!(counts, (30.0, 10.0, 20.0, Some(10.0)));
        assert_eq!(calls.durations.quantile(0.5), Some(0.05));
        // What the gateway forwards includes its own calls.
        let calls = now.calls_since(&before, "order-service").expect("known");
        let counts = (calls.made, calls.failed, calls.not_made, calls.retries);
        assert_eq!(counts, (20.0, 10.0, 0.0, None));
        assert_eq!(before.calls_since(&now, "user-service"), None, "a restart");
        assert_eq!(now.calls_since(&before, "made-up"), None);
        let orders = now.orders;
        let read = (orders.confirmed, orders.cancelled, orders.revenue);
        assert_eq!(read, (Some(11.0), None, Some(7.5)));
    }

    #[test]
    fn optional_parts_of_a_line_are_ignored() {
        for (line, reason) in [
            (
                r#"http_requests_total{status="200"} 5"#,
                "as the shop writes it",
            ),
            (r"http_requests_total 5", "no labels"),
            (r"http_requests_total{} 5.0", "none in braces, a float"),
            (
                r#"http_requests_total{status="200"} 5 1700000000"#,
                "a time",
            ),
            (
                r#"http_requests_total{status="200"} 5 # {trace_id="a b"} 1"#,
                "an exemplar",
            ),
            (
                r#"http_requests_total{note="a \"}\", \\",status="200"} 5"#,
                "escapes in a label",
            ),
        ] {
            assert!((counters(line).requests - 5.0).abs() < 1e-9, "{reason}");
        }
    }

    #[test]
    fn a_text_that_is_not_metrics_is_refused() {
        let many: Vec<_> = (1..=65)
            .map(|le| format!(r#"http_request_duration_seconds_bucket{{le="{le}"}} 1"#))
            .chain(["# EOF".to_owned()])
            .collect();
        let many = many.join("\n");
        for (text, reason) in [
            ("", "nothing"),
            ("<html># EOF</html>", "a page of HTML"),
            ("http_requests_total 5\n", "cut off"),
            ("http_requests_total\n# EOF", "no value"),
            ("http_requests_total five\n# EOF", "not numeric"),
            ("http_requests_total -1\n# EOF", "negative"),
            ("http_requests_total NaN\n# EOF", "not a number"),
            (
                "http_requests_total{status=\"200 5\n# EOF",
                "no end of a label",
            ),
            (
                "http_requests_total{status} 5\n# EOF",
                "no value of a label",
            ),
            ("process_resident_memory_bytes +Inf\n# EOF", "infinite"),
            (
                "http_request_duration_seconds_bucket{le=\"much\"} 1\n# EOF",
                "no bound",
            ),
            (
                "http_request_duration_seconds_bucket{le=\"NaN\"} 1\n# EOF",
                "an invalid bound",
            ),
            (&many, "too many buckets"),
        ] {
            assert!(Counters::parse(text).is_err(), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(
            text in r#"(http_requests_total|http_request_duration_seconds_bucket)?[{}="\\, a-z0-9.é\n-]{0,60}"#,
        ) {
            if let Ok(counters) = Counters::parse(&format!("{text}\n# EOF")) {
                let increase = counters.since(&Counters::default()).expect("an increase from 0");
                increase.quantile(0.99);
            }
        }
    }
}
