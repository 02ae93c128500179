//! What the READMEs and `docs/` point at is there, and the runbook is about the
//! alerts that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

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
            let name = name.to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".md") {
                documents.push(path);
            }
        }
    }
    documents
}

/// What stands between `open` and `close`, each time.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open)
        .skip(1)
        .filter_map(move |rest| Some(rest.split_once(close)?.0))
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        let folder = document.parent().expect("a folder");
        for link in between(&text, "](", ")").filter(|link| !link.contains("://")) {
            let path = link.split('#').next().unwrap_or_default();
            assert!(
                folder.join(path).exists(),
                "{}: {link} leads nowhere",
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

#[test]
fn every_path_that_is_named_exists() {
    let mut paths = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        let folder = document.parent().expect("a folder");
        // Odd pieces stand in backticks, fenced blocks included.
        let code = text
            .split('`')
            .skip(1)
            .step_by(2)
            .chain(between(&text, "```sh\n", "```"));
        for word in code.flat_map(str::split_whitespace) {
            let rooms = [
                "src/",
                "scripts/",
                "docs/",
                "tests/",
                ".ci/",
                "chassis/src/",
            ];
            if rooms.iter().any(|room| word.starts_with(room)) && !word.contains(['<', '*', '{']) {
                // A room that all services have is named without any of them.
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

/// The expression of each alert that Prometheus is given, on one line.
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
    for service in shop.services() {
        let got = service.server.get("/metrics").await;
        let text = String::from_utf8(got.body).expect("UTF-8");
        let names = text.lines().filter_map(|line| line.split_once(['{', ' ']));
        exposed.extend(names.map(|(name, _)| name.to_owned()));
    }
    // Labels, and what is done to a metric, are no metrics.
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
