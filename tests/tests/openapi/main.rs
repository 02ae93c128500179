//! The OpenAPI documents: they have exactly the routes of the contract, they are valid, and live
//! answers match them.

mod answers;

use std::collections::{BTreeMap, BTreeSet};

use chassis::testkit::{Got, Server};
use regex_lite::Regex;
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::document::{Document, shape};
use shop_tests::faults::Faults;
use shop_tests::program::SERVICES;
use shop_tests::shop::{Named, Shop};

/// The operations of every service, and their statuses.
const OPERATIONS: [(&str, &[u16]); 7] = [
    ("GET /", &[200]),
    ("GET /health", &[200]),
    ("GET /health/ready", &[200, 503]),
    ("GET /metrics", &[200]),
    ("GET /openapi.json", &[200]),
    ("GET /docs", &[200]),
    // The contract does not name it: a file that the page loads.
    ("GET /docs/{}", &[200, 404]),
];

/// The contract's own routes with the answers it gives to each; the name of a
/// parameter does not count.
fn routes(service: &str) -> Vec<(&'static str, &'static [u16])> {
    match service {
        "user-service" => vec![
            ("POST /api/users", &[201, 400, 409, 413, 415]),
            ("GET /api/users", &[200, 400]),
            ("GET /api/users/{}", &[200, 404]),
            ("PUT /api/users/{}", &[200, 400, 404, 409, 413, 415]),
            ("DELETE /api/users/{}", &[200, 404]),
        ],
        "product-service" => vec![
            ("POST /api/products", &[201, 400, 413, 415, 503]),
            ("GET /api/products", &[200, 400]),
            ("GET /api/products/{}", &[200, 404]),
            ("PUT /api/products/{}", &[200, 400, 404, 413, 415, 503]),
            (
                "PATCH /api/products/{}/stock",
                &[200, 400, 404, 409, 413, 415],
            ),
            ("DELETE /api/products/{}", &[200, 404]),
        ],
        "order-service" => vec![
            ("POST /api/orders", &[201, 400, 409, 413, 415, 503]),
            ("GET /api/orders", &[200, 400]),
            ("GET /api/orders/{}", &[200, 404]),
            ("GET /api/orders/user/{}", &[200, 400]),
            ("GET /api/orders/stats", &[200]),
            ("POST /api/orders/{}/cancel", &[200, 202, 404, 409, 503]),
        ],
        "notification-service" => vec![
            ("POST /api/notifications/send", &[201, 400, 413, 415]),
            // A user called "send" has notifications too.
            ("GET /api/notifications/send", &[200, 400]),
            ("GET /api/notifications", &[200, 400]),
            ("GET /api/notifications/{}", &[200, 400]),
            ("PATCH /api/notifications/{}/read", &[200, 404]),
            ("DELETE /api/notifications/{}", &[200, 404]),
        ],
        "gateway" => vec![
            ("GET /", &[200, 304]),
            ("GET /console/{}", &[200, 304, 404]),
            ("GET /console/{}/{}", &[200, 304, 404]),
            ("GET /console/{}/{}/{}", &[200, 304, 404]),
            ("GET /status", &[200]),
            ("GET /registry", &[200]),
            (
                "PUT /registry/{}/{}",
                &[200, 201, 400, 401, 403, 404, 409, 410, 413, 415, 507],
            ),
            ("DELETE /registry/{}/{}", &[204, 401, 403, 404]),
            ("GET /api/users/{}/dashboard", &[200, 404, 503]),
        ],
        _ => vec![
            ("GET /api/analytics/summary", &[200]),
            ("GET /api/analytics/users", &[200]),
            ("GET /api/analytics/products", &[200]),
            ("GET /api/analytics/notifications", &[200]),
            ("GET /api/analytics/orders", &[200]),
            ("GET /api/analytics/services", &[200]),
            ("GET /api/analytics/history", &[200, 400]),
            ("GET /api/analytics/stream", &[200, 503]),
        ],
    }
}

async fn document(server: &Server) -> Document {
    Document::new(server.get("/openapi.json").await.expect(200))
}

/// All that have a document.
fn with_gateway<'a>(shop: &'a Shop, gateway: &'a Server) -> Vec<Named<'a>> {
    let gateway = Named {
        name: "gateway",
        framework: "hyper",
        server: gateway,
    };
    shop.services().into_iter().chain([gateway]).collect()
}

