//! Links and paths in the READMEs and in `docs/` exist, the tables of variables match those that the
//! services read, and the runbook describes all alerts.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use chassis::env::Env;
use regex_lite::Regex;
use serde_json::json;
use shop_tests::shop::{self, Shop};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Markdown files of the repository.
fn documents() -> Vec<PathBuf> {
    let (mut folders, mut documents) = (vec![root()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            // What builds and runs leave behind is not ours.
            let hidden = name.to_string_lossy().starts_with('.');
            let ours = name != "target" && name != "run" && !hidden;
            if path.is_dir() && ours {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                documents.push(path);
            }
        }
    }
    documents
}

/// All texts between `open` and `close`.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open)
        .skip(1)
        .filter_map(move |rest| Some(rest.split_once(close)?.0))
}

/// The anchors that GitHub generates for the headings of a document.
fn anchors(document: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(document).expect("a document");
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn the_map_of_the_docs_leads_to_every_page() {
    let map = fs::read_to_string(root().join("docs/README.md")).expect("the map");
    for entry in fs::read_dir(root().join("docs"))
        .expect("a folder")
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let link = if entry.path().is_dir() {
            format!("]({name}/README.md)")
        } else {
            format!("]({name})")
        };
        // The pictures are in the pages.
        let is_page = !["README.md", "images"].contains(&name.as_str());
        assert!(
            !is_page || map.contains(&link),
            "docs/README.md does not link {name}"
        );
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        let folder = document.parent().expect("a folder");
        for link in between(&text, "](", ")").filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                document.clone()
            } else {
                folder.join(path)
            };
            assert!(
                target.exists(),
                "{}: {link} leads nowhere",
                document.display()
            );
            assert!(
                anchor.is_empty() || anchors(&target).contains(anchor),
                "{}: no heading of {path} gives the anchor #{anchor}",
                document.display()
            );
            links += 1;
        }
    }
    assert!(
        links > 30,
        "only {links} links: are the documents where this test looks?"
    );
}

/// Method, URL and body of each match.
fn requests(text: &str, pattern: &str) -> Vec<(String, String, String)> {
    let pattern = Regex::new(pattern).expect("a pattern");
    let group = |found: &regex_lite::Captures<'_>, name: &str| {
        found
            .name(name)
            .map_or(String::new(), |part| part.as_str().to_owned())
    };
    pattern
        .captures_iter(text)
        .map(|found| {
            let body = group(&found, "body");
            let method = match group(&found, "method") {
                method if !method.is_empty() => method,
                _ if body.is_empty() => "GET".to_owned(),
                _ => "POST".to_owned(),
            };
            (method, group(&found, "url"), body)
        })
        .collect()
}

#[test]
fn the_tour_in_powershell_has_the_requests_of_the_tour() {
    let read = |name: &str| fs::read_to_string(root().join("docs").join(name)).expect("a page");
    let tour = read("tour.md").replace("\\\n   ", "");
    let curl = r"\$ curl -sw '\\n' (-X (?<method>[A-Z]+) )?(?<url>localhost\S+)( -H 'Content-Type: application/json')?( +-d '(?<body>[^']*)')?";
    let send = r"\nSend (?<method>[A-Z]+) http://(?<url>\S+)( '(?<body>[^']*)')?";
    let tour = requests(&tour, curl);
    assert!(tour.len() > 10, "{tour:?}");
    assert_eq!(requests(&read("powershell.md"), send), tour);
}

#[test]
fn every_path_that_is_named_exists() {
    let mut paths = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        let folder = document.parent().expect("a folder");
        // Odd pieces are in backticks, including fenced blocks.
        let code = text
            .split('`')
            .skip(1)
            .step_by(2)
            .chain(between(&text, "```sh\n", "```"));
        for word in code.flat_map(str::split_whitespace) {
            let folders = [
                "src/",
                "scripts/",
                "docs/",
                "deploy/",
                "tests/",
                ".ci/",
                "chassis/src/",
            ];
            if folders.iter().any(|start| word.starts_with(start))
                && !word.contains(['<', '*', '{'])
            {
                // A file that all services have is named without the service.
                let exists = [folder, &root(), &root().join("user-service")]
                    .iter()
                    .any(|start| start.join(word).exists());
                assert!(
                    exists,
                    "{} names {word}, which is not there",
                    document.display()
                );
                paths += 1;
            }
        }
    }
    assert!(
        paths > 30,
        "only {paths} paths: are the documents where this test looks?"
    );
}

