//! The OpenAPI document of the whole shop, and its page.

use chassis::testkit::Stub;
use chassis::upstream::url::UpstreamUrl;
use futures_util::future::join_all;
use gateway::routes::DESTINATIONS;
use harness::raw;
use serde_json::{Value, json};
use shop_tests::document::Document;
use shop_tests::fake::Fake;
use shop_tests::shop::{self, Shop};

fn keys(value: &Value) -> Vec<&str> {
    let keys = value.as_object().expect("an object").keys();
    keys.map(String::as_str).collect()
}

#[tokio::test]
async fn one_document_describes_the_whole_shop() {
    let shop = Shop::start().await;
    let gateway = shop.gateway().await;
    let got = gateway.get("/openapi.json").await;
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.header("cache-control"), "no-store");
    let merged = got.expect(200);
    let faults = Document::new(merged.clone()).faults();
    assert!(faults.is_empty(), "{faults:#?}");
    let services = shop.services();
    for (service, to) in services.iter().zip(&DESTINATIONS) {
        let own = service.server.get("/openapi.json").await.expect(200);
        for path in keys(&own["paths"]) {
            let is_forwarded = to.prefixes.iter().any(|prefix| path.starts_with(prefix));
            let described = merged["paths"].get(path);
            if !is_forwarded {
                let tags = &described.map(|item| item["get"]["tags"].clone());
                assert_ne!(tags, &Some(json!([service.name])), "{path}");
                continue;
            }
            let described = described.expect(path);
            for operation in described.as_object().expect("operations").values() {
                for status in ["429", "502", "504"] {
                    assert!(
                        operation["responses"][status].is_object(),
                        "{path} {status}"
                    );
                }
            }
            assert_eq!(keys(described), keys(&own["paths"][path]), "{path}");
            for method in keys(described) {
                let operation = &described[method];
                assert_eq!(operation["tags"], json!([service.name]), "{path}");
                let id = own["paths"][path][method]["operationId"]
                    .as_str()
                    .expect("an id");
                assert_eq!(operation["operationId"], format!("{}.{id}", service.name));
            }
        }
        for schema in keys(&own["components"]["schemas"]) {
            let name = format!("{}.{schema}", service.name);
            assert!(
                merged["components"]["schemas"].get(&name).is_some(),
                "{name}"
            );
        }
    }
    for own in ["/", "/status", "/health", "/api/users/{id}/dashboard"] {
        assert!(merged["paths"].get(own).is_some(), "{own}");
    }
    let description = merged["info"]["description"]
        .as_str()
        .expect("a description");
    assert!(!description.contains("Missing"), "{description}");
    let script = gateway.get("/docs/page.js").await;
    let text = String::from_utf8_lossy(&script.body).into_owned();
    assert!(text.contains("url: \"openapi.json\""), "{text}");
}

#[tokio::test]
async fn services_that_do_not_tell_what_they_have_are_named() {
    let users = shop::users().await;
    let hanging = Stub::hanging().await;
    let nonsense = Stub::answering("200 OK", "[1, 2").await;
    let other = Stub::answering("200 OK", r#"{"paths": [], "components": 7}"#).await;
    let down = UpstreamUrl::local(1);
    let urls = [
        &users.upstream_url(),
        &hanging.url(),
        &nonsense.url(),
        &other.url(),
        &down,
    ];
    let settings = [("CALL_TIMEOUT_MS", "200"), ("DEADLINE_MS", "500")];
    let gateway = shop::gateway(urls, &settings).await;
    let merged = gateway.get("/openapi.json").await.expect(200);
    let description = merged["info"]["description"]
        .as_str()
        .expect("a description");
    assert!(
        description.ends_with(
            "Missing here, because they did not tell what they have: product-service, \
             order-service, notification-service, analytics-service."
        ),
        "{description}"
    );
    assert!(merged["paths"].get("/api/users").is_some());
    let faults = Document::new(merged).faults();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn names_do_not_collide_and_a_service_describes_only_its_own_paths() {
    let describing = async |kind: &'static str, path: &'static str| {
        let document = json!({
            "paths": {
                path: {"parameters": [7], "get": {
                    "operationId": "read",
                    "responses": {"200": {"description": "it", "content": {"application/json": {
                        "schema": {"$ref": "#/components/schemas/Item"}}}}},
                }},
                "/status": {"get": {"operationId": "stolen"}},
                "/api/usersx": {"get": {"operationId": "stolen"}},
                "/api/users/{id}/dashboard": {"get": {"operationId": "stolen"}},
            },
            "components": {"schemas": {
                "Item": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}},
                "Part": {"type": kind},
            }},
        });
        let document = document.to_string();
        Fake::start(move |_| {
            let document = document.clone();
            async move { raw::json("200 OK", "", &document) }
        })
        .await
    };
    let users = describing("string", "/api/users/{id}").await;
    let products = describing("integer", "/api/products").await;
    let down = UpstreamUrl::local(1);
    let urls = [&users.url(), &products.url(), &down, &down, &down];
    let gateway = shop::gateway(urls, &[]).await;
    // Whoever asks at the same time or soon after gets the same document.
    let together = join_all((0..20).map(|_| gateway.get("/openapi.json"))).await;
    let merged = gateway.get("/openapi.json").await.expect(200);
    assert!(together.iter().all(|got| got.json() == merged));
    let asked = |fake: &Fake| fake.seen().len();
    assert_eq!((asked(&users), asked(&products)), (1, 1));

    assert!(!merged.to_string().contains("stolen"));
    for (service, path, kind) in [
        ("user-service", "/api/users/{id}", "string"),
        ("product-service", "/api/products", "integer"),
    ] {
        let read = &merged["paths"][path]["get"];
        assert_eq!(read["operationId"], format!("{service}.read"));
        let reference = read["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
            .as_str()
            .expect("a reference");
        assert_eq!(reference, format!("#/components/schemas/{service}.Item"));
        let item = merged.pointer(&reference[1..]).expect("the schema");
        let part = item["items"]["$ref"].as_str().expect("a reference");
        assert_eq!(merged.pointer(&part[1..]).expect("it")["type"], kind);
    }
}