#[tokio::test]
async fn every_route_of_the_contract_is_described_with_its_answers_and_nothing_else() {
    let shop = Shop::start().await;
    let gateway = shop.gateway().await;
    let mut faults = Faults::default();
    for service in with_gateway(&shop, &gateway) {
        let document = document(service.server).await;
        let described: BTreeMap<String, BTreeSet<u16>> = document
            .operations()
            .iter()
            .map(|operation| {
                let statuses = operation.value["responses"]
                    .as_object()
                    .into_iter()
                    .flatten();
                let statuses = statuses
                    .filter_map(|(status, _)| status.parse().ok())
                    .collect();
                (
                    format!("{} {}", operation.method, shape(operation.template)),
                    statuses,
                )
            })
            .collect();
        let mut expected = routes(service.name);
        expected.extend(OPERATIONS);
        if service.name == "gateway" {
            // Its document is that of the whole shop.
            expected.extend(SERVICES.into_iter().flat_map(routes));
        }
        let names: BTreeSet<_> = expected
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        faults.expect(service.name, described.keys().cloned().collect(), names);
        for (name, statuses) in expected {
            let none = BTreeSet::new();
            let there = described.get(name).unwrap_or(&none);
            for status in statuses {
                faults.ensure(
                    format!("{}: {name}", service.name),
                    there.contains(status),
                    || format!("{status} is not described"),
                );
            }
            // What follows from the kind of an operation.
            let always_open = [
                "GET /health",
                "GET /health/ready",
                "GET /metrics",
                "GET /status",
            ];
            let always_open = always_open.contains(&name) || name.contains(" /registry");
            for (status, applies) in [
                (408, there.contains(&413)),
                (500, true),
                (503, !always_open || name == "GET /health/ready"),
                (507, there.contains(&201)),
            ] {
                faults.expect(
                    format!("{}: {name}: {status} is described", service.name),
                    there.contains(&status),
                    applies,
                );
            }
        }
    }
    faults.finish();
}

#[tokio::test]
async fn the_documents_are_valid() {
    let shop = Shop::start().await;
    let gateway = shop.gateway().await;
    let mut faults = Faults::default();
    for service in with_gateway(&shop, &gateway) {
        let document = document(service.server).await;
        faults.expect(service.name, document.faults(), Vec::new());
    }
    faults.finish();
}

#[tokio::test]
async fn every_list_of_records_has_the_parameters_of_a_page() {
    let shop = Shop::start().await;
    let mut faults = Faults::default();
    let mut lists = 0;
    for service in shop.services() {
        let document = document(service.server).await;
        for operation in document.operations() {
            let ok = &operation.value["responses"]["200"];
            // The array of analytics-service has one entry for each service.
            if service.name == "analytics-service"
                || ok["content"]["application/json"]["schema"]["type"] != "array"
            {
                continue;
            }
            lists += 1;
            let parameters = operation.value["parameters"].as_array();
            let parameters = parameters.into_iter().flatten();
            let names: Vec<_> = parameters
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| parameter["name"].clone())
                .collect();
            faults.expect(
                operation,
                names,
                ["limit", "order", "after", "before"]
                    .map(Value::from)
                    .to_vec(),
            );
        }
    }
    assert_eq!(lists, 7);
    faults.finish();
}

#[tokio::test]
async fn every_error_has_an_example_of_each_of_its_codes() {
    let shop = Shop::start().await;
    let gateway = shop.gateway().await;
    let mut faults = Faults::default();
    // `code`: when, as the descriptions name it.
    let code = Regex::new("`([a-z_]+)`(:| or)").expect("a pattern");
    for service in with_gateway(&shop, &gateway) {
        let document = document(service.server).await;
        for operation in document.operations() {
            let responses = operation.value["responses"]
                .as_object()
                .into_iter()
                .flatten();
            for (status, response) in responses.filter(|(status, _)| status.as_str() >= "400") {
                let what = format!("{}: {operation} {status}", service.name);
                let content = &response["content"]["application/json"];
                // The state of a service that is not ready is no error.
                if content["schema"]["$ref"] != "#/components/schemas/ErrorBody" {
                    continue;
                }
                let description = response["description"].as_str().unwrap_or_default();
                let codes: BTreeSet<_> = code
                    .captures_iter(description)
                    .map(|found| found[1].to_owned())
                    .collect();
                faults.ensure(&what, !codes.is_empty(), || {
                    format!("no code in {description:?}")
                });
                for code in codes {
                    let example = &content["examples"][&code]["value"]["code"];
                    faults.expect(&what, example, &json!(code));
                }
            }
        }
    }
    faults.finish();
}

/// A service and its document.
struct Checked<'a> {
    name: &'static str,
    server: &'a Server,
    document: Document,
    faults: Faults,
}

