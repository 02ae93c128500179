//! What a neighbour has counted since it started, read from its `/metrics`, and
//! what two readings of it tell.

use std::fmt;

/// Routes that are asked by machines: by this service, by Prometheus, by whoever
/// runs the containers. What they ask is not counted as traffic of the shop.
const OPERATIONS: [&str; 3] = ["/health", "/health/ready", "/metrics"];

// The series that are read.
const REQUESTS: &str = "http_requests_total";
const DURATIONS: &str = "http_request_duration_seconds_bucket";
const MEMORY: &str = "process_resident_memory_bytes";

/// The most buckets that a histogram is read with. The shop's have 15.
const MAX_BUCKETS: usize = 64;

/// What a neighbour has counted since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    requests: f64,
    /// Those of the requests that were answered with a 5xx.
    errors: f64,
    /// In ascending bound.
    buckets: Vec<Bucket>,
    /// The memory it has now, in bytes, if it says so.
    pub resident_memory: Option<u64>,
}

/// How many requests took `bound` seconds or less.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// A text that is not the metrics of a service of the shop.
#[derive(Debug, PartialEq, Eq)]
pub struct NotMetrics(String);

impl fmt::Display for NotMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/metrics is not as expected: {}", self.0)
    }
}

/// What was counted from one reading to a later one.
#[derive(Debug, PartialEq)]
pub struct Increase {
    /// The requests answered.
    pub requests: f64,
    /// Those of them that were answered with a 5xx.
    pub errors: f64,
    buckets: Vec<Bucket>,
}

impl Counters {
    /// Reads the `OpenMetrics` text of a service. Only the lines that are needed
    /// are looked at. One that is not there has counted nothing: a service shows
    /// a series once there is something to show.
    pub fn parse(text: &str) -> Result<Self, NotMetrics> {
        // Its last line says that a text is whole; a page of HTML has none.
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

    /// `None` if it is a line that is needed and cannot be read.
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
        let asked_by_machines = OPERATIONS.contains(&sample.route);
        match name {
            MEMORY => self.resident_memory = Some(sample.value as u64),
            _ if asked_by_machines => {}
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

    /// What was counted since `before`; nothing is known if a counter went down,
    /// which it does when its service starts again.
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
    /// The time in seconds that the share `q` of the requests stayed within, as
    /// the `histogram_quantile` of Prometheus has it: the requests of a bucket
    /// are taken to be spread evenly over it, and what is beyond the last bound
    /// is told as that bound. `None` where there was no request.
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

/// As much of a line as the log needs to tell it.
fn beginning(line: &str) -> String {
    format!("{:?}", line.chars().take(100).collect::<String>())
}

/// A line of metrics after its name: the labels that matter here, and the value.
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

/// Where the label's value ends. Its escapes stay: no label read here has any.
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
    fn percentiles_are_those_of_a_table_worked_out_by_hand() {
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
    fn counters_that_went_down_tell_nothing() {
        assert_eq!(
            histogram([1, 1, 1, 1]).since(&histogram([2, 2, 2, 2])),
            None
        );
        let before = counters(r#"http_requests_total{status="200"} 3"#);
        let now = counters(r#"http_requests_total{status="200"} 2"#);
        assert_eq!(now.since(&before), None);
    }

    #[test]
    fn what_machines_ask_is_no_traffic_of_the_shop() {
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
    fn what_a_line_may_have_besides_is_read_over() {
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
    fn what_is_not_metrics_is_refused() {
        let many: Vec<_> = (1..=65)
            .map(|le| format!(r#"http_request_duration_seconds_bucket{{le="{le}"}} 1"#))
            .chain(["# EOF".to_owned()])
            .collect();
        let many = many.join("\n");
        for (text, reason) in [
            ("", "nothing"),
            ("<html># EOF</html>", "a page"),
            ("http_requests_total 5\n", "cut off"),
            ("http_requests_total\n# EOF", "no value"),
            ("http_requests_total five\n# EOF", "no number"),
            ("http_requests_total -1\n# EOF", "less than nothing"),
            ("http_requests_total NaN\n# EOF", "not a number"),
            (
                "http_requests_total{status=\"200 5\n# EOF",
                "no end of a label",
            ),
            (
                "http_requests_total{status} 5\n# EOF",
                "no value of a label",
            ),
            ("process_resident_memory_bytes +Inf\n# EOF", "all there is"),
            (
                "http_request_duration_seconds_bucket{le=\"much\"} 1\n# EOF",
                "no bound",
            ),
            (
                "http_request_duration_seconds_bucket{le=\"NaN\"} 1\n# EOF",
                "a bound that is none",
            ),
            (&many, "buckets without end"),
        ] {
            assert!(Counters::parse(text).is_err(), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            text in r#"(http_requests_total|http_request_duration_seconds_bucket)?[{}="\\, a-z0-9.é\n-]{0,60}"#,
        ) {
            if let Ok(counters) = Counters::parse(&format!("{text}\n# EOF")) {
                let increase = counters.since(&Counters::default()).expect("from nothing");
                increase.quantile(0.99);
            }
        }
    }
}
