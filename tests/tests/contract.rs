//! The contract, written once and run against all five real servers, and against
//! the product API on the other four frameworks: a client must not be able to tell
//! which framework it talks to.
//!
//! Each test walks over the servers and collects what is not as expected, so that
//! one run shows every one that strays, and where.

#![allow(
    clippy::too_many_lines,
    reason = "a table of cases is one list, however long"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use chassis::testkit::{Got, Server};
use framework_comparison::Framework;
use regex_lite::Regex;
use reqwest::Url;
use serde_json::{Value, json};
use shop_tests::faults::Faults;
use shop_tests::raw::{self, Connection, chunked, request};
use shop_tests::shop::{self, Named, Shop};

const KIB: usize = 1024;
const LIMIT: usize = 64 * KIB;
const JSON: (&str, &str) = ("content-type", "application/json");
const EXPOSED: &str = "X-Request-Id, X-Total-Count, Link, Location";

/// The five services, and product-service on four more frameworks.
const SUBJECTS: usize = 9;

/// A shop with one of everything: user 1, product 1, order 1, notification 1; and
/// beside it the product API on the other frameworks, each with a product 1.
struct World {
    shop: Shop,
    rooms: Vec<(Framework, Server)>,
    made: AtomicUsize,
}

/// A service, and what of the contract it has a share in.
struct Subject<'a> {
    name: &'static str,
    framework: &'static str,
    server: &'a Server,
    /// Paths that answer a GET with 200, besides those that every service has.
    gets: Vec<&'static str>,
    /// Lists of records.
    lists: Vec<&'static str>,
    /// Requests that name a record by its id, `{}` in the path.
    by_id: Vec<(&'static str, &'static str)>,
    /// Requests with a body; the first creates a record.
    bodies: Vec<BodyRoute>,
}

/// A request with a body.
struct BodyRoute {
    method: &'static str,
    path: &'static str,
    /// A good body; the number makes it unlike any other.
    good: fn(usize) -> Value,
    /// The status of a good one.
    status: u16,
    /// Fields that must be there.
    required: &'static [&'static str],
    /// Values of the wrong JSON type for some fields.
    wrong: fn() -> Value,
}

impl World {
    async fn start() -> Self {
        let shop = Shop::start().await;
        shop::add_user(&shop.users, "ada").await;
        shop::add_product(&shop.products, json!(19.99), 1_000_000).await;
        let order = json!({"userId": "1", "productId": "1", "quantity": 1});
        let order = shop.orders.post("/api/orders", order).await.expect(201);
        assert_eq!(order["notification"], "sent");
        let rooms = shop::product_rooms(&shop.users.upstream_url()).await;
        for (_, room) in &rooms {
            shop::add_product(room, json!(19.99), 1_000_000).await;
        }
        Self {
            shop,
            rooms,
            made: AtomicUsize::new(1),
        }
    }

    /// A number that was not used yet.
    fn fresh(&self) -> usize {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    fn subjects(&self) -> Vec<Subject<'_>> {
        let rooms = self.rooms.iter().map(|(framework, server)| Named {
            name: "product-service",
            framework: framework.name,
            server,
        });
        let subjects = self.shop.services().into_iter().chain(rooms).map(subject);
        let subjects: Vec<_> = subjects.collect();
        assert_eq!(subjects.len(), SUBJECTS);
        subjects
    }
}

impl Subject<'_> {
    async fn raw(&self, request: &[u8]) -> Result<Got, String> {
        raw::exchange(self.server.address(), request).await
    }

    /// Every path that answers a GET with 200.
    fn all_gets(&self) -> Vec<&'static str> {
        let mut all = vec![
            "/health",
            "/health/ready",
            "/metrics",
            "/openapi.json",
            "/docs",
        ];
        all.extend(&self.gets);
        all
    }
}

