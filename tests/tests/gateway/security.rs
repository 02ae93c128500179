//! What a browser is told that it must not do with a response.

use chassis::testkit::Server;
use harness::Got;
use harness::raw::{self, exchange};
use regex_lite::Regex;
use reqwest::Method;
use reqwest::header::HeaderName;
use shop_tests::fake::Fake;
use shop_tests::shop;

use super::gateway;

async fn users(headers: &'static str, body: &'static str) -> (Fake, Server) {
    let users = Fake::start(move |_| async move { raw::json("200 OK", headers, body) }).await;
    let gateway = gateway(&users.url()).await;
    (users, gateway)
}

#[tokio::test]
async fn each_response_says_what_a_browser_must_not_do() {
    let headers = "server: played\r\nx-content-type-options: sniff\r\n";
    let (_users, gateway) = users(headers, "{}").await;
    for (method, path, status) in [
        ("GET", "/api/users/1", 200),
        ("GET", "/api/orders/1", 503),
        ("GET", "/nothing", 404),
        ("GET", "/health", 200),
        ("GET", "/", 200),
        ("PUT", "/health", 405),
        ("OPTIONS", "/health", 204),
    ] {
        let method = method.parse().expect("a method");
        let got = Got::from(gateway.request(method, path)).await;
        assert_eq!(got.status, status, "{path}");
        for (name, expected) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("content-security-policy", ""),
            ("server", ""),
        ] {
            assert_eq!(got.header(name), expected, "{path}: {name}");
            assert!(
                got.headers.get_all(name).iter().count() < 2,
                "{path}: {name}"
            );
        }
    }
}

#[tokio::test]
async fn a_refused_head_gets_the_same_headers() {
    let (_users, gateway) = users("", "{}").await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(70_000));
    for (head, status) in [
        ("GET /health HTTP/1.1\r\n\r\n", 400),
        ("GET /health HTTP/3.0\r\nhost: a\r\n\r\n", 400),
        (
            "POST /api/users HTTP/1.1\r\nhost: a\r\ncontent-length: 1x\r\n\r\n",
            400,
        ),
        (&*long, 431),
    ] {
        let got = exchange(gateway.address(), head.as_bytes()).await;
        let got = got.expect("an answer");
        assert_eq!(got.status, status, "{head:.40}");
        for (name, expected) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("server", ""),
        ] {
            let values: Vec<_> = got.headers.get_all(name).iter().collect();
            assert!(values.len() < 2, "{head:.40}: {name}");
            assert_eq!(got.header(name), expected, "{head:.40}: {name}");
        }
    }
}

/// The headers of a response that a script of another site may read anyway
/// ([the Fetch standard](https://fetch.spec.whatwg.org/#cors-safelisted-response-header-name)), and
/// those that are for the browser, for caches, or for the services.
const NOT_FOR_SCRIPTS: [&str; 11] = [
    "access-control-allow-origin",
    "access-control-expose-headers",
    "cache-control",
    "content-length",
    "content-type",
    "cross-origin-resource-policy",
    "date",
    "referrer-policy",
    "vary",
    "x-content-type-options",
    "x-not-found",
];

#[tokio::test]
async fn scripts_of_other_sites_may_read_all_that_is_for_a_client() {
    let shop = shop::Shop::start().await;
    shop::add_user(&shop.users, "ada").await;
    shop::add_product(&shop.products, serde_json::json!(1), 1).await;
    let urls = shop.services().map(|one| one.server.upstream_url());
    let gateway = shop::gateway(urls.each_ref(), &[]).await;
    let mut seen = 0;
    for path in [
        "/api/products/1",
        "/api/products/1",
        "/api/users",
        "/api/nothing",
    ] {
        let got = gateway.get(path).await;
        let lines = got.headers.get_all("access-control-expose-headers").iter();
        let lines = lines.map(|line| line.to_str().expect("ASCII").to_ascii_lowercase());
        let exposed: Vec<_> = lines.collect();
        let exposed: Vec<_> = exposed.iter().flat_map(|line| line.split(", ")).collect();
        for name in got.headers.keys().map(HeaderName::as_str) {
            let is_exposed = exposed.contains(&name);
            assert!(
                is_exposed || NOT_FOR_SCRIPTS.contains(&name),
                "{path}: {name}"
            );
        }
        seen += [
            "ratelimit",
            "ratelimit-policy",
            "cache-status",
            "age",
            "etag",
        ]
        .iter()
        .filter(|name| got.headers.contains_key(**name))
        .count();
    }
    assert!(seen >= 12, "{seen} headers of the gateway");
}

/// A page must not contain what its policy forbids.
#[tokio::test]
async fn a_page_has_a_policy_and_keeps_it() {
    let (_users, gateway) = users("", "{}").await;
    // A script that is no file, or a handler in an attribute.
    let inline = Regex::new(r"(?i)<script\s*>|\son[a-z]+\s*=|javascript:").expect("a pattern");
    for path in ["/", "/docs"] {
        let page = gateway.request(Method::GET, path);
        let page = Got::from(page.header("accept", "text/html")).await;
        let policy = page.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {part} is not in {policy:?}");
        }
        let html = String::from_utf8(page.body).expect("UTF-8");
        assert!(html.contains("</html>"), "{path}: {html}");
        let found = inline.find(&html).map(|found| found.as_str());
        assert_eq!(found, None, "{path}");
    }
}

#[tokio::test]
async fn the_policy_of_a_services_own_page_is_kept() {
    let page = |headers: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: Text/HTML\r\n{headers}content-length: 2\r\n\r\nhi"
        )
    };
    for (headers, expected) in [
        ("content-security-policy: sandbox\r\n", "sandbox"),
        ("", "default-src 'none'"),
    ] {
        let page = page(headers);
        let users = Fake::start(move |_| {
            let page = page.clone().into_bytes();
            async move { page }
        })
        .await;
        let gateway = gateway(&users.url()).await;
        let got = gateway.get("/api/users/page").await;
        let policy = got.header("content-security-policy");
        assert!(policy.starts_with(expected), "{policy}");
    }
}