/// The variables that the five services and the gateway read.
fn variables() -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::new());
    let env = || {
        Env::new(|name| {
            names.borrow_mut().insert(name.to_owned());
            // The other OTEL_* variables are read only with an endpoint.
            (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://127.0.0.1:4318".to_owned())
        })
    };
    user_service::Config::read(env()).expect("defaults");
    product_service::Config::read(env()).expect("defaults");
    order_service::Config::read(env()).expect("defaults");
    notification_service::Config::read(env()).expect("defaults");
    analytics_service::Config::read(env()).expect("defaults");
    gateway::Config::read(env()).expect("defaults");
    names.into_inner()
}

#[test]
fn the_tables_of_variables_have_those_that_the_services_read() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("a document");
    let configuration = read("docs/configuration.md");
    let (_, section) = configuration
        .split_once("## Environment variables\n")
        .expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let listed: BTreeSet<_> = between(section, "\n| `", "` |")
        .map(str::to_owned)
        .collect();
    let (telemetry, mut own): (BTreeSet<_>, BTreeSet<_>) = variables()
        .into_iter()
        .partition(|name| name.starts_with("OTEL_"));
    // Documented in the row of `LOG_LEVEL`, which it overrides.
    assert!(own.remove("RUST_LOG") && section.contains("`RUST_LOG`"));
    let standard = ["OTEL_*", "OTEL_EXPORTER_OTLP_ENDPOINT"].map(str::to_owned);
    own.extend(standard);
    assert_eq!(listed, own);

    let architecture = read("docs/architecture.md");
    assert!(telemetry.len() > 10, "{telemetry:?}");
    for name in telemetry {
        let told = name.replace("OTLP_TRACES_", "OTLP_");
        assert!(architecture.contains(&format!("| `{told}` |")), "{name}");
    }
}

/// The expression of each alert of Prometheus, on one line.
fn rules() -> BTreeMap<String, String> {
    let rules = root().join("deploy/prometheus/rules.yml");
    let rules = fs::read_to_string(rules).expect("the rules");
    let alert = |text: &str| {
        let (name, rest) = text.split_once('\n')?;
        let expression = between(rest, "expr: ", "\n        for:").next()?;
        Some((
            name.to_owned(),
            one_line(expression.trim_start_matches('|')),
        ))
    };
    rules.split("- alert: ").skip(1).filter_map(alert).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_runbook_has_each_alert_with_the_expression_of_its_rule() {
    let runbook = fs::read_to_string(root().join("docs/runbook.md")).expect("the runbook");
    let section = |text: &str| {
        let (name, rest) = text.split_once('\n')?;
        let expression = between(rest, "```promql\n", "```").next()?;
        Some((name.to_owned(), one_line(expression)))
    };
    let sections: BTreeMap<_, _> = runbook.split("\n## ").filter_map(section).collect();
    assert_eq!(sections, rules());
    assert!(sections.len() >= 5, "{sections:?}");
}

#[tokio::test]
async fn every_metric_that_a_rule_uses_is_one_that_the_services_have() {
    let shop = Shop::start().await;
    shop::add_user(&shop.users, "ada").await;
    shop::add_product(&shop.products, json!(1), 1).await;
    let order = json!({"userId": "1", "productId": "1", "quantity": 1});
    shop.orders.post("/api/orders", order).await.expect(201);
    let mut exposed = BTreeSet::new();
    let gateway = shop.gateway().await;
    let services = shop.services().map(|service| service.server);
    for service in services.into_iter().chain([&gateway]) {
        let got = service.get("/metrics").await;
        let text = String::from_utf8(got.body).expect("UTF-8");
        let names = text.lines().filter_map(|line| line.split_once(['{', ' ']));
        exposed.extend(names.map(|(name, _)| name.to_owned()));
    }
    // Labels and functions are not metrics.
    let else_there = Regex::new(r"\{[^}]*\}|\bby\s*\([^)]*\)|\w+\s*\(").expect("a pattern");
    let name = Regex::new(r"[a-z][a-z0-9]*(_[a-z0-9]+)+").expect("a pattern");
    let mut used = BTreeSet::new();
    for expression in rules().into_values() {
        let left = else_there.replace_all(&expression, " ").into_owned();
        used.extend(name.find_iter(&left).map(|found| found.as_str().to_owned()));
    }
    assert!(used.contains("http_requests_total"), "{used:?}");
    for name in used {
        assert!(exposed.contains(&name), "{name} is not in {exposed:?}");
    }
}
