//! The operations of every service.

use std::collections::BTreeSet;

use harness::raw::request;
use regex_lite::Regex;
use reqwest::Url;
use shop_tests::faults::Faults;

use super::World;

#[tokio::test]
async fn health_and_readiness_follow_the_contract() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let moment = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$").expect("a pattern");
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let what = format!("{}: /health", subject.name);
        let health = subject.server.get("/health").await.expect(200);
        let keys: BTreeSet<_> = health
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        faults.expect(
            &what,
            keys,
            BTreeSet::from([
                "status",
                "service",
                "framework",
                "version",
                "time",
                "uptimeSeconds",
            ]),
        );
        for (field, expected) in [
            ("status", "healthy"),
            ("service", subject.name),
            ("framework", subject.framework),
            ("version", env!("CARGO_PKG_VERSION")),
        ] {
            faults.expect(
                format!("{what}.{field}"),
                health[field].as_str(),
                Some(expected),
            );
        }
        faults.ensure(
            &what,
            health["time"]
                .as_str()
                .is_some_and(|time| moment.is_match(time)),
            || format!("time is {}", health["time"]),
        );
        faults.ensure(&what, health["uptimeSeconds"].is_u64(), || {
            format!("uptimeSeconds is {}", health["uptimeSeconds"])
        });

        let what = format!("{}: /health/ready", subject.name);
        let ready = subject.server.get("/health/ready").await.expect(200);
        faults.expect(&what, ready["status"].as_str(), Some("ready"));
        faults.expect(&what, ready["service"].as_str(), Some(subject.name));
        let dependencies = ready["dependencies"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let names: Vec<_> = dependencies
            .iter()
            .filter_map(|one| one["name"].as_str())
            .collect();
        let expected = match subject.name {
            "product-service" => vec!["user-service"],
            "order-service" => vec!["user-service", "product-service", "notification-service"],
            "analytics-service" => vec![
                "user-service",
                "product-service",
                "order-service",
                "notification-service",
            ],
            _ => vec![],
        };
        faults.expect(&what, names, expected);
        for one in &dependencies {
            faults.ensure(
                &what,
                one["status"] == "up"
                    && one["required"].is_boolean()
                    && one["latencyMs"].is_number(),
                || one.to_string(),
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn metrics_name_routes_and_do_not_grow_with_invented_paths() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let series = async || {
            let got = subject.server.get("/metrics").await;
            assert!(
                got.header("content-type")
                    .starts_with("application/openmetrics-text")
            );
            let text = String::from_utf8(got.body).expect("UTF-8");
            assert!(text.ends_with("# EOF\n"), "{text}");
            text
        };
        let names = |text: &str| -> BTreeSet<String> {
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .filter_map(|line| line.rsplit_once(' '))
                .map(|(name, _)| name.to_owned())
                .collect()
        };
        let walk = async |n: usize| {
            for (method, path) in [
                ("GET", format!("/invented/{n}")),
                ("GET", format!("/api/invented-{n}")),
                ("GET", format!("/docs/invented-{n}")),
                ("GET", "/health".to_owned()),
                (&*format!("BREW{n}"), "/health".to_owned()),
                (&*format!("BREW{n}"), format!("/invented/{n}")),
            ] {
                let request = request(method, &path, &[("user-agent", &path)], b"");
                let _ = subject.raw(&request).await;
                // Another version of HTTP is no other series.
                let text = String::from_utf8(request).expect("text");
                for version in ["HTTP/1.0".to_owned(), format!("HTTP/{n}.7")] {
                    let _ = subject
                        .raw(text.replace("HTTP/1.1", &version).as_bytes())
                        .await;
                }
            }
            for (method, template) in &subject.by_id {
                let path = template.replace("{}", &format!("987654{n}"));
                let _ = subject.raw(&request(method, &path, &[], b"")).await;
            }
            for path in &subject.gets {
                let _ = subject
                    .raw(&request("GET", &format!("{path}?invented={n}"), &[], b""))
                    .await;
            }
        };
        walk(0).await;
        // The answer to a request for metrics counts itself only the next time.
        series().await;
        let before = series().await;
        for n in 1..20 {
            walk(n).await;
        }
        let after = series().await;
        faults.expect(
            format!("{}: new series", subject.name),
            names(&after)
                .difference(&names(&before))
                .collect::<Vec<_>>(),
            vec![],
        );
        for raw in ["invented", "987654", "BREW"] {
            faults.ensure(subject.name, !after.contains(raw), || {
                format!("{raw} is in the metrics:\n{after}")
            });
        }
        let mut expected = vec![
            r#"route="/health""#.to_owned(),
            r#"route="unmatched""#.to_owned(),
        ];
        expected.extend(
            subject
                .gets
                .iter()
                .filter(|path| !path.contains('1'))
                .map(|path| format!(r#"route="{path}""#)),
        );
        for label in expected {
            faults.ensure(subject.name, after.contains(&label), || {
                format!("no {label} in the metrics")
            });
        }
        // Where there is no /proc there is no such series.
        if std::path::Path::new("/proc/self/status").exists() {
            let memory = format!(
                r#"process_resident_memory_bytes{{service="{}"}} "#,
                subject.name
            );
            let bytes = after
                .lines()
                .find_map(|line| line.strip_prefix(&memory)?.parse::<u64>().ok());
            faults.ensure(
                subject.name,
                bytes.is_some_and(|bytes| (1 << 20..1 << 40).contains(&bytes)),
                || format!("{bytes:?} is no resident memory"),
            );
        }
        let counted = format!(
            r#"http_requests_total{{service="{}",method="GET",route="/health",status="200"}} "#,
            subject.name
        );
        let count = after
            .lines()
            .find_map(|line| line.strip_prefix(&counted)?.parse::<u32>().ok());
        faults.ensure(subject.name, count >= Some(20), || {
            format!("/health was got 20 times, not {count:?}")
        });
        if !subject.by_id.is_empty() {
            faults.ensure(
                subject.name,
                after.contains('{')
                    && Regex::new(r#"route="[^"]*\{[a-zA-Z]+\}[^"]*""#)
                        .expect("a pattern")
                        .is_match(&after),
                || "no template with a parameter".to_owned(),
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn the_page_loads_nothing_from_other_servers() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let attribute = Regex::new(r#"(?:src|href)\s*=\s*["']([^"']*)["']"#).expect("a pattern");
    let document = Regex::new(r#"url:\s*["']([^"']*)["']"#).expect("a pattern");
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let page = subject.server.get("/docs").await;
        faults.expect(subject.name, page.status, 200);
        faults.expect(
            subject.name,
            page.header("content-type"),
            "text/html; charset=utf-8",
        );
        let html = String::from_utf8(page.body.clone()).expect("UTF-8");
        let base = Url::parse(&format!("http://{}/docs", subject.server.address())).expect("a URL");
        let mut loaded = Vec::new();
        for found in attribute
            .captures_iter(&html)
            .chain(document.captures_iter(&html))
        {
            let reference = found[1].to_owned();
            if reference.starts_with("data:") {
                continue;
            }
            let url = base.join(&reference).expect("a reference");
            faults.expect(
                format!("{}: {reference} is loaded from here", subject.name),
                url.origin(),
                base.origin(),
            );
            let got = subject.server.get(url.path()).await;
            faults.expect(format!("{}: {reference}", subject.name), got.status, 200);
            loaded.push((url.path().to_owned(), got.header("content-type").to_owned()));
        }
        for (path, content_type) in [
            ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
            (
                "/docs/swagger-ui-bundle.js",
                "text/javascript; charset=utf-8",
            ),
            ("/openapi.json", "application/json"),
        ] {
            faults.ensure(
                subject.name,
                loaded.contains(&(path.to_owned(), content_type.to_owned())),
                || format!("{path} as {content_type} is not among {loaded:?}"),
            );
        }
    }
    faults.finish();
}