impl Checked<'_> {
    /// Sends a request and checks the answer against the document.
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Option<Value>,
        expected: u16,
    ) -> Value {
        let request = self.server.request(method.parse().expect("a method"), path);
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let got = Got::from(request).await;
        let what = format!(
            "{}: {method} {path} {}",
            self.name,
            body.clone().unwrap_or_default()
        );
        self.faults.expect(&what, got.status, expected);
        self.faults.check(
            &what,
            self.document.check(method, path, body.as_ref(), &got),
        );
        let body: Value = serde_json::from_slice(&got.body).unwrap_or_default();
        if let Some(code) = body["code"].as_str() {
            let example = self.document.example(method, path, got.status, code);
            self.faults.expect(what, example.is_some(), true);
        }
        body
    }

    async fn get(&mut self, path: &str) -> Value {
        self.send("GET", path, None, 200).await
    }

    /// Sends bodies that are valid except for one field, which has only characters that
    /// nobody sees. The document must not allow them either.
    async fn blank(&mut self, method: &str, path: &str, good: &Value, field: &str) {
        for blank in [
            " \t\u{0}\u{1c}",
            "\u{200b}",
            "\u{ad}\u{feff}\u{202e}\u{fe0f}\u{3164}",
        ] {
            let mut body = good.clone();
            body[field] = json!(blank);
            self.faults.expect(
                format!("{}: {method} {path}: {field} is {blank:?}", self.name),
                [good, &body].map(|body| self.document.check_request(method, path, body).is_ok()),
                [true, false],
            );
            self.send(method, path, Some(body), 400).await;
        }
    }

    /// Sends prices that the service takes. The document must allow them, too.
    async fn prices(&mut self) {
        for price in [
            0.0,
            0.01,
            0.07,
            1.1,
            4.35,
            19.99,
            1_000_000.01,
            999_999_999.99,
            1e9,
        ] {
            let body = json!({"price": price});
            self.send("PUT", "/api/products/1", Some(body), 200).await;
        }
    }

    /// Sends bodies that are refused before a field is looked at.
    async fn refused_bodies(&mut self, method: &str, path: &str) {
        for (body, content_type, expected, reason) in [
            (
                "{".to_owned(),
                Some("application/json"),
                400,
                "half an object",
            ),
            (
                "{}".to_owned(),
                Some("text/plain"),
                415,
                "not said to be JSON",
            ),
            (
                " ".repeat(65 * 1024),
                Some("application/json"),
                413,
                "too large",
            ),
        ] {
            let mut request = self
                .server
                .request(
                    Method::from_bytes(method.as_bytes()).expect("a method"),
                    path,
                )
                .body(body);
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let got = Got::from(request).await;
            let what = format!("{}: {method} {path} ({reason})", self.name);
            self.faults.expect(&what, got.status, expected);
            self.faults
                .check(what, self.document.check(method, path, None, &got));
        }
    }

    /// Requests all operations.
    async fn about_itself(&mut self) {
        for path in [
            "/",
            "/health",
            "/health/ready",
            "/metrics",
            "/openapi.json",
            "/docs",
            "/docs/page.js",
            "/docs/swagger-ui.css",
            "/docs/swagger-ui-bundle.js",
        ] {
            self.get(path).await;
        }
        self.send("GET", "/docs/nothing.js", None, 404).await;
    }

    /// Requests a list in all ways.
    async fn list(&mut self, path: &str) {
        self.get(path).await;
        self.get(&format!("{path}?limit=1")).await;
        self.get(&format!("{path}?after=999")).await;
        self.get(&format!("{path}?order=desc&before=999&limit=1"))
            .await;
        for query in ["limit=0&after=x", "order=x&before=x"] {
            self.send("GET", &format!("{path}?{query}"), None, 400)
                .await;
        }
    }

    /// Every answer about products; user 1 is there.
    async fn products(&mut self) {
        self.send(
            "POST",
            "/api/products",
            Some(json!({"name": "Kettle", "price": 19.99, "stock": 10, "sellerId": "1"})),
            201,
        )
        .await;
        self.send(
            "POST",
            "/api/products",
            Some(json!({"name": "Cup", "price": 0})),
            201,
        )
        .await;
        self.send(
            "POST",
            "/api/products",
            Some(json!({"name": "Cup", "price": 1, "sellerId": null})),
            201,
        )
        .await;
        self.send(
            "POST",
            "/api/products",
            Some(json!({"name": "Cup", "price": 1, "sellerId": "9"})),
            400,
        )
        .await;
        self.send(
            "POST",
            "/api/products",
            Some(json!({"price": -1, "stock": 1.5})),
            400,
        )
        .await;
        self.send(
            "POST",
            "/api/products",
            Some(json!({"name": 1, "price": "1"})),
            400,
        )
        .await;
        let kettle = json!({"name": "Kettle", "price": 19.99});
        self.blank("POST", "/api/products", &kettle, "name").await;
        self.blank("PUT", "/api/products/1", &kettle, "name").await;
        self.refused_bodies("POST", "/api/products").await;
        self.get("/api/products/1").await;
        self.send("GET", "/api/products/9", None, 404).await;
        self.send("PUT", "/api/products/1", Some(json!({"price": 0.3})), 200)
            .await;
        self.send("PUT", "/api/products/1", Some(json!({"price": 0.001})), 400)
            .await;
        self.send("PUT", "/api/products/9", Some(json!({"price": 1})), 404)
            .await;
        self.prices().await;
        self.refused_bodies("PUT", "/api/products/1").await;
        self.send(
            "PATCH",
            "/api/products/1/stock",
            Some(json!({"delta": -2})),
            200,
        )
        .await;
        self.send(
            "PATCH",
            "/api/products/1/stock",
            Some(json!({"delta": -99})),
            409,
        )
        .await;
        self.send(
            "PATCH",
            "/api/products/1/stock",
            Some(json!({"delta": "1"})),
            400,
        )
        .await;
        self.send(
            "PATCH",
            "/api/products/9/stock",
            Some(json!({"delta": 1})),
            404,
        )
        .await;
        self.refused_bodies("PATCH", "/api/products/1/stock").await;
        self.list("/api/products").await;
    }
}
