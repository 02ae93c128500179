//! The headers of every response.

use std::collections::BTreeMap;

use chassis::testkit::Got;
use harness::raw::{chunked, request};
use regex_lite::Regex;
use shop_tests::faults::Faults;

use super::{
    EXPOSED_BY_GATEWAY, JSON, KIB, LIMIT, OF_THE_CACHE, THROUGH_GATEWAY, World, bytes, error,
    standard,
};

#[tokio::test]
async fn a_good_request_id_is_kept_and_a_bad_one_replaced() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let (longest, too_long) = ("x".repeat(128), "x".repeat(129));
    let uuid = Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
        .expect("a pattern");
    let cases = [
        (Some("a"), true, "one character"),
        (Some("demo-1.2_3"), true, "every kind of character"),
        (Some(longest.as_str()), true, "128 characters"),
        (None, false, "none"),
        (Some(""), false, "empty"),
        (Some(too_long.as_str()), false, "129 characters"),
        (Some("two words"), false, "white space"),
        (Some("a/b"), false, "a slash"),
        (Some("<script>"), false, "markup"),
        (Some("\"a\""), false, "quotes"),
        (Some("naïve"), false, "not ASCII"),
    ];
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for (id, kept, reason) in cases {
            let headers: Vec<_> = id.map(|id| ("X-Request-Id", id)).into_iter().collect();
            for (method, path, expected) in [
                ("GET", "/health", 200),
                ("GET", "/nothing", 404),
                ("DELETE", "/health", 405),
                ("OPTIONS", "/health", 204),
            ] {
                let what = format!("{}: {method} {path} ({reason})", subject.name);
                match subject.raw(&request(method, path, &headers, b"")).await {
                    Err(fault) => faults.check(what, Err(fault)),
                    Ok(got) => {
                        faults.expect(&what, got.status, expected);
                        faults.check(&what, standard(&got));
                        let answered = got.header("x-request-id");
                        if kept {
                            faults.expect(&what, Some(answered), id);
                        } else {
                            faults.ensure(&what, uuid.is_match(answered), || {
                                format!("{answered:?} is no new UUID")
                            });
                        }
                        if matches!(expected, 404 | 405) {
                            faults.expect(
                                &what,
                                got.json()["requestId"].as_str().map(ToOwned::to_owned),
                                Some(answered.to_owned()),
                            );
                        }
                    }
                }
            }
        }
        for route in &subject.bodies {
            let what = format!("{}: {} {}", subject.name, route.method, route.path);
            for (headers, body, expected) in [
                (
                    &[JSON, ("x-request-id", "mine-1")][..],
                    &b"{"[..],
                    (400, "invalid_json"),
                ),
                (
                    &[("content-type", "text/plain"), ("x-request-id", "mine-1")],
                    b"{}",
                    (415, "unsupported_media_type"),
                ),
                (
                    &[
                        JSON,
                        ("x-request-id", "mine-1"),
                        ("content-length", "99999999"),
                    ],
                    b"",
                    (413, "payload_too_large"),
                ),
            ] {
                let got = subject
                    .raw(&request(route.method, route.path, headers, body))
                    .await;
                faults.check(&what, error(&got, expected.0, expected.1));
                faults.expect(
                    &what,
                    got.map(|got| got.header("x-request-id").to_owned()),
                    Ok("mine-1".to_owned()),
                );
            }
        }
    }
    faults.finish();
}

