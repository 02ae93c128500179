//! What reaches a service, and what comes back.

use futures_util::future::join_all;
use gateway::routes::DESTINATIONS;
use harness::raw::{self, Request, exchange, request};
use serde_json::json;
use shop_tests::fake::Fake;
use shop_tests::shop;

use super::{Played, gateway, gateway_with};

async fn answering(body: &'static str) -> Fake {
    Fake::start(move |_| async move { raw::json("200 OK", "", body) }).await
}

/// The one request that a service has got.
fn only(fake: &Fake) -> Request {
    let [request]: [Request; 1] = fake.seen().try_into().expect("one request");
    request
}

#[tokio::test]
async fn each_path_goes_to_its_service_as_the_client_has_sent_it() {
    let names = DESTINATIONS.each_ref().map(|to| to.service);
    let fakes = join_all(names.map(|name| {
        Fake::start(move |_| async move { raw::json("200 OK", "", &json!(name).to_string()) })
    }))
    .await;
    let urls: Vec<_> = fakes.iter().map(Fake::url).collect();
    let urls: Vec<_> = urls.iter().collect();
    let gateway = shop::gateway(urls.try_into().expect("five"), &[]).await;
    for (target, service) in [
        ("/api/users", "user-service"),
        ("/api/users?", "user-service"),
        (
            "/api/users/%7eada/%C3%bc;a=b?x=%20&y=a+b&&z#?",
            "user-service",
        ),
        ("/%61pi/users/7", "user-service"),
        ("/api/auth/login", "user-service"),
        ("/api/products/7/stock", "product-service"),
        ("/api/orders/user/7?limit=5", "order-service"),
        ("/api/notifications/send", "notification-service"),
        ("/api/analytics/summary", "analytics-service"),
    ] {
        let got = exchange(gateway.address(), &request("GET", target, &[], b"")).await;
        let got = got.expect("an answer").expect(200);
        assert_eq!(got, json!(service), "{target}");
        let fake = names.iter().position(|name| *name == service);
        let seen = fakes[fake.expect("known")].seen();
        let sent = target.split('#').next();
        assert_eq!(seen.last().map(|one| one.target.as_str()), sent);
    }
    for target in ["/api/payments/1", "/api/usersx", "/api", "/users/1"] {
        let got = gateway.get(target).await;
        assert_eq!(got.header("x-not-found"), "route");
        got.expect_error(404, "not_found");
    }
}

#[tokio::test]
async fn method_body_and_headers_arrive_unless_they_are_about_the_connection() {
    let fake = answering("{}").await;
    let gateway = gateway(&fake.url()).await;
    let headers = [
        ("connection", "close, X-Hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic YTpi"),
        ("upgrade", "h2c"),
        ("expect", "tea"),
        ("x-internal-token", "forged"),
        ("authorization", "Bearer a"),
        ("idempotency-key", "k"),
        ("x-request-id", "mine"),
        ("x-name", "ü"),
        ("cookie", "a=b"),
        ("accept-encoding", "gzip"),
    ];
    let sent = request("PATCH", "/api/users/1", &headers, b"{\"a\":1}");
    let got = exchange(gateway.address(), &sent).await.expect("an answer");
    assert_eq!(got.header("x-request-id"), "mine");
    assert_eq!(
        got.header("connection"),
        "close",
        "the client has asked for it"
    );
    let seen = only(&fake);
    assert_eq!(
        (seen.method.as_str(), seen.body().as_str()),
        ("PATCH", "{\"a\":1}")
    );
    for (name, expected) in [
        ("host", "shop.test"),
        ("connection", ""),
        ("x-hop", ""),
        ("keep-alive", ""),
        ("te", ""),
        ("proxy-authorization", ""),
        ("upgrade", ""),
        ("expect", ""),
        ("x-internal-token", ""),
        ("transfer-encoding", ""),
        ("content-length", "7"),
        ("authorization", "Bearer a"),
        ("idempotency-key", "k"),
        ("x-request-id", "mine"),
        ("x-name", "ü"),
        ("cookie", "a=b"),
        ("accept-encoding", "gzip"),
    ] {
        assert_eq!(seen.header(name), expected, "{name}");
    }
}

#[tokio::test]
async fn a_body_arrives_with_any_method_and_framed_as_it_was() {
    for method in ["GET", "POST", "DELETE", "QUERY"] {
        for (framing, body) in [
            (("content-length", "2"), &b"{}"[..]),
            (("transfer-encoding", "chunked"), b"2\r\n{}\r\n0\r\n\r\n"),
            (("content-length", "0"), b""),
        ] {
            let fake = answering("{}").await;
            let gateway = gateway(&fake.url()).await;
            let sent = request(method, "/api/users", &[framing], body);
            let got = exchange(gateway.address(), &sent).await;
            got.expect("an answer").expect(200);
            let seen = only(&fake);
            assert_eq!(seen.method, method);
            assert_eq!(seen.header(framing.0), framing.1, "{method}");
        }
    }
}

