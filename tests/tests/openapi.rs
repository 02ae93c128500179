//! The OpenAPI documents: every route of the contract is there and nothing else,
//! the documents are valid, and live answers are as they say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chassis::testkit::{Got, Server};
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::PATIENCE;
use shop_tests::document::{Document, shape};
use shop_tests::faults::Faults;
use shop_tests::shop::{self, Shop};

/// What every service answers about itself, and the statuses of each.
const OPERATIONS: [(&str, &[u16]); 6] = [
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
            ("POST /api/orders/{}/cancel", &[200, 404, 409, 503]),
        ],
        "notification-service" => vec![
            ("POST /api/notifications/send", &[201, 400, 413, 415]),
            ("GET /api/notifications", &[200, 400]),
            ("GET /api/notifications/{}", &[200, 400]),
            ("PATCH /api/notifications/{}/read", &[200, 404]),
            ("DELETE /api/notifications/{}", &[200, 404]),
        ],
        _ => vec![
            ("GET /api/analytics/summary", &[200]),
            ("GET /api/analytics/users", &[200]),
            ("GET /api/analytics/products", &[200]),
            ("GET /api/analytics/notifications", &[200]),
            ("GET /api/analytics/orders", &[200]),
            ("GET /api/analytics/services", &[200]),
            ("GET /api/analytics/history", &[200, 400]),
        ],
    }
}

async fn document(server: &Server) -> Document {
    Document::new(server.get("/openapi.json").await.expect(200))
}

