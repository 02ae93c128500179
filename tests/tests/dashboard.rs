//! The Grafana dashboard: every metric and label that its queries name is exposed by the running
//! shop, and its files fit together. `.ci/run` parses the queries with promtool and sends them to a
//! real Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use harness::raw;
use regex_lite::Regex;
use serde_json::{Value, json};
use shop_tests::program::SERVICES;
use shop_tests::scripts::Shop;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/dashboards/shop.json")).expect("JSON")
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

/// Name, labels and values of all series.
#[derive(Default)]
struct Exposed(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Exposed {
    /// Reads the text format of Prometheus.
    fn read(&mut self, text: &str) {
        let label = pattern(r#"([a-z_]+)="((?:[^"\\]|\\.)*)""#);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let end = line.find(['{', ' ']).unwrap_or(line.len());
            let labels = self.0.entry(line[..end].to_owned()).or_default();
            for found in label.captures_iter(&line[end..]) {
                let values = labels.entry(found[1].to_owned()).or_default();
                values.insert(found[2].to_owned());
            }
        }
    }

    /// What a query names that does not exist.
    fn unknown_in(&self, query: &str) -> Vec<String> {
        let mut unknown = Vec::new();
        // Functions, the words of the language, and the lists of labels to group by are no metrics.
        let grouped = pattern(r"\bby \(([a-z_, ]+)\)");
        let selector = pattern(r"\b([a-z_:]+)(?:\{([^}]*)\})");
        let matcher = pattern(r#"([a-z_]+)(=~|!~|!=|=)"([^"]*)""#);
        let bare = pattern(r"\b([a-z]+(?:_[a-z]+)+)\b");
        let mut metrics = BTreeSet::new();
        for found in selector.captures_iter(query) {
            let (metric, rest) = (&found[1], &found[2]);
            metrics.insert(metric.to_owned());
            for label in matcher.captures_iter(rest) {
                let values = self.0.get(metric).and_then(|labels| labels.get(&label[1]));
                let Some(values) = values else {
                    unknown.push(format!("{metric}{{{}}}", &label[1]));
                    continue;
                };
                // Of a pattern, the values that it spells out; a status may not have happened yet.
                let spelled = label[3]
                    .split('|')
                    .filter(|value| !value.contains(['.', '*', '/']));
                let is_route = &label[1] == "route" && &label[2] == "=";
                let wanted = if is_route {
                    vec![&label[3]]
                } else {
                    spelled.collect()
                };
                for value in wanted {
                    if !values.contains(value) {
                        unknown.push(format!("{metric}{{{}=\"{value}\"}}", &label[1]));
                    }
                }
            }
        }
        let outside = selector.replace_all(query, " ");
        let outside = grouped
            .replace_all(&outside, " ")
            .replace("histogram_quantile(", "");
        let outside = outside.replace("$__rate_interval", "");
        metrics.extend(
            bare.captures_iter(&outside)
                .map(|found| found[1].to_owned()),
        );
        if metrics.is_empty() {
            unknown.push(format!("no metric in {query}"));
        }
        let has = |label: &str| {
            let labels = metrics.iter().filter_map(|metric| self.0.get(metric));
            labels.flat_map(BTreeMap::keys).any(|known| known == label)
        };
        for label in grouped.captures_iter(query).flat_map(|found| {
            let names = found[1].split(',').map(|name| name.trim().to_owned());
            names.collect::<Vec<_>>()
        }) {
            if !has(&label) {
                unknown.push(format!("by ({label})"));
            }
        }
        unknown.extend(
            metrics
                .into_iter()
                .filter(|name| !self.0.contains_key(name)),
        );
        unknown
    }
}

/// Title, query and legend of each query.
fn queries(dashboard: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut found = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let (query, legend) = (&target["expr"], &target["legendFormat"]);
            found.push((text(&panel["title"]), text(query), text(legend)));
        }
    }
    found
}

/// What all six expose after an order, and what Prometheus adds.
async fn exposed() -> Exposed {
    let shop = Shop::new().expect("five ports");
    for script in ["start.sh", "seed.sh"] {
        let ran = shop.run(script, &[]).await.expect("it ends");
        assert!(ran.worked, "{script}: {}", ran.said);
    }
    let order = json!({ "userId": "1", "productId": "1", "quantity": 1 });
    let placed = raw::post(shop.address("gateway"), "/api/orders", &[], &order).await;
    assert_eq!(placed.expect("an answer").status, 201);
    let mut exposed = Exposed::default();
    for service in SERVICES.into_iter().chain(["gateway"]) {
        let metrics = raw::get(shop.address(service), "/metrics").await;
        let metrics = metrics.expect("an answer");
        exposed.read(str::from_utf8(&metrics.body).expect("text"));
        exposed.read(&format!("up{{job=\"shop\",service=\"{service}\"}} 1"));
    }
    exposed
}

#[tokio::test]
async fn every_metric_and_label_of_the_dashboard_exists() {
    let exposed = exposed().await;
    let queries = queries(&dashboard());
    assert!(queries.len() > 20, "{queries:?}");
    let mut unknown = Vec::new();
    for (title, query, legend) in &queries {
        let missing = exposed.unknown_in(query);
        unknown.extend(missing.into_iter().map(|what| format!("{title}: {what}")));
        // A label of the legend that was not grouped by would stay empty.
        for label in pattern(r"\{\{([a-z_]+)\}\}").captures_iter(legend) {
            let kept = query.matches(" by (").count() == 0
                || query
                    .split(" by (")
                    .skip(1)
                    .all(|rest| rest.contains(&label[1]));
            if !kept {
                unknown.push(format!("{title}: {} of the legend", &label[1]));
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());

    // It would notice.
    for wrong in [
        "rate(http_requests[1m])",
        r#"http_requests_total{code="500"}"#,
        r#"upstream_calls_total{outcome="exploded"}"#,
        r#"upstream_calls_total{outcome=~"ok|exploded"}"#,
        "sum by (server) (http_requests_total)",
        "sum(1)",
    ] {
        assert_eq!(exposed.unknown_in(wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn the_files_of_the_dashboard_fit_together() {
    let yaml = |path: &str| -> Value { yaml_serde::from_str(&read(path)).expect("YAML") };
    let dashboard = dashboard();
    let source = &yaml("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"][0];
    let compose = read("docker-compose.yml");
    let url = source["url"].as_str().expect("an address");
    assert_eq!(url, "http://prometheus:9090", "the container and its port");
    assert!(compose.contains("${PROMETHEUS_PORT:-9090}:9090"));
    let provider = &yaml("deploy/grafana/provisioning/dashboards/shop.yml")["providers"][0];
    let path = provider["options"]["path"].as_str().expect("a path");
    assert!(compose.contains(&format!("- ./deploy/grafana/dashboards:{path}:ro")));
    assert!(compose.contains(&format!("HOME_DASHBOARD_PATH: {path}/shop.json")));

    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(
            ids.insert(panel["id"].as_u64()),
            "the id of {}",
            panel["title"]
        );
        let position = &panel["gridPos"];
        let place = |name: &str| position[name].as_u64().expect("a number");
        assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(
                target["datasource"]["uid"], source["uid"],
                "{}",
                panel["title"]
            );
        }
    }
}