fn subject(service: Named<'_>) -> Subject<'_> {
    let (gets, lists, by_id, bodies) = match service.name {
        "user-service" => (
            vec!["/api/users", "/api/users/1"],
            vec!["/api/users"],
            vec![
                ("GET", "/api/users/{}"),
                ("PUT", "/api/users/{}"),
                ("DELETE", "/api/users/{}"),
            ],
            vec![
                BodyRoute {
                    method: "POST",
                    path: "/api/users",
                    good: |n| json!({"name": "Ada", "email": format!("a{n}@example.com")}),
                    status: 201,
                    required: &["name", "email"],
                    wrong: || json!({"name": 1, "email": ["a@example.com"]}),
                },
                BodyRoute {
                    method: "PUT",
                    path: "/api/users/1",
                    good: |n| json!({"name": "Ada", "email": format!("p{n}@example.com")}),
                    status: 200,
                    required: &["name", "email"],
                    wrong: || json!({"name": {}, "email": true}),
                },
            ],
        ),
        "product-service" => (
            vec!["/api/products", "/api/products/1"],
            vec!["/api/products"],
            vec![
                ("GET", "/api/products/{}"),
                ("PUT", "/api/products/{}"),
                ("PATCH", "/api/products/{}/stock"),
                ("DELETE", "/api/products/{}"),
            ],
            vec![
                BodyRoute {
                    method: "POST",
                    path: "/api/products",
                    good: |n| json!({"name": format!("Kettle {n}"), "price": 19.99, "stock": 5, "sellerId": "1"}),
                    status: 201,
                    required: &["name", "price"],
                    wrong: || json!({"name": 1, "price": "19.99", "stock": "5", "sellerId": 1}),
                },
                BodyRoute {
                    method: "PUT",
                    path: "/api/products/1",
                    good: |n| json!({"name": format!("Kettle {n}")}),
                    status: 200,
                    required: &[],
                    wrong: || json!({"name": [], "price": "1", "stock": true}),
                },
                BodyRoute {
                    method: "PATCH",
                    path: "/api/products/1/stock",
                    good: |_| json!({"delta": 1}),
                    status: 200,
                    required: &["delta"],
                    wrong: || json!({"delta": "1"}),
                },
            ],
        ),
        "order-service" => (
            vec![
                "/api/orders",
                "/api/orders/1",
                "/api/orders/user/1",
                "/api/orders/stats",
            ],
            vec!["/api/orders", "/api/orders/user/1"],
            vec![("GET", "/api/orders/{}"), ("POST", "/api/orders/{}/cancel")],
            vec![BodyRoute {
                method: "POST",
                path: "/api/orders",
                good: |_| json!({"userId": "1", "productId": "1", "quantity": 1}),
                status: 201,
                required: &["userId", "productId", "quantity"],
                wrong: || json!({"userId": 1, "productId": [], "quantity": "1"}),
            }],
        ),
        "notification-service" => (
            vec!["/api/notifications", "/api/notifications/1"],
            vec!["/api/notifications", "/api/notifications/1"],
            vec![
                ("PATCH", "/api/notifications/{}/read"),
                ("DELETE", "/api/notifications/{}"),
            ],
            vec![BodyRoute {
                method: "POST",
                path: "/api/notifications/send",
                good: |n| json!({"userId": "1", "message": format!("Message {n}"), "type": "info"}),
                status: 201,
                required: &["userId", "message"],
                wrong: || json!({"userId": 1, "message": {}, "type": false}),
            }],
        ),
        _ => (
            vec![
                "/api/analytics/summary",
                "/api/analytics/users",
                "/api/analytics/products",
                "/api/analytics/orders",
                "/api/analytics/notifications",
                "/api/analytics/services",
                "/api/analytics/history",
            ],
            vec![],
            vec![],
            vec![],
        ),
    };
    Subject {
        name: service.name,
        framework: service.framework,
        server: service.server,
        gets,
        lists,
        by_id,
        bodies,
    }
}

/// What every answer has, whatever layer it comes from.
fn standard(got: &Got) -> Result<(), String> {
    for (name, expected) in [
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", EXPOSED),
    ] {
        let values: Vec<_> = got.headers.get_all(name).iter().collect();
        if values != [expected] {
            return Err(format!("{name} is {values:?}"));
        }
    }
    for name in ["x-request-id", "date"] {
        let count = got.headers.get_all(name).iter().count();
        if count != 1 {
            return Err(format!("{name} is there {count} times"));
        }
    }
    let types = got.headers.get_all("content-type").iter().count();
    if types != usize::from(got.status != 204) {
        return Err(format!("content-type is there {types} times"));
    }
    Ok(())
}

/// Whether this is the contract's error, and nothing besides.
fn error(got: &Result<Got, String>, status: u16, code: &str) -> Result<(), String> {
    let got = got.as_ref()?;
    let body = String::from_utf8_lossy(&got.body);
    if got.status != status {
        return Err(format!(
            "got {} {body}, expected {status} {code}",
            got.status
        ));
    }
    standard(got)?;
    if got.header("content-type") != "application/json" {
        return Err(format!("content-type is {:?}", got.header("content-type")));
    }
    let json: Value =
        serde_json::from_slice(&got.body).map_err(|cause| format!("{cause}: {body}"))?;
    if json["code"] != code {
        return Err(format!("expected {code}, got {body}"));
    }
    if json["requestId"] != got.header("x-request-id") {
        return Err(format!("another requestId than in the header: {body}"));
    }
    if json["error"]
        .as_str()
        .is_none_or(|text| text.trim().is_empty())
    {
        return Err(format!("no sentence for a person: {body}"));
    }
    let keys: BTreeSet<_> = json
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect();
    let expected = BTreeSet::from(["error", "code", "requestId"]);
    let with_details = BTreeSet::from(["error", "code", "requestId", "details"]);
    if keys != expected && keys != with_details {
        return Err(format!("other fields than the contract's: {body}"));
    }
    if keys == with_details {
        let details = json["details"]
            .as_array()
            .filter(|details| !details.is_empty());
        let good = details.is_some_and(|details| {
            details.iter().all(|detail| {
                detail.as_object().is_some_and(|object| object.len() == 2)
                    && detail["field"].is_string()
                    && detail["message"].is_string()
            })
        });
        if !good {
            return Err(format!("details are not the contract's: {body}"));
        }
    }
    Ok(())
}

/// The fields that an error names.
fn named(got: &Result<Got, String>) -> BTreeSet<String> {
    let details = got
        .as_ref()
        .ok()
        .and_then(|got| serde_json::from_slice::<Value>(&got.body).ok());
    details
        .iter()
        .flat_map(|body| body["details"].as_array().into_iter().flatten())
        .filter_map(|detail| detail["field"].as_str().map(ToOwned::to_owned))
        .collect()
}

fn set(text: &str) -> BTreeSet<String> {
    text.split(',')
        .map(|one| one.trim().to_ascii_lowercase())
        .collect()
}

fn status(got: &Result<Got, String>) -> Result<u16, String> {
    got.as_ref().map(|got| got.status).map_err(Clone::clone)
}

fn bytes(json: &Value) -> Vec<u8> {
    serde_json::to_vec(json).expect("JSON")
}

// Paths and methods.

#[tokio::test]
async fn a_path_that_is_no_route_is_not_found() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases = vec![
            ("/".to_owned(), "the root"),
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
            ("/docs/".to_owned(), "a trailing slash on the page"),
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
async fn a_method_that_a_route_does_not_have_is_refused_and_those_it_has_are_listed() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let get_only = "GET, HEAD, OPTIONS";
        let mut cases = vec![
            ("POST", "/health", get_only, "read only"),
            ("DELETE", "/health", get_only, "read only"),
            ("PUT", "/health/ready", get_only, "read only"),
            ("PATCH", "/metrics", get_only, "read only"),
            ("POST", "/openapi.json", get_only, "read only"),
            ("POST", "/docs", get_only, "read only"),
            ("POST", "/docs/swagger-ui.css", get_only, "read only"),
            ("BREW", "/health", get_only, "a method that nobody knows"),
            ("get", "/health", get_only, "methods have a letter case"),
            ("TRACE", "/health", get_only, "would echo the request"),
            ("PROPFIND", "/health", get_only, "a method of WebDAV"),
        ];
        cases.extend(match subject.name {
            "user-service" => vec![
                (
                    "DELETE",
                    "/api/users",
                    "GET, HEAD, POST, OPTIONS",
                    "not all at once",
                ),
                (
                    "PATCH",
                    "/api/users/1",
                    "GET, HEAD, PUT, DELETE, OPTIONS",
                    "PUT replaces",
                ),
                (
                    "BREW",
                    "/api/users/x",
                    "GET, HEAD, PUT, DELETE, OPTIONS",
                    "the route counts before the id",
                ),
            ],
            "product-service" => vec![
                (
                    "DELETE",
                    "/api/products",
                    "GET, HEAD, POST, OPTIONS",
                    "not all at once",
                ),
                (
                    "POST",
                    "/api/products/1",
                    "GET, HEAD, PUT, DELETE, OPTIONS",
                    "PUT replaces",
                ),
                (
                    "GET",
                    "/api/products/1/stock",
                    "PATCH, OPTIONS",
                    "the product has it",
                ),
                (
                    "HEAD",
                    "/api/products/1/stock",
                    "PATCH, OPTIONS",
                    "no GET, no HEAD",
                ),
            ],
            "order-service" => vec![
                (
                    "DELETE",
                    "/api/orders",
                    "GET, HEAD, POST, OPTIONS",
                    "not all at once",
                ),
                (
                    "DELETE",
                    "/api/orders/1",
                    "GET, HEAD, OPTIONS",
                    "orders stay",
                ),
                (
                    "GET",
                    "/api/orders/1/cancel",
                    "POST, OPTIONS",
                    "a link must not cancel",
                ),
                (
                    "POST",
                    "/api/orders/stats",
                    "GET, HEAD, OPTIONS",
                    "a literal counts before a parameter",
                ),
                (
                    "POST",
                    "/api/orders/user/1",
                    "GET, HEAD, OPTIONS",
                    "a list to read",
                ),
            ],
            "notification-service" => vec![
                (
                    "POST",
                    "/api/notifications",
                    "GET, HEAD, OPTIONS",
                    "sending has its own path",
                ),
                (
                    "PUT",
                    "/api/notifications/1",
                    "GET, HEAD, DELETE, OPTIONS",
                    "nothing to replace",
                ),
                (
                    "GET",
                    "/api/notifications/1/read",
                    "PATCH, OPTIONS",
                    "a link must not mark as read",
                ),
            ],
            _ => vec![
                ("POST", "/api/analytics/summary", get_only, "read only"),
                ("DELETE", "/api/analytics/orders", get_only, "read only"),
            ],
        });
        for (method, path, allow, reason) in cases {
            let what = format!("{}: {method} {path} ({reason})", subject.name);
            let got = subject.raw(&request(method, path, &[], b"")).await;
            if method == "HEAD" {
                faults.expect(&what, status(&got), Ok(405));
            } else {
                faults.check(&what, error(&got, 405, "method_not_allowed"));
            }
            if let Ok(got) = got {
                faults.expect(&what, set(got.header("allow")), set(allow));
            }
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_preflight_says_what_a_page_from_elsewhere_may_send() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let preflight = [
        ("origin", "https://shop.example"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "content-type, x-request-id, x-other",
        ),
    ];
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases = vec![("/health", "GET"), ("/metrics", "GET"), ("/docs", "GET")];
        cases.extend(subject.gets.iter().map(|path| (*path, "GET")));
        cases.extend(
            subject
                .bodies
                .iter()
                .map(|route| (route.path, route.method)),
        );
        for (path, method) in cases {
            for (headers, reason) in [(&preflight[..], "a preflight"), (&[], "OPTIONS by hand")] {
                let what = format!("{}: OPTIONS {path} ({reason})", subject.name);
                let got = match subject.raw(&request("OPTIONS", path, headers, b"")).await {
                    Ok(got) => got,
                    Err(fault) => {
                        faults.check(what, Err(fault));
                        continue;
                    }
                };
                faults.expect(&what, got.status, 204);
                faults.check(&what, standard(&got));
                let (methods, headers) = (
                    set(got.header("access-control-allow-methods")),
                    set(got.header("access-control-allow-headers")),
                );
                faults.ensure(
                    &what,
                    methods.contains(&method.to_ascii_lowercase()),
                    || format!("allows {methods:?}, not {method}"),
                );
                for header in [
                    "content-type",
                    "x-request-id",
                    "idempotency-key",
                    "traceparent",
                ] {
                    faults.ensure(&what, headers.contains(header), || {
                        format!("allows {headers:?}, not {header}")
                    });
                }
                faults.expect(
                    format!("{what}: content-length"),
                    got.header("content-length"),
                    "",
                );
                faults.ensure(
                    &what,
                    got.headers
                        .get("access-control-allow-credentials")
                        .is_none(),
                    || "credentials and * exclude each other".to_owned(),
                );
            }
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
                faults.check(what, error(&got, 404, "not_found"));
            }
        }
    }
    faults.finish();
}