#[tokio::test]
async fn every_route_of_the_contract_is_described_with_its_answers_and_nothing_else() {
    let shop = Shop::start().await;
    let mut faults = Faults::default();
    for service in shop.services() {
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
            let always_open = ["GET /health", "GET /health/ready", "GET /metrics"].contains(&name);
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
    let mut faults = Faults::default();
    for service in shop.services() {
        let document = document(service.server).await;
        faults.expect(service.name, document.faults(), Vec::new());
    }
    faults.finish();
}

/// A service that is asked, with its document at hand.
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
        self.faults
            .check(what, self.document.check(method, path, body.as_ref(), &got));
        serde_json::from_slice(&got.body).unwrap_or_default()
    }

    async fn get(&mut self, path: &str) -> Value {
        self.send("GET", path, None, 200).await
    }

    /// Sends a body in which all is well but for one field, which has white space and
    /// control characters alone; the document must not let it be sent, either.
    async fn blank(&mut self, method: &str, path: &str, good: &Value, field: &str) {
        let mut body = good.clone();
        body[field] = json!(" \t\u{0}\u{1c}");
        self.faults.expect(
            format!("{}: {method} {path}: {field}", self.name),
            [good, &body].map(|body| self.document.check_request(method, path, body).is_ok()),
            [true, false],
        );
        self.send(method, path, Some(body), 400).await;
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

    /// Asks for all that every service has.
    async fn about_itself(&mut self) {
        for path in [
            "/health",
            "/health/ready",
            "/metrics",
            "/openapi.json",
            "/docs",
            "/docs/swagger-ui.css",
            "/docs/swagger-ui-bundle.js",
        ] {
            self.get(path).await;
        }
        self.send("GET", "/docs/nothing.js", None, 404).await;
    }

    /// Asks for a list in every way.
    async fn list(&mut self, path: &str) {
        self.get(path).await;
        self.get(&format!("{path}?limit=1")).await;
        self.get(&format!("{path}?after=999")).await;
        self.send("GET", &format!("{path}?limit=0&after=x"), None, 400)
            .await;
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

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one walk over every route")]
async fn answers_are_as_the_documents_say() {
    let shop = Shop::start().await;
    let checked = async |service: &shop_tests::shop::Named<'_>| {
        (service.name, document(service.server).await)
    };
    let mut documents = Vec::new();
    for service in shop.services() {
        documents.push(checked(&service).await);
    }
    let mut all = shop
        .services()
        .into_iter()
        .zip(documents)
        .map(|(service, (name, document))| Checked {
            name,
            server: service.server,
            document,
            faults: Faults::default(),
        });
    let mut next = || all.next().expect("five services");
    let (mut users, mut products, mut orders, mut notifications, mut analytics) =
        (next(), next(), next(), next(), next());

    // Users.
    let ada = json!({"name": "Ada", "email": "ada@example.com"});
    users
        .send("POST", "/api/users", Some(ada.clone()), 201)
        .await;
    users
        .send(
            "POST",
            "/api/users",
            Some(json!({"name": "Bob", "email": "bob@example.com"})),
            201,
        )
        .await;
    users
        .send("POST", "/api/users", Some(ada.clone()), 409)
        .await;
    users.send("POST", "/api/users", Some(json!({})), 400).await;
    users
        .send(
            "POST",
            "/api/users",
            Some(json!({"name": 1, "email": []})),
            400,
        )
        .await;
    users.blank("POST", "/api/users", &ada, "name").await;
    users.blank("PUT", "/api/users/1", &ada, "name").await;
    users.refused_bodies("POST", "/api/users").await;
    users.get("/api/users/1").await;
    users.send("GET", "/api/users/9", None, 404).await;
    users
        .send(
            "PUT",
            "/api/users/1",
            Some(json!({"name": "Ada L.", "email": "ada@example.com"})),
            200,
        )
        .await;
    users.send("PUT", "/api/users/2", Some(ada), 409).await;
    users
        .send("PUT", "/api/users/2", Some(json!({"name": ""})), 400)
        .await;
    users
        .send(
            "PUT",
            "/api/users/9",
            Some(json!({"name": "Eve", "email": "eve@example.com"})),
            404,
        )
        .await;
    users.refused_bodies("PUT", "/api/users/1").await;
    users.list("/api/users").await;

    products.products().await;

    // Orders.
    let order = |user: &str, product: &str, quantity: u32| {
        Some(json!({"userId": user, "productId": product, "quantity": quantity}))
    };
    orders.get("/api/orders/stats").await;
    orders
        .send("POST", "/api/orders", order("1", "1", 2), 201)
        .await;
    orders
        .send("POST", "/api/orders", order("1", "1", 1), 201)
        .await;
    orders
        .send("POST", "/api/orders", order("1", "1", 99), 409)
        .await;
    orders
        .send("POST", "/api/orders", order("9", "1", 1), 400)
        .await;
    orders
        .send("POST", "/api/orders", order("1", "9", 1), 400)
        .await;
    orders
        .send("POST", "/api/orders", Some(json!({"quantity": 0})), 400)
        .await;
    orders
        .send("POST", "/api/orders", Some(json!({"userId": 1})), 400)
        .await;
    orders.refused_bodies("POST", "/api/orders").await;
    orders.get("/api/orders/1").await;
    orders.send("GET", "/api/orders/9", None, 404).await;
    orders.send("POST", "/api/orders/1/cancel", None, 200).await;
    orders.send("POST", "/api/orders/1/cancel", None, 409).await;
    orders.send("POST", "/api/orders/9/cancel", None, 404).await;
    orders.get("/api/orders/stats").await;
    orders.list("/api/orders").await;
    orders.list("/api/orders/user/1").await;

    // Notifications.
    let sent = json!({"userId": "someone", "message": "Hello", "type": "greeting"});
    for field in ["userId", "message"] {
        notifications
            .blank("POST", "/api/notifications/send", &sent, field)
            .await;
    }
    notifications
        .send("POST", "/api/notifications/send", Some(sent), 201)
        .await;
    notifications
        .send(
            "POST",
            "/api/notifications/send",
            Some(json!({"userId": "1", "message": "Hello"})),
            201,
        )
        .await;
    notifications
        .send(
            "POST",
            "/api/notifications/send",
            Some(json!({"type": "No!"})),
            400,
        )
        .await;
    notifications
        .send(
            "POST",
            "/api/notifications/send",
            Some(json!({"message": 1})),
            400,
        )
        .await;
    notifications
        .refused_bodies("POST", "/api/notifications/send")
        .await;
    notifications.list("/api/notifications").await;
    notifications.list("/api/notifications/1").await;
    notifications.get("/api/notifications/nobody").await;
    notifications
        .send("PATCH", "/api/notifications/1/read", None, 200)
        .await;
    notifications
        .send("PATCH", "/api/notifications/99/read", None, 404)
        .await;
    notifications
        .send("DELETE", "/api/notifications/1", None, 200)
        .await;
    notifications
        .send("DELETE", "/api/notifications/1", None, 404)
        .await;

    // Totals.
    let totals = [
        "/api/analytics/summary",
        "/api/analytics/users",
        "/api/analytics/products",
        "/api/analytics/orders",
        "/api/analytics/notifications",
        "/api/analytics/services",
        "/api/analytics/history",
        "/api/analytics/history?minutes=60",
    ];
    for path in totals {
        analytics.get(path).await;
    }
    analytics
        .send("GET", "/api/analytics/history?minutes=61", None, 400)
        .await;
    for service in [
        &mut users,
        &mut products,
        &mut orders,
        &mut notifications,
        &mut analytics,
    ] {
        service.about_itself().await;
    }

    // What is gone.
    products.send("DELETE", "/api/products/2", None, 200).await;
    products.send("DELETE", "/api/products/2", None, 404).await;
    users.send("DELETE", "/api/users/2", None, 200).await;
    users.send("DELETE", "/api/users/2", None, 404).await;

    for service in [users, products, orders, notifications, analytics] {
        service.faults.finish();
    }
}

/// On Rocket they are tested with the rest of the shop.
#[tokio::test]
async fn the_product_api_is_as_its_document_says_on_every_framework() {
    let users = shop::users().await;
    shop::add_user(&users, "ada").await;
    let rocket = shop::products(&users.upstream_url()).await;
    let expected = rocket.get("/openapi.json").await.expect(200);
    for (framework, server) in shop::product_rooms(&users.upstream_url()).await {
        let name = framework.name;
        let mut document = server.get("/openapi.json").await.expect(200);
        let description = document["info"]["description"].take();
        assert_eq!(
            description,
            format!("Products of the shop and their stock. Built on {name}.")
        );
        document["info"]["description"] = expected["info"]["description"].clone();
        assert_eq!(document, expected, "{name}");

        let mut products = Checked {
            name,
            server: &server,
            document: Document::new(document),
            faults: Faults::default(),
        };
        products.products().await;
        products.about_itself().await;
        products.faults.finish();
    }
}

#[tokio::test]
async fn answers_in_an_outage_are_as_the_documents_say() {
    let refusing = chassis::testkit::Stub::refusing().await;
    let nobody = refusing.url();
    let users = shop::users().await;
    let products = shop::products(&nobody).await;
    let lonely = shop::orders(&users.upstream_url(), &nobody, &nobody).await;
    let analytics = shop::analytics(&nobody, &nobody, &nobody, &nobody).await;
    shop::add_user(&users, "ada").await;

    for (name, server, method, path, body, expected) in [
        (
            "product-service",
            &products,
            "POST",
            "/api/products",
            Some(json!({"name": "Cup", "price": 1, "sellerId": "1"})),
            503,
        ),
        (
            "order-service",
            &lonely,
            "POST",
            "/api/orders",
            Some(json!({"userId": "1", "productId": "1", "quantity": 1})),
            503,
        ),
        ("order-service", &lonely, "GET", "/health/ready", None, 503),
        (
            "analytics-service",
            &analytics,
            "GET",
            "/health/ready",
            None,
            200,
        ),
        (
            "analytics-service",
            &analytics,
            "GET",
            "/api/analytics/summary",
            None,
            200,
        ),
        (
            "analytics-service",
            &analytics,
            "GET",
            "/api/analytics/users",
            None,
            200,
        ),
        (
            "analytics-service",
            &analytics,
            "GET",
            "/api/analytics/orders",
            None,
            200,
        ),
        (
            "analytics-service",
            &analytics,
            "GET",
            "/api/analytics/services",
            None,
            200,
        ),
    ] {
        let mut checked = Checked {
            name,
            server,
            document: document(server).await,
            faults: Faults::default(),
        };
        checked.send(method, path, body, expected).await;
        checked.faults.finish();
    }
}

#[tokio::test]
async fn a_history_is_as_the_document_says() {
    let refusing = chassis::testkit::Stub::refusing().await;
    let nobody = refusing.url();
    let users = shop::users().await;
    let neighbours = [&users.upstream_url(), &nobody, &nobody, &nobody];
    let analytics = shop::analytics_polling(neighbours, 500).await;
    let mut checked = Checked {
        name: "analytics-service",
        server: &analytics,
        document: document(&analytics).await,
        faults: Faults::default(),
    };
    // The second sample of the one that is up has rates.
    let since = Instant::now();
    while checked
        .get("/api/analytics/history")
        .await
        .as_array()
        .is_none_or(|samples| samples.len() < 2)
    {
        assert!(since.elapsed() < PATIENCE, "no samples");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    checked.get("/api/analytics/services").await;
    checked.faults.finish();
}