#[tokio::test]
async fn the_span_of_the_gateway_is_between_the_client_and_the_service() {
    let fake = answering("{}").await;
    let gateway = gateway(&fake.url()).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [
        ("traceparent", parent),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
    ];
    let sent = request("GET", "/api/users/1", &headers, b"");
    exchange(gateway.address(), &sent).await.expect("an answer");
    let seen = only(&fake);
    let ours = seen.header("traceparent");
    assert_eq!(ours[..36], parent[..36], "the same trace");
    assert_ne!(ours, parent, "another span");
    assert_eq!(seen.header("tracestate"), "a=1,b=2");

    let fake = answering("{}").await;
    let gateway = super::gateway(&fake.url()).await;
    let broken = [
        ("traceparent", "nonsense"),
        ("tracestate", "a=1"),
        ("x-request-id", "a b"),
    ];
    let sent = request("GET", "/api/users/1", &broken, b"");
    let got = exchange(gateway.address(), &sent).await.expect("an answer");
    let seen = only(&fake);
    assert_eq!(seen.header("traceparent").len(), 55);
    assert_eq!(seen.header("tracestate"), "");
    assert_eq!(seen.header("x-request-id"), got.header("x-request-id"));
    assert_ne!(got.header("x-request-id"), "a b");
}

#[tokio::test]
async fn where_a_request_comes_from_is_believed_only_from_a_trusted_proxy() {
    let claims = [
        ("x-forwarded-for", "192.0.2.1, 192.0.2.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "claimed.test"),
    ];
    for (trusted, addresses, proto, host) in [
        ("10.0.0.0/8", vec!["127.0.0.1"], "http", "shop.test"),
        (
            "10.0.0.0/8,127.0.0.0/8",
            vec!["192.0.2.1, 192.0.2.2", "127.0.0.1"],
            "https",
            "claimed.test",
        ),
    ] {
        let fake = answering("{}").await;
        let gateway = gateway_with(&fake.url(), &[("TRUSTED_PROXIES", trusted)]).await;
        let sent = request("GET", "/api/users/1", &claims, b"");
        exchange(gateway.address(), &sent).await.expect("an answer");
        let seen = only(&fake).text().to_lowercase();
        let values = |name: &str| -> Vec<String> {
            let lines = seen.lines().filter_map(|line| line.split_once(": "));
            let values = lines.filter(|(known, _)| *known == name);
            values.map(|(_, value)| value.to_owned()).collect()
        };
        assert_eq!(values("x-forwarded-for"), addresses, "{trusted}");
        assert_eq!(values("x-forwarded-proto"), [proto], "{trusted}");
        assert_eq!(values("x-forwarded-host"), [host], "{trusted}");
        assert_eq!(values("host"), ["shop.test"], "{trusted}");
    }
}

#[tokio::test]
async fn a_response_comes_back_unless_a_part_is_about_the_connection() {
    let service = Played::sending(
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
         HTTP/1.1 418 Teapot\r\ncontent-type: text/x\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n\
         connection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: a\r\n\
         access-control-allow-origin: https://a.test\r\nx-request-id: theirs\r\n\
         transfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
         5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
    )
    .await;
    let gateway = gateway(&service.url).await;
    let sent = request("GET", "/api/users/1", &[("te", "trailers")], b"");
    let mut connection = raw::Connection::open(gateway.address()).await;
    connection.send(&sent).await.expect("sent");
    connection.finish_sending().await;
    let text = connection.rest().await.expect("a response");
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(text.starts_with("HTTP/1.1 418 "), "{text}");
    let lines: Vec<_> = text.lines().collect();
    for there in [
        "content-type: text/x",
        "set-cookie: a=b",
        "set-cookie: c=d",
        "access-control-allow-origin: https://a.test",
        "transfer-encoding: chunked",
    ] {
        assert!(lines.contains(&there), "{there} is not in {text}");
    }
    for gone in [
        "x-hop",
        "keep-alive",
        "proxy-",
        "trailer",
        "x-sum",
        "theirs",
        "103",
        "connection:",
    ] {
        assert!(!text.contains(gone), "{gone} is in {text}");
    }
    assert!(text.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn a_connection_to_a_service_serves_one_request_after_the_other() {
    let shop = shop::users().await;
    let played = Played::start({
        let address = shop.address();
        move |_, mut stream| async move {
            let service = tokio::net::TcpStream::connect(address).await;
            let mut service = service.expect("user-service");
            // Until one of them closes.
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut service).await;
        }
    })
    .await;
    let gateway = gateway(&played.url).await;
    shop::add_user(&gateway, "ada").await;
    for _ in 0..20 {
        gateway.get("/api/users/1").await.expect(200);
        gateway
            .get("/api/users/2")
            .await
            .expect_error(404, "not_found");
    }
    assert_eq!(played.accepted(), 1);
}
