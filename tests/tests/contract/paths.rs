//! Paths and ids without a route or a record.

use harness::raw::request;
use serde_json::{Value, json};
use shop_tests::faults::Faults;

use super::{JSON, World, bytes, error, status};

#[tokio::test]
async fn a_path_that_is_no_route_is_not_found() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases = vec![
            ("/nothing".to_owned(), "no such route"),
            ("/api".to_owned(), "only the start of a route"),
            ("/health/".to_owned(), "a trailing slash"),
            ("//health".to_owned(), "a doubled slash"),
            ("/health//ready".to_owned(), "a doubled slash inside"),
            (
                "/health/ready/".to_owned(),
                "a trailing slash on two segments",
            ),
            ("/Health".to_owned(), "paths have a letter case"),
            (
                "/health%2Fready".to_owned(),
                "an encoded slash is no separator",
            ),
            ("/health/ready/more".to_owned(), "more than a route"),
            ("/docs//".to_owned(), "two trailing slashes on the page"),
            (
                "/openapi.json/".to_owned(),
                "a trailing slash on the document",
            ),
            ("/.".to_owned(), "a dot"),
            (
                "/nothing?q=[{|}]".to_owned(),
                "a query with characters that need encoding",
            ),
            (
                "/no|thing/{x}".to_owned(),
                "a path with characters that need encoding",
            ),
            ("/%ff%fe".to_owned(), "a path that is not UTF-8"),
            ("/%".to_owned(), "half an encoding"),
        ];
        for path in &subject.gets {
            cases.push((format!("{path}/"), "a trailing slash"));
            cases.push((format!("/{path}"), "a doubled slash"));
            cases.push((
                path.replacen("/api/", "/api//", 1),
                "a doubled slash inside",
            ));
            cases.push((path.to_uppercase(), "paths have a letter case"));
        }
        for (path, reason) in cases {
            for method in ["GET", "POST", "OPTIONS", "BREW"] {
                let got = subject.raw(&request(method, &path, &[], b"")).await;
                let what = format!("{}: {method} {path} ({reason})", subject.name);
                faults.check(what, error(&got, 404, "not_found"));
            }
        }
        for (path, reason) in [
            ("/docs/nothing.js", "a file that the page does not have"),
            (
                "/docs/..%2f..%2fCargo.toml",
                "a way out of the page's files",
            ),
            ("/docs/%2e%2e%2fhealth", "an encoded one"),
        ] {
            let got = subject.raw(&request("GET", path, &[], b"")).await;
            faults.check(
                format!("{}: {path} ({reason})", subject.name),
                error(&got, 404, "not_found"),
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_percent_encoded_path_is_the_path_it_encodes() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases = vec![
            ("/%68ealth".to_owned(), "a letter of a route"),
            ("/health/read%79".to_owned(), "its last letter"),
        ];
        for path in &subject.gets {
            cases.push((path.replacen("/api/", "/%61pi/", 1), "a letter of a route"));
            if path.contains('1') {
                cases.push((path.replace('1', "%31"), "an id"));
            }
        }
        for (path, reason) in cases {
            let got = subject.raw(&request("GET", &path, &[], b"")).await;
            faults.expect(
                format!("{}: GET {path} ({reason})", subject.name),
                status(&got),
                Ok(200),
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn an_id_that_is_malformed_is_not_found() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let long = "1".repeat(2000);
    let cases = [
        ("999999", "never given"),
        ("0", "ids count up from 1"),
        ("01", "a leading zero"),
        ("+1", "a sign"),
        ("-1", "negative"),
        ("1.0", "not whole"),
        ("1e0", "an exponent"),
        ("0x1", "hexadecimal"),
        ("abc", "no number"),
        ("null", "a word"),
        ("18446744073709551616", "one more than 64 bits hold"),
        (&long, "very long"),
        ("%201", "white space before it"),
        ("1%20", "white space behind it"),
        ("%31%00", "a zero byte behind it"),
        ("1%2F1", "an encoded slash"),
        ("..%2F..%2Fhealth", "a way out"),
        ("%ff", "not UTF-8"),
        ("%", "half an encoding"),
        ("%zz", "no encoding"),
        ("%D9%A1", "a digit, but not an ASCII one"),
        ("1;x=1", "a path parameter"),
        ("1+1", "a plus"),
        ("{1}", "braces"),
        ("a|b", "a bar"),
        ("\"1\"", "quotes"),
        ("*", "a star"),
    ];
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for (method, template) in &subject.by_id {
            for (id, reason) in cases {
                let path = template.replace("{}", id);
                let body = match (*method, subject.name) {
                    ("PUT", "user-service") => json!({"name": "Ada", "email": "ada@example.com"}),
                    ("PUT", _) => json!({"name": "Kettle"}),
                    ("PATCH", "product-service") => json!({"delta": 1}),
                    _ => Value::Null,
                };
                let request = if body.is_null() {
                    request(method, &path, &[], b"")
                } else {
                    request(method, &path, &[JSON], &bytes(&body))
                };
                let got = subject.raw(&request).await;
                let what = format!(
                    "{}: {method} {template} with {id:.30} ({reason})",
                    subject.name
                );
                faults.check(&what, error(&got, 404, "not_found"));
                if id == "%ff" {
                    let body = got.map(|got| got.body).unwrap_or_default();
                    let text = String::from_utf8_lossy(&body);
                    faults.ensure(what, text.contains("is not UTF-8"), || text.to_string());
                }
            }
        }
    }
    faults.finish();
}

/// The code is the same, but a caller with a wrong address must not believe that a record is gone.
#[tokio::test]
async fn a_caller_can_tell_an_unknown_route_from_an_unknown_record() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases = vec![("GET", "/api/nothing/1".to_owned(), "route")];
        for (method, template) in subject.by_id.iter().filter(|(method, _)| *method == "GET") {
            cases.push((*method, template.replace("{}", "999999"), ""));
        }
        for (method, path, expected) in cases {
            let got = subject.raw(&request(method, &path, &[], b"")).await;
            let what = format!("{}: {method} {path}", subject.name);
            faults.check(&what, error(&got, 404, "not_found"));
            let told = got.map(|got| got.header("x-not-found").to_owned());
            faults.expect(&what, told, Ok(expected.to_owned()));
        }
    }
    faults.finish();
}

