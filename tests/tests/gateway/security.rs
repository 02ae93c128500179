//! What a browser is told that it must not do with a response.

use chassis::testkit::Server;
use harness::Got;
use harness::raw;
use regex_lite::Regex;
use reqwest::Method;
use shop_tests::fake::Fake;

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
