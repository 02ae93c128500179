//! The operations of every service.

use std::collections::BTreeSet;

use harness::Got;
use harness::raw::request;
use regex_lite::Regex;
use reqwest::Url;
use shop_tests::faults::Faults;
use shop_tests::program::SERVICES;

use super::{Subject, World, error, standard};

impl Subject<'_> {
    async fn raw_answer(&self, method: &str, path: &str) -> Got {
        let got = self.raw(&request(method, path, &[], b"")).await;
        got.expect("an answer")
    }
}

#[tokio::test]
async fn health_and_readiness_follow_the_contract() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let moment = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$").expect("a pattern");
    for subject in world.services() {
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
    for subject in world.services() {
        faults.of(subject.name, subject.framework);
        let series = async || {
            let got = subject.server.get("/metrics").await;
            String::from_utf8(got.body).expect("UTF-8")
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

/// The `Accept` of Prometheus 3.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

#[tokio::test]
async fn metrics_are_in_the_text_format_or_in_openmetrics_for_those_who_ask() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut series = Vec::new();
        for (accept, openmetrics) in [
            (None, false),
            (Some("*/*"), false),
            (Some("text/plain"), false),
            (Some("text/html,*/*;q=0.8"), false),
            (Some("application/json"), false),
            (
                Some("application/openmetrics-text;q=0.1, text/plain"),
                false,
            ),
            (Some("application/openmetrics-text"), true),
            (Some(PROMETHEUS), true),
        ] {
            let what = format!("{}: Accept: {accept:?}", subject.name);
            let accept: Vec<_> = accept.iter().map(|accept| ("accept", *accept)).collect();
            let got = subject.raw(&request("GET", "/metrics", &accept, b"")).await;
            let got = got.expect("an answer");
            let expected = if openmetrics {
                "application/openmetrics-text; version=1.0.0; charset=utf-8"
            } else {
                "text/plain; version=0.0.4; charset=utf-8"
            };
            faults.expect(&what, got.header("content-type"), expected);
            // The gateway adds another name.
            let vary = got.header("vary").split(", ").next();
            faults.expect(&what, vary, Some("Accept"));
            let text = String::from_utf8(got.body).expect("UTF-8");
            faults.expect(&what, text.ends_with("# EOF\n"), openmetrics);
            if !openmetrics {
                faults.check(&what, text_format(&text));
            }
            let names = text.lines().filter(|line| !line.starts_with('#'));
            let names = names.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
            series.push(names.collect::<BTreeSet<_>>());
        }
        // The first request is in the metrics from the second on.
        for names in &series[2..] {
            faults.expect(format!("{}: series", subject.name), names, &series[1]);
        }
    }
    faults.finish();
}

/// Checks the rules of the text format 0.0.4 that `OpenMetrics` does not have: each sample has
/// the name of its family, or a suffix of a histogram.
fn text_format(text: &str) -> Result<(), String> {
    let (mut helped, mut family) = ("", ("", ""));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split(' ').next().unwrap_or_default();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            family = kind.split_once(' ').ok_or(line)?;
            let is_counter = family.1 == "counter";
            if helped != family.0 || is_counter != family.0.ends_with("_total") {
                return Err(format!("{helped} helps {line}"));
            }
        } else {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let rest = name.strip_prefix(family.0).ok_or(line)?;
            let suffixes: &[_] = match family.1 {
                "histogram" => &["_sum", "_count", "_bucket"],
                _ => &[""],
            };
            if line.starts_with('#') || !suffixes.contains(&rest) {
                return Err(format!("{family:?} has {line}"));
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_root_says_what_is_here() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.services() {
        faults.of(subject.name, subject.framework);
        let get = async |accept: &str| {
            let headers = [("accept", accept)];
            let got = subject.raw(&request("GET", "/", &headers, b"")).await;
            let got = got.expect("an answer");
            assert_eq!(standard(&got), Ok(()), "{got:?}");
            (got.header("content-type").to_owned(), got)
        };
        let (curl, text) = get("*/*").await;
        faults.expect(subject.name, curl.as_str(), "text/plain; charset=utf-8");
        let text = String::from_utf8(text.body).expect("UTF-8");
        let (json, body) = get("application/json").await;
        faults.expect(subject.name, json.as_str(), "application/json");
        let body = body.expect(200);
        faults.expect(subject.name, body["service"].as_str(), Some(subject.name));
        let browser =
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
        let (browser, page) = get(browser).await;
        faults.expect(subject.name, browser.as_str(), "text/html; charset=utf-8");
        let page = String::from_utf8(page.body).expect("UTF-8");

        let routes = body["routes"].as_array().expect("routes");
        let described = subject.server.get("/openapi.json").await.expect(200);
        for route in routes {
            let (path, method) = (&route["path"], &route["method"]);
            let (path, method) = (path.as_str().expect("text"), method.as_str().expect("text"));
            let operation = &described["paths"][path][method.to_lowercase()];
            faults.expect(path, &operation["summary"], &route["summary"]);
            for form in [&text, &page] {
                faults.ensure(path, form.contains(path), || form.clone());
            }
        }
        for path in subject.gets.iter().filter(|path| !path.contains('1')) {
            let known = routes.iter().any(|route| route["path"] == **path);
            faults.ensure(*path, known, || format!("not among {routes:?}"));
        }
        let links = Regex::new(r#"<a href="([^"]*)""#).expect("a pattern");
        for link in links.captures_iter(&page) {
            faults.expect(&link[1], link[1].starts_with('/'), false);
            // An event stream has no end, but a head.
            let head = "HEAD".parse().expect("a method");
            let head = subject.server.request(head, &format!("/{}", &link[1]));
            let got = harness::Got::from(head).await;
            // What only a lab has is described all the same.
            let expected = if link[1].ends_with("/traces") {
                404
            } else {
                200
            };
            faults.expect(&link[1], got.status, expected);
        }
    }
    faults.finish();
}

#[tokio::test]
async fn the_page_is_found_with_a_trailing_slash_and_behind_a_prefix() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for method in ["GET", "HEAD"] {
            let got = subject.raw_answer(method, "/docs/").await;
            faults.expect(subject.name, got.status, 308);
            let behind = Url::parse("http://shop.test/users/docs/").expect("a URL");
            let page = behind.join(got.header("location")).expect("a reference");
            faults.expect(subject.name, page.path(), "/users/docs");
        }
        // "Try it out" calls the paths below the first server, as seen from the document.
        let document = subject.server.get("/openapi.json").await.expect(200);
        let server = document["servers"][0]["url"].as_str().unwrap_or("/");
        let seen = Url::parse("http://shop.test/users/openapi.json").expect("a URL");
        let server = seen.join(server).expect("a reference");
        faults.expect(subject.name, server.path(), "/users/");
    }
    faults.finish();
}

#[tokio::test]
async fn a_file_may_be_stored_and_what_is_true_now_may_not() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases = vec![
            ("/docs/swagger-ui.css", "max-age=86400"),
            ("/docs/swagger-ui-bundle.js", "max-age=86400"),
            ("/docs/nothing", "no-store"),
            ("/nothing", "no-store"),
        ];
        cases.extend(
            subject
                .all_gets()
                .into_iter()
                .map(|path| (path, "no-store")),
        );
        for (path, expected) in cases {
            let got = subject.server.get(path).await;
            faults.expect(path, got.header("cache-control"), expected);
        }
        for (method, path) in [("OPTIONS", "/health"), ("POST", "/health"), ("BREW", "/")] {
            let got = subject.raw_answer(method, path).await;
            faults.expect(path, got.header("cache-control"), "no-store");
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_request_without_a_path_gets_a_whole_sentence() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let connect = b"CONNECT shop.test:80 HTTP/1.1\r\nhost: shop.test:80\r\n\r\n";
        let got = subject.raw(connect).await;
        let text = got.as_ref().map_or_else(Clone::clone, |got| {
            String::from_utf8_lossy(&got.body).into_owned()
        });
        faults.check(subject.name, error(&got, 404, "not_found"));
        faults.ensure(subject.name, text.contains("no proxy"), || text.clone());
    }
    faults.finish();
}

#[tokio::test]
async fn the_page_links_the_other_services_in_the_order_of_their_ports() {
    let world = World::start().await;
    let names = SERVICES.map(|name| format!("{name:?}")).join(", ");
    for subject in world.services() {
        let page = subject.server.get("/docs").await;
        let script = subject.server.get("/docs/page.js").await;
        let text = String::from_utf8([page.body, script.body].concat()).expect("UTF-8");
        for wanted in [
            format!("data-service=\"{}\"", subject.name),
            format!("const services = [{names}];"),
            "prefers-color-scheme: dark".to_owned(),
        ] {
            assert!(text.contains(&wanted), "{}: {wanted}", subject.name);
        }
    }
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
        let script = subject.server.get("/docs/page.js").await;
        let script = String::from_utf8(script.body).expect("UTF-8");
        let base = Url::parse(&format!("http://{}/docs", subject.server.address())).expect("a URL");
        let mut loaded = Vec::new();
        for found in attribute
            .captures_iter(&html)
            .chain(document.captures_iter(&script))
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
            ("/docs/page.js", "text/javascript; charset=utf-8"),
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