#[tokio::test]
async fn an_error_repeats_only_the_beginning_of_what_is_very_long() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let long = "x".repeat(20_000);
    let (path, file) = (format!("/{long}"), format!("/docs/{long}"));
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases = vec![
            (request("GET", &path, &[], b""), 404, "a path"),
            (request("GET", &file, &[], b""), 404, "a file of the page"),
            (request(&long, "/health", &[], b""), 405, "a method"),
        ];
        for (method, path) in &subject.by_id {
            let path = path.replace("{}", &long);
            cases.push((request(method, &path, &[JSON], b"{}"), 404, "an id"));
        }
        for list in &subject.lists {
            for name in ["limit", "order", "after", "before"] {
                let path = format!("{list}?{name}={long}");
                cases.push((request("GET", &path, &[], b""), 400, "a parameter"));
            }
        }
        if subject.name == "analytics-service" {
            let path = format!("/api/analytics/history?minutes={long}");
            cases.push((request("GET", &path, &[], b""), 400, "a parameter"));
        }
        for route in &subject.bodies {
            for headers in [
                [("content-type", long.as_str()), ("x-other", "")],
                [JSON, ("content-encoding", &long)],
            ] {
                let bytes = request(route.method, route.path, &headers, b"{}");
                cases.push((bytes, 415, headers[0].0));
            }
        }
        for (bytes, expected, reason) in cases {
            let got = subject.raw(&bytes).await;
            let what = format!("{}: {reason}", subject.name);
            faults.expect(&what, status(&got), Ok(expected));
            // A parameter stands in the sentence and in its detail.
            let length = got.map(|got| got.body.len()).unwrap_or_default();
            faults.ensure(what, (1..3000).contains(&length), || {
                format!("{length} bytes")
            });
        }
    }
    faults.finish();
}