#[tokio::test]
async fn head_answers_as_get_does_but_without_the_body() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut paths: Vec<(&str, bool)> = subject
            .all_gets()
            .into_iter()
            .map(|path| (path, true))
            .collect();
        paths.extend([
            ("/docs/swagger-ui.css", true),
            ("/docs/swagger-ui-bundle.js", true),
            ("/nothing", false),
        ]);
        for (path, good) in paths {
            let what = format!("{}: HEAD {path}", subject.name);
            let get = subject
                .raw(&request("GET", path, &[], b""))
                .await
                .expect("GET answers");
            let mut connection = Connection::open(subject.server.address()).await;
            connection
                .send(&request("HEAD", path, &[], b""))
                .await
                .expect("a live connection");
            let head = match connection.answer(true).await {
                Ok(head) => head,
                Err(fault) => {
                    faults.check(what, Err(fault));
                    continue;
                }
            };
            faults.expect(&what, head.status, if good { 200 } else { 404 });
            let names = |got: &Got| -> BTreeSet<String> {
                got.headers.keys().map(ToString::to_string).collect()
            };
            faults.expect(format!("{what}: headers"), names(&head), names(&get));
            faults.expect(
                format!("{what}: type"),
                head.header("content-type"),
                get.header("content-type"),
            );
            faults.ensure(&what, !head.header("content-length").is_empty(), || {
                "no content-length".to_owned()
            });
            // These bodies are not the same twice.
            let varies = ["/health", "/health/ready", "/metrics", "/nothing"].contains(&path)
                || path.starts_with("/api/analytics")
                || path.ends_with("/stats");
            if !varies {
                faults.expect(
                    format!("{what}: length"),
                    head.header("content-length"),
                    get.header("content-length"),
                );
            }
            // A body would be read as the start of the next answer.
            connection
                .send(&request("GET", "/health", &[], b""))
                .await
                .expect("a live connection");
            faults.expect(
                format!("{what}: the next answer"),
                status(&connection.answer(false).await),
                Ok(200),
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn what_is_no_http_is_survived() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let long_path = request("GET", &format!("/{}", "x".repeat(100 * KIB)), &[], b"");
    let long_header = request(
        "GET",
        "/health",
        &[("x-long", &"x".repeat(1000 * KIB))],
        b"",
    );
    let many: Vec<(&str, &str)> = vec![("x-many", "1"); 500];
    let many_headers = request("GET", "/health", &many, b"");
    let cases: [(&[u8], &str); 10] = [
        (b"NONSENSE\r\n\r\n", "no request line"),
        (
            b"GET /health HTTP/9.9\r\nhost: a\r\n\r\n",
            "a version that nobody speaks",
        ),
        (
            b"GET /health HTTP/1.1\r\nhost a\r\n\r\n",
            "a header without a colon",
        ),
        (b"GET /health HTTP/1.1\r\n\r\n", "no host"),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            "TLS",
        ),
        (
            b"POST /nothing HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
            "a length that is no number",
        ),
        (
            b"GET /h\xc3\xbc HTTP/1.1\r\nhost: a\r\n\r\n",
            "a path that is not encoded",
        ),
        (&long_path, "a path of 100 KiB"),
        (&long_header, "a header of a megabyte"),
        (&many_headers, "500 headers"),
    ];
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for (request, reason) in &cases {
            let what = format!("{}: {reason}", subject.name);
            let mut connection = Connection::open(subject.server.address()).await;
            // It may be refused before all of it is sent.
            let _ = connection.send(request).await;
            connection.finish_sending().await;
            let by_the_parser =
                |got: &Got| matches!(got.status, 400 | 414 | 431) && got.body.is_empty();
            let finding = match connection.answer(false).await {
                Ok(got) if by_the_parser(&got) || standard(&got).is_ok() => Ok(()),
                Ok(got) => Err(format!("got {got:?}")),
                // It may also be hung up on.
                Err(_) => Ok(()),
            };
            faults.check(&what, finding);
            faults.expect(
                format!("{what}: lives on"),
                subject.server.get("/health").await.status,
                200,
            );
        }
        for (request, reason) in [
            (&b"GET /health HTTP/1.0\r\n\r\n"[..], "HTTP/1.0"),
            (
                b"GET http://shop.test/health HTTP/1.1\r\nhost: shop.test\r\n\r\n",
                "the whole URL, as to a proxy",
            ),
            (
                b"GET /health HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n",
                "one request only",
            ),
            (
                b"\r\nGET /health HTTP/1.1\r\nhost: shop.test\r\n\r\n",
                "an empty line before it",
            ),
        ] {
            let got = subject.raw(request).await;
            faults.expect(format!("{}: {reason}", subject.name), status(&got), Ok(200));
        }
    }
    faults.finish();
}

