//! What a scenario reads from the stores and the metrics of the services.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::file::At;
use super::run::Place;
use crate::client::Client;

/// A number that can be read with one request.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Given")]
pub struct Number {
    at: At,
    path: String,
    part: Part,
}

/// Which part of the response it is.
#[derive(Clone, Debug)]
enum Part {
    /// The place in the JSON, such as `/stock`.
    Json(String),
    /// A header.
    Header(String),
    /// The sum of all series of a metric that have these labels.
    Metric(String, BTreeMap<String, String>),
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    at: At,
    path: Option<String>,
    json: Option<String>,
    header: Option<String>,
    metric: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl TryFrom<Given> for Number {
    type Error = String;

    fn try_from(given: Given) -> Result<Self, String> {
        let (path, part) = match (given.path, given.json, given.header, given.metric) {
            (Some(path), Some(json), None, None) => (path, Part::Json(json)),
            (Some(path), None, Some(header), None) => (path, Part::Header(header)),
            (None, None, None, Some(metric)) => {
                let metric = Part::Metric(metric, given.labels);
                return Ok(Self {
                    at: given.at,
                    path: "/metrics".to_owned(),
                    part: metric,
                });
            }
            _ => {
                return Err(
                    "a number has a `path` and either `json` or `header`, or it has a `metric`"
                        .to_owned(),
                );
            }
        };
        if !path.starts_with('/') {
            return Err(format!("path is {path:?}; it begins with a slash"));
        }
        Ok(Self {
            at: given.at,
            path,
            part,
        })
    }
}

impl Number {
    /// Whether it counts up for as long as its service runs: then how much it grows in a phase is
    /// of interest. By convention the names of counters end like this.
    pub fn is_counter(&self) -> bool {
        matches!(&self.part, Part::Metric(name, _) if name.ends_with("_total"))
    }

    /// Where it is read.
    pub fn at(&self) -> At {
        self.at
    }

    /// The path that is requested.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reads it. The error is a sentence.
    pub async fn read(&self, client: &Client, place: &Place) -> Result<f64, String> {
        let url = format!("{}{}", place.origin(self.at), self.path);
        let response = client.get(&url).await;
        let response = response.map_err(|cause| format!("{url}: {cause}"))?;
        if !response.status.is_success() {
            return Err(format!("{url} answered {}", response.status));
        }
        let missing = || format!("{url} has no such number");
        match &self.part {
            Part::Json(pointer) => {
                let body: Value = response.json().map_err(|_| missing())?;
                let value = body.pointer(pointer).ok_or_else(missing)?;
                value.as_f64().ok_or_else(missing)
            }
            Part::Header(name) => {
                let value = response.header(name).ok_or_else(missing)?;
                value.parse().map_err(|_| missing())
            }
            // A series that has not begun is not there.
            Part::Metric(name, labels) => {
                Ok(sum(&String::from_utf8_lossy(&response.body), name, labels))
            }
        }
    }
}

/// The sum of the series called `name` with these labels, in the text format of Prometheus.
fn sum(text: &str, name: &str, labels: &BTreeMap<String, String>) -> f64 {
    let value = |line: &str| -> Option<f64> {
        let rest = line.strip_prefix(name)?;
        let (own, value) = match rest.strip_prefix('{') {
            // A route in a label has braces too.
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest),
        };
        let has = |(label, value): (&String, &String)| {
            let pair = format!("{label}=\"{value}\"");
            own == pair
                || own.starts_with(&format!("{pair},"))
                || own.contains(&format!(",{pair},"))
                || own.ends_with(&format!(",{pair}"))
        };
        if !labels.iter().all(has) || !value.starts_with(' ') {
            return None;
        }
        value.split_whitespace().next()?.parse().ok()
    };
    text.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_the_sum_of_its_series() {
        let text = "# TYPE http_requests counter\n\
            http_requests_total{service=\"a\",method=\"GET\",route=\"/api/users/{id}\",status=\"200\"} 7\n\
            http_requests_total{service=\"a\",method=\"GET\",route=\"/api/users/{id}\",status=\"503\"} 2\n\
            http_requests_total{service=\"a\",method=\"POST\",route=\"/api/users\",status=\"201\"} 40\n\
            http_requests_total_more{service=\"a\"} 100\n\
            up 1\n";
        for (name, labels, expected) in [
            ("http_requests_total", vec![], 49.0),
            (
                "http_requests_total",
                vec![("route", "/api/users/{id}")],
                9.0,
            ),
            (
                "http_requests_total",
                vec![("route", "/api/users/{id}"), ("status", "503")],
                2.0,
            ),
            (
                "http_requests_total",
                vec![("service", "a"), ("method", "POST")],
                40.0,
            ),
            ("http_requests_total", vec![("route", "/api")], 0.0),
            ("up", vec![], 1.0),
            ("down", vec![], 0.0),
        ] {
            let owned = labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            let got = sum(text, name, &owned.collect());
            assert!((got - expected).abs() < 1e-9, "{name} {labels:?}: {got}");
        }
    }
}
