//! Methods: those that a route has, HEAD, and the preflight.

use std::collections::BTreeSet;

use chassis::testkit::Got;
use harness::raw::{Connection, request};
use shop_tests::faults::Faults;

use super::{OF_THE_CACHE, World, error, set, standard, status};

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
            ("BREW", "/health", get_only, "an unknown method"),
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
async fn a_preflight_allows_pages_of_other_origins() {
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
                    "authorization",
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

/// A page gets the error of the API, not a network error: the preflight allows the request, and
/// the page may read the response.
#[tokio::test]
async fn a_preflight_for_what_is_not_there_allows_the_request() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for (path, method, expected, code) in [
            ("/nothing", "GET", 404, "not_found"),
            ("/api/nothing/at/all", "DELETE", 404, "not_found"),
            ("/health/", "PUT", 404, "not_found"),
            ("/health", "PUT", 405, "method_not_allowed"),
            ("/health", "BREW", 405, "method_not_allowed"),
        ] {
            let what = format!("{}: {method} {path}", subject.name);
            let asked = "authorization, x-other";
            let headers = [
                ("origin", "https://shop.example"),
                ("access-control-request-method", method),
                ("access-control-request-headers", asked),
            ];
            let got = subject.raw(&request("OPTIONS", path, &headers, b"")).await;
            faults.expect(&what, status(&got), Ok(204));
            let Ok(got) = got else { continue };
            faults.check(&what, standard(&got));
            let methods = set(got.header("access-control-allow-methods"));
            faults.ensure(
                &what,
                methods.contains(&method.to_ascii_lowercase()),
                || format!("allows {methods:?}"),
            );
            let headers = set(got.header("access-control-allow-headers"));
            faults.ensure(&what, set(asked).is_subset(&headers), || {
                format!("allows {headers:?}")
            });
            let got = subject.raw(&request(method, path, &[], b"")).await;
            faults.check(what, error(&got, expected, code));
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
                let names = got.headers.keys().map(ToString::to_string);
                names
                    .filter(|name| !OF_THE_CACHE.contains(&name.as_str()))
                    .collect()
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
            // The client would read a body as the start of the next answer.
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
