//! The order of the layers: what one of them does to the work of another.

use chassis::testkit::{Got, Server};
use chassis::upstream::url::UpstreamUrl;
use harness::raw;
use reqwest::Method;
use shop_tests::fake::Fake;
use shop_tests::shop;

const PATH: &str = "/api/products/7";

/// A gateway in front of a product-service with a long response, which it keeps for a minute.
async fn keeping(rate_limit: &str) -> (Fake, Server) {
    let body = format!("{{\"description\":\"{}\"}}", "long ".repeat(1000));
    let products = Fake::start(move |_| {
        let body = body.clone();
        async move { raw::json("200 OK", "", &body) }
    });
    let (products, down) = (products.await, UpstreamUrl::local(1));
    let settings = [("CACHE_TTL_MS", "60000"), ("RATE_LIMIT", rate_limit)];
    let services = [&down, &products.url(), &down, &down, &down];
    let gateway = shop::gateway(services, &settings).await;
    (products, gateway)
}

async fn accepting(gateway: &Server, encoding: &str) -> Got {
    let get = gateway.request(Method::GET, PATH);
    Got::from(get.header("accept-encoding", encoding)).await
}

#[tokio::test]
async fn a_response_from_the_cache_is_rate_limited() {
    let (products, gateway) = keeping("1").await;
    gateway.get(PATH).await.expect(200);
    let kept = gateway.get(PATH).await;
    assert!(kept.header("cache-status").contains("hit"), "{kept:?}");
    assert_ne!(kept.header("ratelimit"), "");
    let refused = gateway.get(PATH).await;
    assert_eq!(refused.header("cache-status"), "");
    assert_eq!(refused.header("x-content-type-options"), "nosniff");
    assert_ne!(refused.header("x-request-id"), "");
    refused.expect_error(429, "rate_limited");
    assert_eq!(products.seen().len(), 1);
}

#[tokio::test]
async fn what_is_in_the_cache_is_compressed_for_those_who_accept_it() {
    let (products, gateway) = keeping("off").await;
    let plain = gateway.get(PATH).await;
    assert!(plain.body.starts_with(b"{"), "{plain:?}");
    for (accepted, encoding) in [("gzip", "gzip"), ("br", "br"), ("identity", "")] {
        let kept = accepting(&gateway, accepted).await;
        assert!(kept.header("cache-status").contains("hit"), "{kept:?}");
        assert_eq!(kept.header("content-encoding"), encoding, "{accepted}");
        assert_eq!(kept.header("x-content-type-options"), "nosniff");
        assert_eq!(kept.body == plain.body, encoding.is_empty(), "{accepted}");
    }
    assert_eq!(products.seen().len(), 1, "one response for all");
    let asked = products.seen()[0].header("accept-encoding").to_owned();
    assert_eq!(asked, "", "it is kept as it is");
}
