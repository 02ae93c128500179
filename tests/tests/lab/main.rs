//! The lab's routes, on all five frameworks and the gateway, as a client uses them.

#![allow(
    clippy::too_many_lines,
    reason = "a table of cases is one list, however long"
)]

mod data;
mod faults;
mod spans;
mod stream;
mod traces;
mod viewer;

use chassis::testkit::Server;
use serde_json::json;
use shop_tests::faults::Faults;
use shop_tests::shop::Shop;

/// The five services and the gateway, with their labs.
struct World {
    shop: Shop,
    gateway: Server,
}

/// A server, and one of its routes.
struct Subject<'a> {
    name: &'static str,
    framework: &'static str,
    server: &'a Server,
    /// What GET answers with 200 and JSON. The path is its own template.
    path: &'static str,
}

impl World {
    async fn start() -> Self {
        let shop = Shop::start_lab().await;
        let gateway = shop.gateway_that(&[("LAB_MODE", "on")]).await;
        Self { shop, gateway }
    }

    /// The five; the gateway with a route of its own, and with one that it forwards.
    fn subjects(&self) -> Vec<Subject<'_>> {
        let mut subjects: Vec<_> = self
            .shop
            .services()
            .into_iter()
            .map(|one| Subject {
                name: one.name,
                framework: one.framework,
                server: one.server,
                path: match one.name {
                    "user-service" => "/api/users",
                    "product-service" => "/api/products",
                    "order-service" => "/api/orders",
                    "notification-service" => "/api/notifications",
                    _ => "/api/analytics/history",
                },
            })
            .collect();
        for path in ["/", "/api/users"] {
            subjects.push(Subject {
                name: "gateway",
                framework: "hyper",
                server: &self.gateway,
                path,
            });
        }
        subjects
    }
}

#[tokio::test]
async fn without_lab_mode_there_is_no_lab() {
    let shop = Shop::start().await;
    let gateway = shop.gateway().await;
    let mut faults = Faults::default();
    let services = shop.services();
    let services = services.iter().map(|one| (one.name, one.server));
    for (name, server) in services.chain([("gateway", &gateway)]) {
        for (method, path) in [
            ("GET", "/lab/faults"),
            ("GET", "/lab/settings"),
            ("PUT", "/lab/faults"),
            ("DELETE", "/lab/faults"),
            ("POST", "/lab/reset"),
            ("POST", "/lab/seed"),
            ("POST", "/lab/clock"),
            ("GET", "/lab/user-service/faults"),
        ] {
            let got = server.send(method, path, serde_json::json!({})).await;
            faults.expect(format!("{name}: {method} {path}"), got.status, 404);
            let from = got.header("x-not-found").to_owned();
            faults.expect(
                format!("{name}: {path} is no route"),
                from,
                "route".to_owned(),
            );
        }
    }
    faults.finish();
}

#[tokio::test]
async fn the_lab_has_the_methods_that_it_says() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        for (method, path, status, allow) in [
            ("GET", "/lab/faults", 200, ""),
            ("HEAD", "/lab/faults", 200, ""),
            (
                "POST",
                "/lab/faults",
                405,
                "GET, HEAD, PUT, DELETE, OPTIONS",
            ),
            (
                "PATCH",
                "/lab/faults",
                405,
                "GET, HEAD, PUT, DELETE, OPTIONS",
            ),
            (
                "OPTIONS",
                "/lab/faults",
                204,
                "GET, HEAD, PUT, DELETE, OPTIONS",
            ),
            ("GET", "/lab/settings", 200, ""),
            ("PUT", "/lab/settings", 405, "GET, HEAD, OPTIONS"),
            ("GET", "/lab/reset", 405, "POST, OPTIONS"),
            ("GET", "/lab/nothing", 404, ""),
            ("GET", "/lab/", 404, ""),
            ("GET", "/lab", 404, ""),
        ] {
            let method = method.parse().expect("a method");
            let what = format!("{method} {path}");
            let request = subject.server.request(method, path);
            let got = harness::Got::from(request).await;
            faults.expect(&what, got.status, status);
            faults.expect(what, got.header("allow").to_owned(), allow.to_owned());
        }
        let document = subject.server.get("/openapi.json").await;
        let document = document.expect(200).to_string();
        faults.expect("the document", document.contains("\"/lab"), false);
    }
    faults.finish();
}

#[tokio::test]
async fn the_settings_are_those_of_the_service() {
    let world = World::start().await;
    let mut faults = Faults::default();
    for subject in world.subjects() {
        faults.of(subject.name, subject.framework);
        let got = subject.server.get("/lab/settings").await.expect(200);
        let value = |name: &str| {
            let all = got.as_array().into_iter().flatten();
            let mut found = all.filter(|one| one["name"] == name);
            found.next().map(|one| one["value"].clone())
        };
        faults.expect("LAB_MODE", value("LAB_MODE"), Some("on".into()));
        // The tests leave it alone.
        faults.expect("MAX_RECORDS", value("MAX_RECORDS"), Some(json!(null)));
        faults.expect("PATH", value("PATH"), None);
        if subject.name == "order-service" {
            let other = value("USER_SERVICE_URL");
            let other = other.as_ref().and_then(|url| url.as_str());
            let is_url = other.is_some_and(|url| url.starts_with("http://"));
            faults.expect("USER_SERVICE_URL is a URL", is_url, true);
        }
    }
    let through = world.gateway.get("/lab/product-service/settings").await;
    let through = through.expect(200);
    let name = through[2]["default"].as_str();
    faults.expect("through the gateway", name, Some("product-service"));
    faults.finish();
}