/// The parts of an answer that must not differ between services: the names of the headers, and the
/// constant values.
fn looks(got: &Got) -> BTreeMap<String, String> {
    let varying = [
        "allow",
        "access-control-allow-methods",
        "content-length",
        "date",
        "link",
        "location",
        "x-request-id",
        "x-total-count",
    ];
    let mut looks: BTreeMap<_, _> = got
        .headers
        .iter()
        .filter(|(name, value)| {
            !OF_THE_CACHE.contains(&name.as_str()) && *value != EXPOSED_BY_GATEWAY
        })
        .map(|(name, value)| {
            let value = if varying.contains(&name.as_str()) {
                "…".to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            (name.to_string(), value)
        })
        .collect();
    looks.insert("status".to_owned(), got.status.to_string());
    looks
}

/// Takes away what the gateway adds to the answer of a service. `tests/gateway` is about that.
fn without_additions(looks: &mut BTreeMap<String, String>) {
    for name in [
        "content-security-policy",
        "cross-origin-resource-policy",
        "ratelimit",
        "ratelimit-policy",
        "referrer-policy",
        "x-content-type-options",
    ] {
        looks.remove(name);
    }
    if let Some(vary) = looks.get_mut("vary") {
        *vary = vary.replace(", Accept-Encoding", "");
    }
    if looks
        .get("vary")
        .is_some_and(|vary| vary == "Accept-Encoding")
    {
        looks.remove("vary");
    }
}

#[tokio::test]
async fn a_client_cannot_tell_the_services_apart() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let mut seen: BTreeMap<&str, (&str, BTreeMap<String, String>)> = BTreeMap::new();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases = vec![
            ("health", request("GET", "/health", &[], b"")),
            ("HEAD of health", request("HEAD", "/health", &[], b"")),
            ("readiness", request("GET", "/health/ready", &[], b"")),
            ("metrics", request("GET", "/metrics", &[], b"")),
            ("the document", request("GET", "/openapi.json", &[], b"")),
            ("the page", request("GET", "/docs", &[], b"")),
            (
                "a file of the page",
                request("GET", "/docs/swagger-ui.css", &[], b""),
            ),
            ("no route", request("GET", "/nothing", &[], b"")),
            ("HEAD of no route", request("HEAD", "/nothing", &[], b"")),
            ("no such method", request("DELETE", "/health", &[], b"")),
            ("an unknown method", request("BREW", "/health", &[], b"")),
            (
                "a preflight",
                request(
                    "OPTIONS",
                    "/health",
                    &[
                        ("origin", "http://a"),
                        ("access-control-request-method", "GET"),
                    ],
                    b"",
                ),
            ),
            (
                "from another origin",
                request("GET", "/health", &[("origin", "http://a")], b""),
            ),
            (
                "the last request",
                request("GET", "/health", &[("connection", "close")], b""),
            ),
            (
                "a range",
                request(
                    "GET",
                    "/docs/swagger-ui.css",
                    &[("range", "bytes=0-9")],
                    b"",
                ),
            ),
            (
                "with compression",
                request("GET", "/health", &[("accept-encoding", "gzip, br")], b""),
            ),
            (
                "a list of another type",
                request("GET", "/health", &[("accept", "text/html")], b""),
            ),
        ];
        for path in &subject.lists {
            cases.push(("a list", request("GET", path, &[], b"")));
            cases.push(("HEAD of a list", request("HEAD", path, &[], b"")));
            cases.push((
                "a bad limit",
                request("GET", &format!("{path}?limit=0"), &[], b""),
            ));
        }
        for (method, template) in &subject.by_id {
            if *method == "GET" {
                cases.push((
                    "a record",
                    request("GET", &template.replace("{}", "1"), &[], b""),
                ));
                cases.push((
                    "no such record",
                    request("GET", &template.replace("{}", "999"), &[], b""),
                ));
            }
        }
        if let Some(route) = subject.bodies.first() {
            let create = |body: &[u8]| request(route.method, route.path, &[JSON], body);
            cases.extend([
                ("a creation", create(&bytes(&(route.good)(world.fresh())))),
                ("a body that is not JSON", create(b"{")),
                ("a body without fields", create(b"{}")),
                ("no body", request(route.method, route.path, &[], b"")),
                (
                    "a body of another type",
                    request(
                        route.method,
                        route.path,
                        &[("content-type", "text/plain")],
                        b"hello",
                    ),
                ),
                (
                    "a body that says it is too large",
                    request(
                        route.method,
                        route.path,
                        &[JSON, ("content-length", "10000000")],
                        b"",
                    ),
                ),
                (
                    "chunks that are too large",
                    request(
                        route.method,
                        route.path,
                        &[JSON, ("transfer-encoding", "chunked")],
                        &chunked(&vec![b' '; LIMIT + 1], 8 * KIB),
                    ),
                ),
            ]);
        }
        for (kind, request) in cases {
            let got = match subject.raw(&request).await {
                Ok(got) => got,
                Err(fault) => {
                    faults.check(format!("{}: {kind}", subject.name), Err(fault));
                    continue;
                }
            };
            let mut looks = looks(&got);
            if subject.framework == THROUGH_GATEWAY {
                without_additions(&mut looks);
            }
            let (first, expected) = seen
                .entry(kind)
                .or_insert_with(|| (subject.name, looks.clone()));
            faults.expect(
                format!("{kind}: {} is not like {first}", subject.name),
                looks,
                expected.clone(),
            );
        }
    }
    faults.finish();
}
