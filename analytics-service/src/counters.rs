//! The counters of a service, read from its `/metrics`, and the increase between two
//! readings.

use std::fmt;

/// Routes that machines request: this service, Prometheus, the container platform. Their
/// requests do not count as traffic of the shop.
const OPERATIONS: [&str; 3] = ["/health", "/health/ready", "/metrics"];

// The series that are read.
const REQUESTS: &str = "http_requests_total";
const DURATIONS: &str = "http_request_duration_seconds_bucket";
const MEMORY: &str = "process_resident_memory_bytes";

/// The most buckets of a histogram. Those of the shop have 15.
const MAX_BUCKETS: usize = 64;

/// What a service has counted since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    requests: f64,
    /// The requests that were answered with a 5xx.
    errors: f64,
    /// In ascending bound.
    buckets: Vec<Bucket>,
    /// Its current memory, in bytes, if reported.
    pub resident_memory: Option<u64>,
}

/// How many requests took `bound` seconds or less.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
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
    buckets: Vec<Bucket>,
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
        counters
            .buckets
            .sort_by(|one, other| one.bound.total_cmp(&other.bound));
        Ok(counters)
    }

    /// Adds the sample of a line. `None` if the line is needed and malformed.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of bytes is whole and not negative"
    )]
    fn add(&mut self, line: &str) -> Option<()> {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
        if ![REQUESTS, DURATIONS, MEMORY].contains(&name) {
            return Some(());
        }
        let sample = Sample::parse(rest)?;
        let by_machines = OPERATIONS.contains(&sample.route);
        match name {
            MEMORY => self.resident_memory = Some(sample.value as u64),
            _ if by_machines => {}
            DURATIONS => self.add_bucket(&sample)?,
            _ => {
                self.requests += sample.value;
                if sample.status.starts_with('5') {
                    self.errors += sample.value;
                }
            }
        }
        Some(())
    }

    fn add_bucket(&mut self, sample: &Sample<'_>) -> Option<()> {
        let bound: f64 = sample.le.parse().ok().filter(|bound| *bound > 0.0)?;
        let count = sample.value;
        let same = |bucket: &Bucket| bucket.bound.total_cmp(&bound).is_eq();
        match self.buckets.iter().position(same) {
            Some(n) => self.buckets[n].count += count,
            None if self.buckets.len() == MAX_BUCKETS => return None,
            None => self.buckets.push(Bucket { bound, count }),
        }
        Some(())
    }

    /// The increase since `before`; `None` if a counter went down, as it does after a
    /// restart.
    pub fn since(&self, before: &Self) -> Option<Increase> {
        let requests = increase(before.requests, self.requests)?;
        let errors = increase(before.errors, self.errors)?;
        let buckets = self.buckets.iter().map(|now| {
            let before = before
                .buckets
                .iter()
                .find(|before| before.bound.total_cmp(&now.bound).is_eq())
                .map_or(0.0, |before| before.count);
            let count = increase(before, now.count)?;
            Some(Bucket { count, ..*now })
        });
        Some(Increase {
            requests,
            errors,
            buckets: buckets.collect::<Option<_>>()?,
        })
    }
}

fn increase(before: f64, now: f64) -> Option<f64> {
    (now >= before).then_some(now - before)
}

impl Increase {
    /// The quantile `q` of the durations, in seconds, computed like `histogram_quantile` in
    /// Prometheus: requests are assumed to be spread evenly over their bucket, and none to
    /// be slower than the last bound. `None` if there were no requests.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let all = self
            .buckets
            .last()
            .filter(|last| last.bound.is_infinite() && last.count > 0.0)?;
        let rank = q * all.count;
        let (mut start, mut below) = (0.0, 0.0);
        for Bucket { bound, count } in &self.buckets {
            if *count >= rank && *count > below {
                return Some(if bound.is_finite() {
                    start + (bound - start) * (rank - below) / (count - below)
                } else {
                    start
                });
            }
            (start, below) = (*bound, count.max(below));
        }
        None
    }
}

/// The beginning of a line, for the log.
fn beginning(line: &str) -> String {
    format!("{:?}", line.chars().take(100).collect::<String>())
}

/// A line of metrics after its name: the labels that are needed, and the value.
struct Sample<'a> {
    route: &'a str,
    status: &'a str,
    le: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    /// Reads `{label="value",…} value`; a time or an exemplar may follow.
    fn parse(line: &'a str) -> Option<Self> {
        let (mut route, mut status, mut le) = ("", "", "");
        let mut rest = line;
        if let Some(labels) = line.strip_prefix('{') {
            rest = labels;
            while !rest.starts_with('}') {
                let (label, quoted) = rest.split_once("=\"")?;
                let (value, after) = quoted.split_at(closing_quote(quoted)?);
                match label {
                    "route" => route = value,
                    "status" => status = value,
                    "le" => le = value,
                    _ => {}
                }
                let after = &after[1..];
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            rest = &rest[1..];
        }
        let value = rest.split_ascii_whitespace().next()?.parse().ok();
        let value = value.filter(|value: &f64| value.is_finite() && *value >= 0.0)?;
        Some(Self {
            route,
            status,
            le,
            value,
        })
    }
}

/// The position of the quote that ends a label's value. Escapes are skipped, not decoded:
/// no label that is needed has any.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closing = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closing
    })
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
http_request_duration_seconds_bucket{service="s",method="GET",route="/metrics",status="200",le="+Inf"} 100
another_total{label="}\\\" # \"{"} 5
process_resident_memory_bytes{service="s"} 12345678"#,
        );
        assert_eq!((counted.requests, counted.errors), (7.0, 2.0));
        assert_eq!(counted.buckets, vec![]);
        assert_eq!(counted.resident_memory, Some(12_345_678));
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
