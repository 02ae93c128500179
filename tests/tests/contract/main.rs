//! The contract, as tests that run against all five real servers, against the product API on the
//! other four frameworks, and against the five through the gateway: a client must not be able to
//! tell which framework it talks to, nor whether there is a gateway in between.
//!
//! Each test iterates over the servers and collects failed expectations, so that one run shows
//! every difference.

#![allow(
    clippy::too_many_lines,
    reason = "a table of cases is one list, however long"
)]

mod bodies;
mod connection;
mod headers;
mod keys;
mod methods;
mod operations;
mod paths;
mod protocol;
mod records;
mod validation;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use chassis::testkit::{Got, Server};
use framework_comparison::Framework;
use harness::raw;
use serde_json::{Value, json};
use shop_tests::shop::{self, Named, Shop};

const KIB: usize = 1024;
const LIMIT: usize = 64 * KIB;
const JSON: (&str, &str) = ("content-type", "application/json");
const EXPOSED: &str = "X-Request-Id, X-Total-Count, Link, Location, Allow, Retry-After, \
    Idempotency-Replayed, Accept-Encoding";

/// What scripts of other sites may read besides, of what the gateway adds.
const EXPOSED_BY_GATEWAY: &str = "RateLimit, RateLimit-Policy, Cache-Status, Age, ETag";

/// The five services, product-service on four more frameworks, and the five through the gateway.
const SUBJECTS: usize = 14;

/// The framework of a service that is behind the gateway: nobody sees it.
const THROUGH_GATEWAY: &str = "any framework, through the gateway";

/// What the cache of the gateway says about products: the one difference between a service and the
/// gateway in front of it.
const OF_THE_CACHE: [&str; 3] = ["age", "cache-status", "etag"];

/// A shop with one record of each kind: user 1, product 1, order 1, notification 1; and the
/// product API on the other frameworks, each with a product 1.
struct World {
    shop: Shop,
    others: Vec<(Framework, Server)>,
    /// Another such shop, which clients reach only through its gateway.
    behind: Shop,
    gateway: Server,
    made: AtomicUsize,
}

/// A shop with one record of each kind.
async fn stocked_shop() -> Shop {
    let shop = Shop::start().await;
    shop::add_user(&shop.users, "ada").await;
    shop::add_product(&shop.products, json!(19.99), 1_000_000).await;
    let order = json!({"userId": "1", "productId": "1", "quantity": 1});
    let order = shop.orders.post("/api/orders", order).await.expect(201);
    assert_eq!(order["notification"], "sent");
    shop
}

/// A service, and its routes for the tests.
struct Subject<'a> {
    name: &'static str,
    framework: &'static str,
    server: &'a Server,
    /// Paths that answer GET with 200, besides the operations.
    gets: Vec<&'static str>,
    /// Lists of records.
    lists: Vec<&'static str>,
    /// Requests that name a record by its id, `{}` in the path.
    by_id: Vec<(&'static str, &'static str)>,
    /// Requests with a body. The first creates a record.
    bodies: Vec<BodyRoute>,
}

/// A request with a body.
struct BodyRoute {
    method: &'static str,
    path: &'static str,
    /// A valid body. The number makes it unique.
    good: fn(usize) -> Value,
    /// The status for a valid body.
    status: u16,
    /// The required fields.
    required: &'static [&'static str],
    /// Values of the wrong JSON type for some fields.
    wrong: fn() -> Value,
}

impl World {
    async fn start() -> Self {
        let shop = stocked_shop().await;
        let others = shop::products_on_other_frameworks(&shop.users.upstream_url()).await;
        for (_, server) in &others {
            shop::add_product(server, json!(19.99), 1_000_000).await;
        }
        let behind = stocked_shop().await;
        Self {
            shop,
            others,
            gateway: behind.gateway().await,
            behind,
            made: AtomicUsize::new(1),
        }
    }

    /// An unused number.
    fn fresh(&self) -> usize {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    fn subjects(&self) -> Vec<Subject<'_>> {
        let through_gateway = self.behind.services().map(|service| Named {
            framework: THROUGH_GATEWAY,
            server: &self.gateway,
            ..service
        });
        let mut subjects = self.services();
        subjects.extend(through_gateway.map(subject));
        assert_eq!(subjects.len(), SUBJECTS);
        subjects
    }

    /// Those that a client talks to directly.
    fn services(&self) -> Vec<Subject<'_>> {
        let others = self.others.iter().map(|(framework, server)| Named {
            name: "product-service",
            framework: framework.name,
            server,
        });
        let subjects = self.shop.services().into_iter().chain(others).map(subject);
        subjects.collect()
    }
}

/// The fields that are numbers.
const NUMBERS: [&str; 4] = ["price", "stock", "quantity", "delta"];

impl Subject<'_> {
    async fn raw(&self, request: &[u8]) -> Result<Got, String> {
        raw::exchange(self.server.address(), request).await
    }

    /// All paths that answer GET with 200.
    fn all_gets(&self) -> Vec<&'static str> {
        let mut all = vec![
            "/",
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

/// Checks the headers of every answer, from any layer.
fn standard(got: &Got) -> Result<(), String> {
    for (name, expected) in [
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", EXPOSED),
    ] {
        let values = got.headers.get_all(name).iter();
        let values: Vec<_> = values
            .filter(|value| *value != EXPOSED_BY_GATEWAY)
            .collect();
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
    // What is true now may be another thing in a moment; a file stays as it is.
    let stored: Vec<_> = got.headers.get_all("cache-control").iter().collect();
    if stored != ["no-store"] && stored != ["max-age=86400"] {
        return Err(format!("cache-control is {stored:?}"));
    }
    let types = got.headers.get_all("content-type").iter().count();
    if types != usize::from(got.status != 204) {
        return Err(format!("content-type is there {types} times"));
    }
    Ok(())
}

/// Checks that this is exactly an error of the contract.
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

/// The fields in the details of an error.
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