// Headers on every answer.

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

/// What a client can see of an answer that should not differ between services:
/// the names of the headers, and the values of those that are constant.
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
            let looks = looks(&got);
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

#[tokio::test]
async fn a_connection_is_kept_after_an_error_or_said_to_be_closed() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases = vec![
            (request("GET", "/nothing", &[], b""), 404),
            (request("BREW", "/health", &[], b""), 405),
            (request("POST", "/health", &[JSON], b"{}"), 405),
            (
                request(
                    "POST",
                    "/nothing",
                    &[JSON, ("transfer-encoding", "chunked")],
                    &chunked(b"{}", 8),
                ),
                404,
            ),
            (request("GET", "/health", &[JSON], b"{}"), 200),
            (request("OPTIONS", "/health", &[], b""), 204),
        ];
        for route in &subject.bodies {
            cases.push((request(route.method, route.path, &[JSON], b"{"), 400));
            cases.push((
                request(
                    route.method,
                    route.path,
                    &[("content-type", "text/plain")],
                    b"{}",
                ),
                415,
            ));
        }
        let mut connection = Connection::open(subject.server.address()).await;
        for (request, expected) in cases {
            let what = format!(
                "{}: {}",
                subject.name,
                String::from_utf8_lossy(&request)
                    .lines()
                    .next()
                    .unwrap_or_default()
            );
            if let Err(cause) = connection.send(&request).await {
                faults.check(&what, Err(cause.to_string()));
                break;
            }
            let got = connection.answer(false).await;
            faults.expect(what, status(&got), Ok(expected));
            match got {
                Ok(got) if got.header("connection") == "close" => {
                    connection = Connection::open(subject.server.address()).await;
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    faults.finish();
}

// What every service answers about itself.

#[tokio::test]
async fn health_and_readiness_say_what_the_contract_says() {
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
async fn metrics_name_routes_and_never_grow_with_what_a_client_invents() {
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
async fn the_page_needs_nothing_from_elsewhere() {
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

// Bodies.

#[tokio::test]
async fn a_body_over_64_kib_is_refused_and_the_client_can_read_why() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let large = vec![b' '; 10 * 1024 * KIB];
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            // An unknown field is ignored, so this is a good body of any length.
            let padded = |length: usize| {
                let mut body = (route.good)(world.fresh());
                let bare = {
                    body["pad"] = json!("");
                    bytes(&body).len()
                };
                body["pad"] = json!("x".repeat(length - bare));
                bytes(&body)
            };
            let chunks = [JSON, ("transfer-encoding", "chunked")];
            let length = large.len().to_string();
            let (fits, over) = (padded(LIMIT), padded(LIMIT + 1));
            assert_eq!((fits.len(), over.len()), (LIMIT, LIMIT + 1));
            for (headers, body, refused, reason) in [
                (&[JSON][..], fits, false, "64 KiB exactly"),
                (
                    &chunks,
                    chunked(&padded(LIMIT), 10_000),
                    false,
                    "64 KiB exactly, in chunks",
                ),
                (
                    &chunks,
                    chunked(&padded(500), 1),
                    false,
                    "chunks of one byte",
                ),
                (&[JSON], over, true, "a byte more"),
                (
                    &chunks,
                    chunked(&padded(LIMIT + 1), 10_000),
                    true,
                    "a byte more, in chunks",
                ),
                (
                    &[JSON, ("content-length", &length)],
                    Vec::new(),
                    true,
                    "10 MiB announced, none sent",
                ),
                (
                    &[
                        JSON,
                        ("content-length", &length),
                        ("expect", "100-continue"),
                    ],
                    Vec::new(),
                    true,
                    "10 MiB announced, waiting for leave to send it",
                ),
                (
                    &[JSON],
                    large.clone(),
                    true,
                    "10 MiB, all sent before the answer is read",
                ),
                (
                    &chunks,
                    chunked(&large, 64 * KIB),
                    true,
                    "10 MiB in chunks, all sent before the answer is read",
                ),
                (
                    &[("content-type", "text/plain")],
                    large.clone(),
                    true,
                    "10 MiB of another type",
                ),
            ] {
                let got = subject
                    .raw(&request(route.method, route.path, headers, &body))
                    .await;
                let what = format!(
                    "{}: {} {} ({reason})",
                    subject.name, route.method, route.path
                );
                if refused {
                    faults.check(what, error(&got, 413, "payload_too_large"));
                } else {
                    faults.expect(what, status(&got), Ok(route.status));
                }
            }
        }
        let got = subject
            .raw(&request("POST", "/nothing", &[JSON], &large))
            .await;
        faults.check(
            format!("{}: 10 MiB for no route", subject.name),
            error(&got, 404, "not_found"),
        );
        let got = subject
            .raw(&request("POST", "/health", &[JSON], &large))
            .await;
        faults.check(
            format!("{}: 10 MiB for a route without a body", subject.name),
            error(&got, 405, "method_not_allowed"),
        );
    }
    faults.finish();
}

#[tokio::test]
async fn a_body_that_breaks_off_harms_nobody() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            let body = bytes(&(route.good)(world.fresh()));
            for (headers, sent, reason) in [
                (
                    &[JSON, ("content-length", "1000")][..],
                    &body[..],
                    "shorter than its length says",
                ),
                (
                    &[JSON, ("transfer-encoding", "chunked")],
                    b"5\r\n{\"na",
                    "in the middle of a chunk",
                ),
                (
                    &[JSON, ("transfer-encoding", "chunked")],
                    b"zz\r\n{}\r\n0\r\n\r\n",
                    "a chunk without a length",
                ),
            ] {
                let what = format!(
                    "{}: {} {} ({reason})",
                    subject.name, route.method, route.path
                );
                let mut connection = Connection::open(subject.server.address()).await;
                connection
                    .send(&request(route.method, route.path, headers, sent))
                    .await
                    .expect("a live connection");
                connection.finish_sending().await;
                let finding = match connection.answer(false).await {
                    Ok(got) if got.status == 400 && got.body.is_empty() => Ok(()),
                    Ok(got) => error(&Ok(got), 400, "invalid_json"),
                    // No answer is as good as one: nobody is there to read it.
                    Err(_) => Ok(()),
                };
                faults.check(&what, finding);
                faults.expect(
                    format!("{what}: lives on"),
                    subject.server.get("/health").await.status,
                    200,
                );
            }
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            for (content_type, taken, reason) in [
                (None, false, "none"),
                (Some(""), false, "empty"),
                (
                    Some("text/plain"),
                    false,
                    "what a form without a type sends",
                ),
                (
                    Some("application/x-www-form-urlencoded"),
                    false,
                    "curl -d without a type",
                ),
                (Some("multipart/form-data; boundary=x"), false, "an upload"),
                (Some("application/jsonp"), false, "only the same letters"),
                (Some("text/json"), false, "not registered"),
                (Some("nonsense"), false, "no type at all"),
                (Some("application/json"), true, "JSON"),
                (
                    Some("application/json; charset=utf-8"),
                    true,
                    "with a parameter",
                ),
                (
                    Some("application/json;charset=UTF-8"),
                    true,
                    "without white space",
                ),
                (Some("Application/JSON"), true, "letter case does not count"),
            ] {
                let headers: Vec<_> = content_type
                    .map(|value| ("content-type", value))
                    .into_iter()
                    .collect();
                let body = bytes(&(route.good)(world.fresh()));
                let got = subject
                    .raw(&request(route.method, route.path, &headers, &body))
                    .await;
                let what = format!(
                    "{}: {} {} ({reason})",
                    subject.name, route.method, route.path
                );
                if taken {
                    faults.expect(what, status(&got), Ok(route.status));
                } else {
                    faults.check(what, error(&got, 415, "unsupported_media_type"));
                }
            }
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_body_that_is_not_one_whole_json_object_is_invalid() {
    let world = World::start().await;
    let mut faults = Faults::default();
    let deep = format!("{{\"x\":{}", "[".repeat(60_000));
    let deep_and_closed = format!("{{\"x\":{}{},", "[".repeat(30_000), "]".repeat(30_000));
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            let good = String::from_utf8(bytes(&(route.good)(world.fresh()))).expect("UTF-8");
            let first = good
                .trim_start_matches('{')
                .split(',')
                .next()
                .unwrap_or_default()
                .trim_end_matches('}')
                .to_owned();
            let twice = good.replacen('{', &format!("{{{first},"), 1);
            let cases: Vec<(Vec<u8>, &str)> = vec![
                (b"".into(), "none"),
                (b" \r\n\t ".into(), "white space"),
                (b"{".into(), "half an object"),
                (b"nonsense".into(), "no JSON"),
                (b"name=Ada".into(), "a form"),
                (b"null".into(), "null"),
                (b"1".into(), "a number"),
                (b"\"{}\"".into(), "a string"),
                (b"[]".into(), "a list"),
                (format!("[{good}]").into(), "a list of one object"),
                (format!("{good}{good}").into(), "two objects"),
                (format!("{good} x").into(), "something behind it"),
                (format!("{good},").into(), "a comma behind it"),
                (format!("\u{feff}{good}").into(), "a byte order mark"),
                (
                    good.replacen('{', "{\"x\":\"\\ud800\",\"y\":NaN,", 1)
                        .into(),
                    "NaN",
                ),
                (good.replacen('{', "{'x':1,", 1).into(), "single quotes"),
                (good.replacen('{', "{/* x */", 1).into(), "a comment"),
                (
                    [good.replace('}', ",\"x\":\"").as_bytes(), b"\xff\xfe\"}"].concat(),
                    "not UTF-8",
                ),
                (twice.into(), "a field twice"),
                (deep.clone().into(), "60 000 lists inside each other"),
            ];
            for (body, reason) in cases {
                let what = format!(
                    "{}: {} {} ({reason})",
                    subject.name, route.method, route.path
                );
                let got = subject
                    .raw(&request(route.method, route.path, &[JSON], &body))
                    .await;
                faults.check(&what, error(&got, 400, "invalid_json"));
                if body.is_empty() {
                    let got = subject
                        .raw(&request(route.method, route.path, &[], b""))
                        .await;
                    faults.check(
                        format!("{what} and no type"),
                        error(&got, 400, "invalid_json"),
                    );
                    let chunks = [JSON, ("transfer-encoding", "chunked")];
                    let got = subject
                        .raw(&request(
                            route.method,
                            route.path,
                            &chunks,
                            &chunked(b"", 1),
                        ))
                        .await;
                    faults.check(
                        format!("{what}, in chunks"),
                        error(&got, 400, "invalid_json"),
                    );
                }
            }
            // A field that nobody knows: ignored or refused, but no overflow.
            let fresh = String::from_utf8(bytes(&(route.good)(world.fresh()))).expect("UTF-8");
            let deep = fresh.replacen('{', &deep_and_closed, 1);
            let got = subject
                .raw(&request(route.method, route.path, &[JSON], deep.as_bytes()))
                .await;
            faults.ensure(
                format!("{}: deep JSON", subject.name),
                status(&got).is_ok_and(|status| status == 400 || status == route.status),
                || format!("{got:?}"),
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn every_field_at_fault_is_named_at_once() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for route in &subject.bodies {
            let what = format!("{}: {} {}", subject.name, route.method, route.path);
            let send = async |body: Value| {
                subject
                    .raw(&request(route.method, route.path, &[JSON], &bytes(&body)))
                    .await
            };
            let required: BTreeSet<String> =
                route.required.iter().map(ToString::to_string).collect();

            if !required.is_empty() {
                let got = send(json!({})).await;
                faults.check(
                    format!("{what} (all missing)"),
                    error(&got, 400, "validation_failed"),
                );
                faults.expect(
                    format!("{what} (all missing)"),
                    named(&got),
                    required.clone(),
                );
                let nulls: serde_json::Map<_, _> = required
                    .iter()
                    .map(|name| (name.clone(), Value::Null))
                    .collect();
                let got = send(Value::Object(nulls)).await;
                faults.check(
                    format!("{what} (all null)"),
                    error(&got, 400, "validation_failed"),
                );
                faults.expect(format!("{what} (all null)"), named(&got), required.clone());
            }
            for missing in &required {
                let mut body = (route.good)(world.fresh());
                body.as_object_mut().expect("an object").remove(missing);
                let got = send(body).await;
                faults.check(
                    format!("{what} (no {missing})"),
                    error(&got, 400, "validation_failed"),
                );
                faults.expect(
                    format!("{what} (no {missing})"),
                    named(&got),
                    BTreeSet::from([missing.clone()]),
                );
            }

            let wrong = (route.wrong)();
            let fields: BTreeSet<String> = wrong
                .as_object()
                .expect("an object")
                .keys()
                .cloned()
                .collect();
            let got = send(wrong.clone()).await;
            faults.check(
                format!("{what} ({wrong})"),
                error(&got, 400, "invalid_json"),
            );
            faults.ensure(
                format!("{what} ({wrong})"),
                named(&got).is_superset(&fields),
                || format!("named are {:?}", named(&got)),
            );
            for field in &fields {
                let mut body = (route.good)(world.fresh());
                body[field] = wrong[field].clone();
                let got = send(body).await;
                let what = format!("{what} ({field} is {})", wrong[field]);
                faults.check(&what, error(&got, 400, "invalid_json"));
                faults.expect(&what, named(&got), BTreeSet::from([field.clone()]));
            }

            let mut more = (route.good)(world.fresh());
            more["id"] = json!(1);
            more["unknown"] = json!({"a": [1, null, "x"]});
            faults.expect(
                format!("{what} (unknown fields)"),
                status(&send(more).await),
                Ok(route.status),
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_body_where_none_is_expected_is_ignored() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let mut cases: Vec<(&str, String)> = subject
            .all_gets()
            .into_iter()
            .map(|path| ("GET", path.to_owned()))
            .collect();
        match subject.name {
            "notification-service" => cases.push(("PATCH", "/api/notifications/1/read".to_owned())),
            "order-service" => cases.push(("POST", "/api/orders/1/cancel".to_owned())),
            _ => {}
        }
        for (method, path) in cases {
            let got = subject
                .raw(&request(
                    method,
                    &path,
                    &[("content-type", "text/plain")],
                    b"hello",
                ))
                .await;
            faults.expect(
                format!("{}: {method} {path}", subject.name),
                status(&got),
                Ok(200),
            );
        }
    }
    faults.finish();
}

// Records and lists.

#[tokio::test]
async fn a_created_record_says_where_it_is() {
    let mut faults = Faults::default();
    let moment = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$").expect("a pattern");
    for index in 0..SUBJECTS {
        // A shop of its own: orders add notifications.
        let world = World::start().await;
        let subject = world.subjects().swap_remove(index);
        faults.of(subject.name, subject.framework);
        let Some(route) = subject.bodies.first() else {
            continue;
        };
        let got = subject
            .server
            .post(route.path, (route.good)(world.fresh()))
            .await;
        faults.check(subject.name, standard(&got));
        let location = got.header("location").to_owned();
        let record = got.expect(201);
        faults.expect(
            format!("{}: id", subject.name),
            record["id"].as_str(),
            Some("2"),
        );
        faults.ensure(
            subject.name,
            record["createdAt"]
                .as_str()
                .is_some_and(|time| moment.is_match(time)),
            || format!("createdAt is {}", record["createdAt"]),
        );
        faults.ensure(subject.name, location.starts_with("/api/"), || {
            format!("Location is {location:?}")
        });
        // A notification has no GET of its own; what can be done with it there,
        // is to mark it as read.
        let (there, expected) = if subject.name == "notification-service" {
            let mut read = record.clone();
            read["read"] = json!(true);
            (
                subject
                    .server
                    .send("PATCH", &format!("{location}/read"), json!({}))
                    .await,
                read,
            )
        } else {
            (subject.server.get(&location).await, record)
        };
        faults.expect(format!("{}: {location}", subject.name), there.status, 200);
        if there.status == 200 {
            faults.expect(
                format!("{}: {location}", subject.name),
                there.json(),
                expected,
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn a_list_is_paged_in_ascending_id() {
    let mut faults = Faults::default();
    for index in 0..SUBJECTS {
        // A shop of its own: orders add notifications.
        let world = World::start().await;
        let subject = world.subjects().swap_remove(index);
        faults.of(subject.name, subject.framework);
        let Some(route) = subject.bodies.first() else {
            continue;
        };
        // Twelve, so that "10" would come before "9" in the order of text.
        for _ in 0..11 {
            subject
                .server
                .post(route.path, (route.good)(world.fresh()))
                .await
                .expect(201);
        }
        let expected: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
        for list in &subject.lists {
            let what = format!("{}: {list}", subject.name);
            let whole = subject.server.get(list).await;
            faults.expect(&what, whole.header("x-total-count"), "12");
            faults.expect(
                format!("{what}: link of the only page"),
                whole.header("link"),
                "",
            );
            faults.expect(&what, ids(&whole.expect(200)), expected.clone());

            for limit in [1, 5, 12, 1000] {
                let what = format!("{what}?limit={limit}");
                let mut visited = Vec::new();
                let mut next = Some(format!("{list}?limit={limit}"));
                while let Some(path) = next.take() {
                    let got = subject.server.get(&path).await;
                    faults.expect(format!("{what}: count"), got.header("x-total-count"), "12");
                    let link = got.header("link").to_owned();
                    let page = ids(&got.expect(200));
                    faults.ensure(&what, page.len() <= limit, || {
                        format!("{} records", page.len())
                    });
                    visited.extend(page);
                    if !link.is_empty() && visited.len() <= 12 {
                        next = next_page(&link, subject.server);
                        faults.ensure(&what, next.is_some(), || format!("Link is {link:?}"));
                    }
                }
                faults.expect(format!("{what}: all pages"), visited, expected.clone());
            }

            for (query, expected, more, reason) in [
                ("after=0", 1..13, false, "before the first"),
                ("after=9", 10..13, false, "behind the ninth"),
                ("after=12", 13..13, false, "behind the last"),
                ("after=999999", 13..13, false, "far behind it"),
                ("limit=3&after=2", 3..6, true, "both"),
                ("after=2&limit=3", 3..6, true, "in the other order"),
                ("limit=%33&after=%32", 3..6, true, "percent-encoded"),
                (
                    "limit=2&other=%20+&x",
                    1..3,
                    true,
                    "parameters that nobody knows",
                ),
                (
                    "limit=10&x=[{|}]",
                    1..11,
                    true,
                    "characters that need encoding",
                ),
                ("", 1..13, false, "an empty query"),
            ] {
                let what = format!("{what}?{query} ({reason})");
                match subject
                    .raw(&request("GET", &format!("{list}?{query}"), &[], b""))
                    .await
                {
                    Ok(got) if got.status == 200 => {
                        faults.expect(&what, got.header("x-total-count"), "12");
                        faults.expect(
                            format!("{what}: has a next page"),
                            got.header("link").contains("rel=\"next\""),
                            more,
                        );
                        faults.expect(
                            &what,
                            ids(&got.json()),
                            expected.map(|n: i32| n.to_string()).collect(),
                        );
                    }
                    got => faults.expect(what, status(&got), Ok(200)),
                }
            }
            for (query, fields, reason) in [
                ("limit=0", &["limit"][..], "no records"),
                ("limit=1001", &["limit"], "more than 1000"),
                ("limit=-1", &["limit"], "negative"),
                ("limit=1.5", &["limit"], "not whole"),
                ("limit=ten", &["limit"], "no number"),
                ("limit=", &["limit"], "empty"),
                ("limit=99999999999999999999", &["limit"], "does not fit"),
                ("after=abc", &["after"], "no id"),
                ("after=-1", &["after"], "a negative id"),
                ("after=1.0", &["after"], "not whole"),
                ("limit=0&after=x", &["limit", "after"], "both"),
            ] {
                let what = format!("{what}?{query} ({reason})");
                let got = subject
                    .raw(&request("GET", &format!("{list}?{query}"), &[], b""))
                    .await;
                faults.check(&what, error(&got, 400, "validation_failed"));
                faults.expect(
                    what,
                    named(&got),
                    fields.iter().map(ToString::to_string).collect(),
                );
            }
        }
    }
    faults.finish();
}

/// The path of the next page.
fn next_page(link: &str, server: &Server) -> Option<String> {
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    let base = Url::parse(&format!("http://{}/", server.address())).ok()?;
    let url = base
        .join(target)
        .ok()
        .filter(|url| url.origin() == base.origin())?;
    (parameters.trim() == "; rel=\"next\"")
        .then(|| format!("{}?{}", url.path(), url.query().unwrap_or_default()))
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(shop::id)
        .collect()
}
