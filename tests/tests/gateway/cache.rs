//! The cache of products: how many calls readers cost, and that nobody gets what is not theirs or
//! not true any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chassis::testkit::{Got, Server, Stub, env};
use chassis::upstream::url::UpstreamUrl;
use futures_util::future::join_all;
use harness::raw::{self, Connection, Request, exchange, request};
use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::fake::Fake;
use shop_tests::shop::{self, Shop};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::Played;

const PRODUCT: &str = "/api/products/7";
const LONG: (&str, &str) = ("CACHE_TTL_MS", "60000");

/// A client that has closed its side may still want the response; for half a second.
const IMPATIENT: (&str, &str) = ("BODY_TIMEOUT_MS", "500");

/// Long enough for such a gateway to see that a client has left.
const GIVEN_UP: Duration = Duration::from_millis(1200);

/// A gateway in front of these; the other services are down.
async fn gateway(
    products: &UpstreamUrl,
    orders: &UpstreamUrl,
    settings: &[(&'static str, &str)],
) -> Server {
    let down = UpstreamUrl::local(1);
    shop::gateway([&down, products, orders, &down, &down], settings).await
}

/// A gateway in front of product-service, which keeps responses for a minute.
async fn of(products: &Fake) -> Server {
    gateway(&products.url(), &UpstreamUrl::local(1), &[LONG]).await
}

/// A service that answers a request with the body that `body` makes for it.
async fn answering<F>(body: F) -> Fake
where
    F: Fn(&Request) -> String + Clone + Send + Sync + 'static,
{
    Fake::start(move |request| {
        let body = body(&request);
        async move { raw::json("200 OK", "", &body) }
    })
    .await
}

/// A service whose answers are numbered.
async fn numbered() -> Fake {
    let count = Arc::new(AtomicUsize::new(0));
    answering(move |_| count.fetch_add(1, Ordering::SeqCst).to_string()).await
}

/// A service that answers with the same bytes.
async fn saying(bytes: Vec<u8>) -> Fake {
    Fake::start(move |_| {
        let bytes = bytes.clone();
        async move { bytes }
    })
    .await
}

/// A service whose answers to reads wait for a permit each. Changes do not wait. An answer has the
/// number of changes when its request arrived.
async fn gated(status: &'static str) -> (Fake, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let (pass, changes) = (Arc::clone(&gate), Arc::new(AtomicUsize::new(0)));
    let fake = Fake::start(move |request| {
        let (pass, changes) = (Arc::clone(&pass), Arc::clone(&changes));
        async move {
            if request.method != "GET" {
                changes.fetch_add(1, Ordering::SeqCst);
                return raw::json("200 OK", "", "{}");
            }
            let seen = changes.load(Ordering::SeqCst);
            pass.acquire().await.expect("open").forget();
            raw::json(status, "", &seen.to_string())
        }
    });
    (fake.await, gate)
}

/// The calls of clients so far, without those that ask for health.
fn calls(fake: &Fake) -> usize {
    let seen = fake.seen();
    let calls = seen.iter().filter(|seen| seen.target.starts_with("/api"));
    calls.count()
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn status(gateway: &Server) -> Value {
    gateway.get("/status").await.expect(200)["cache"].clone()
}

async fn order_in_flight(gateway: &Server) -> u64 {
    let status = gateway.get("/status").await.expect(200);
    let orders = &status["services"][2]["instances"][0];
    orders["inFlight"].as_u64().expect("a number")
}

async fn get_with(gateway: &Server, path: &str, headers: &[(&str, &str)]) -> Got {
    let mut request = gateway.request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Got::from(request).await
}

fn cache_status(got: &Got) -> &str {
    got.header("cache-status")
}

#[track_caller]
fn expect_hit(got: &Got) {
    assert_eq!(got.status, 200);
    assert!(cache_status(got).starts_with("gateway; hit"), "{got:?}");
}

#[track_caller]
fn expect_stored(got: &Got) {
    assert_eq!(cache_status(got), "gateway; fwd=miss; stored", "{got:?}");
}

#[tokio::test]
async fn a_response_is_used_again_until_it_is_too_old() {
    let body = r#"{"price":12345678901234567890.10}"#;
    let headers = "cache-control: no-store\r\nx-total-count: 5\r\nx-request-id: theirs\r\n\
                   link: </api/products?after=7>; rel=\"next\"\r\n";
    let products = saying(raw::json("200 OK", headers, body)).await;
    let down = UpstreamUrl::local(1);
    let gateway = gateway(&products.url(), &down, &[("CACHE_TTL_MS", "1500")]).await;
    let got = async |id| get_with(&gateway, PRODUCT, &[("x-request-id", id)]).await;
    let first = got("one").await;
    expect_stored(&first);
    let second = got("two").await;
    expect_hit(&second);
    assert_eq!(cache_status(&second), "gateway; hit; ttl=1");
    assert_eq!((first.header("age"), second.header("age")), ("", "0"));
    assert_eq!(first.body, second.body);
    assert_eq!(second.body, body.as_bytes());
    assert_eq!(first.header("x-request-id"), "one");
    assert_eq!(second.header("x-request-id"), "two");
    for name in [
        "etag",
        "cache-control",
        "x-total-count",
        "link",
        "content-type",
    ] {
        assert_eq!(first.header(name), second.header(name), "{name}");
        assert_ne!(second.header(name), "", "{name}");
    }
    assert_eq!(calls(&products), 1);
    assert_eq!(products.seen()[0].header("x-request-id"), "one");
    sleep(Duration::from_millis(1600)).await;
    expect_stored(&got("three").await);
    assert_eq!(calls(&products), 2);
    let seen = status(&gateway).await;
    assert_eq!((&seen["hits"], &seen["misses"]), (&json!(1), &json!(2)));
    assert_eq!(seen["entries"], 1);
}

#[tokio::test]
async fn a_client_that_has_the_response_gets_304() {
    let products = saying(raw::json("200 OK", "x-total-count: 5\r\n", "{}")).await;
    let gateway = of(&products).await;
    let tag = gateway.get(PRODUCT).await.header("etag").to_owned();
    assert!(tag.len() > 10 && tag.starts_with('"') && tag.ends_with('"'));
    for known in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"other\", {tag}"),
        "*".to_owned(),
    ] {
        let got = get_with(&gateway, PRODUCT, &[("if-none-match", &known)]).await;
        assert_eq!(got.status, 304, "{known}");
        assert!(got.body.is_empty());
        // The compression answers a weak tag with a weak tag.
        assert_eq!(got.header("etag").trim_start_matches("W/"), tag);
        assert_eq!(got.header("x-total-count"), "5");
        assert_ne!(got.header("x-request-id"), "");
        assert!(cache_status(&got).starts_with("gateway; hit"));
    }
    let other = get_with(&gateway, PRODUCT, &[("if-none-match", "\"other\"")]).await;
    expect_hit(&other);
    assert_eq!(other.body, b"{}");
    assert_eq!(calls(&products), 1);
    // The tag is of what the client has, so a miss is told by it too.
    let miss = get_with(&gateway, "/api/products/8", &[("if-none-match", &tag)]).await;
    assert_eq!(miss.status, 304);
    assert_eq!(calls(&products), 2);
    assert_eq!(products.seen()[1].header("if-none-match"), "");
}

#[tokio::test]
async fn two_hundred_concurrent_misses_are_one_call() {
    let (products, gate) = gated("200 OK").await;
    let gateway = of(&products).await;
    let asked = join_all((0..200).map(|number| {
        let id = number.to_string();
        let gateway = &gateway;
        async move { get_with(gateway, PRODUCT, &[("x-request-id", &id)]).await }
    }));
    let release = async {
        until("all wait", async || {
            status(&gateway).await["collapsed"] == 199
        })
        .await;
        assert_eq!(calls(&products), 1);
        gate.add_permits(200);
    };
    let (asked, ()) = tokio::join!(asked, release);
    for (number, got) in asked.iter().enumerate() {
        assert_eq!((got.status, got.body.as_slice()), (200, b"0".as_slice()));
        assert_eq!(got.header("x-request-id"), number.to_string());
    }
    let first = asked
        .iter()
        .filter(|got| !cache_status(got).contains("collapsed"));
    assert_eq!(first.count(), 1);
    expect_hit(&gateway.get(PRODUCT).await);
    assert_eq!(calls(&products), 1);
}

#[tokio::test]
async fn a_call_goes_on_when_the_client_that_caused_it_leaves() {
    let (products, gate) = gated("200 OK").await;
    let settings = [LONG, IMPATIENT];
    let gateway = gateway(&products.url(), &UpstreamUrl::local(1), &settings).await;
    let mut first = Connection::open(gateway.address()).await;
    let get = request("GET", PRODUCT, &[], b"");
    first.send(&get).await.expect("sent");
    until("the call", async || calls(&products) == 1).await;
    let mut second = Connection::open(gateway.address()).await;
    second.send(&get).await.expect("sent");
    until("the second waits", async || {
        status(&gateway).await["collapsed"] == 1
    })
    .await;
    drop(first);
    sleep(GIVEN_UP).await;
    gate.add_permits(9);
    let got = second.answer(false).await.expect("an answer");
    assert_eq!(got.status, 200);
    assert_eq!(calls(&products), 1);
}

#[tokio::test]
async fn a_failure_is_shared_and_never_kept() {
    let hanging = Stub::hanging().await;
    let down = UpstreamUrl::local(1);
    let quick = [LONG, ("GATEWAY_TIMEOUT_MS", "300")];
    let slow = gateway(&hanging.url(), &down, &quick).await;
    for got in join_all((0..20).map(|_| slow.get(PRODUCT))).await {
        got.expect_error(504, "gateway_timeout");
    }
    assert_eq!(status(&slow).await["entries"], 0);
    let service = &slow.get("/status").await.expect(200)["services"][1]["instances"][0];
    assert!(
        service["requests"].as_u64().is_some_and(|calls| calls < 20),
        "{service}"
    );
    let error = json!({"error": "No", "code": "not_found", "requestId": "theirs"}).to_string();
    for line in [
        "404 Not Found",
        "500 Internal Server Error",
        "503 Busy",
        "203 Other",
    ] {
        let products = saying(raw::json(line, "", &error)).await;
        let gateway = of(&products).await;
        for count in 1..=2 {
            let got = gateway.get(PRODUCT).await;
            assert_eq!(got.body, error.as_bytes(), "as the service has sent it");
            assert_eq!(cache_status(&got), "gateway; fwd=miss");
            assert_eq!(got.header("etag"), "");
            assert_eq!(calls(&products), count, "{line}");
        }
        // Nobody gets an error with the id of another request.
        let together = join_all((0..10).map(|_| gateway.get(PRODUCT))).await;
        assert!(together.iter().all(|got| got.body == error.as_bytes()));
        assert_eq!(calls(&products), 12, "{line}");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_an_error_for_all_and_not_kept() {
    let broken = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345";
    let products = Played::sending(broken).await;
    let gateway = gateway(&products.url, &UpstreamUrl::local(1), &[LONG]).await;
    for got in join_all((0..5).map(|_| gateway.get(PRODUCT))).await {
        let sentence = got.expect_error(502, "outcome_unknown");
        assert!(sentence.contains("product-service"), "{sentence}");
    }
    assert_eq!(status(&gateway).await["entries"], 0);
}

#[tokio::test]
async fn after_a_change_the_next_read_is_fresh() {
    let stock = Arc::new(AtomicUsize::new(100));
    let service = async |status: &'static str| {
        let stock = Arc::clone(&stock);
        Fake::start(move |request| {
            let stock = Arc::clone(&stock);
            async move {
                if request.method == "GET" {
                    let left = stock.load(Ordering::SeqCst);
                    return raw::json("200 OK", "", &left.to_string());
                }
                if request.target != "/api/products/refused" {
                    stock.fetch_sub(1, Ordering::SeqCst);
                }
                raw::json(status, "", "{}")
            }
        })
        .await
    };
    let products = service("200 OK").await;
    let orders = service("201 Created").await;
    let gateway = gateway(&products.url(), &orders.url(), &[LONG]).await;
    let left = async || {
        gateway
            .get(PRODUCT)
            .await
            .expect(200)
            .as_u64()
            .expect("left")
    };
    for (method, path) in [
        ("POST", "/api/products"),
        ("PATCH", PRODUCT),
        ("PUT", "/api/products/8"),
        ("DELETE", "/api/products/9"),
        ("POST", "/api/orders"),
        ("POST", "/api/orders/1/cancel"),
    ] {
        let before = left().await;
        expect_hit(&gateway.get(PRODUCT).await);
        gateway.send(method, path, json!({})).await;
        assert_eq!(left().await, before - 1, "{method} {path}");
    }
    // Neither of these is a change of products.
    for (method, path) in [("GET", "/api/orders"), ("POST", "/api/users")] {
        gateway.send(method, path, json!({})).await;
        expect_hit(&gateway.get(PRODUCT).await);
    }
    let busy = service("503 Busy").await;
    let gateway = self::gateway(&products.url(), &busy.url(), &[LONG]).await;
    gateway.get(PRODUCT).await.expect(200);
    // By the contract, a 503 has changed nothing.
    gateway.post("/api/orders", json!({})).await.expect(503);
    expect_hit(&gateway.get(PRODUCT).await);
}

#[tokio::test]
async fn a_read_in_flight_during_a_change_is_not_kept_and_nobody_joins_it() {
    let (products, gate) = gated("200 OK").await;
    let gateway = of(&products).await;
    let early = async {
        let got = gateway.get(PRODUCT).await;
        assert_eq!(cache_status(&got), "gateway; fwd=miss", "it is not stored");
        got.expect(200)
    };
    let later = async {
        until("the read", async || calls(&products) == 1).await;
        gateway.send("PATCH", PRODUCT, json!({})).await.expect(200);
        let fresh = async { gateway.get(PRODUCT).await };
        let release = async {
            until("a read of its own", async || calls(&products) == 3).await;
            gate.add_permits(2);
        };
        let (fresh, ()) = tokio::join!(fresh, release);
        expect_stored(&fresh);
        fresh.expect(200)
    };
    let (early, later) = tokio::join!(early, later);
    assert_eq!((early, later), (json!(0), json!(1)));
    let kept = gateway.get(PRODUCT).await;
    expect_hit(&kept);
    assert_eq!(kept.expect(200), json!(1));
}

#[tokio::test]
async fn nothing_is_kept_while_a_change_is_on_its_way_or_its_outcome_unknown() {
    let products = numbered().await;
    let hanging = Stub::hanging().await;
    let settings = [LONG, ("GATEWAY_TIMEOUT_MS", "500")];
    let gateway = gateway(&products.url(), &hanging.url(), &settings).await;
    expect_stored(&gateway.get(PRODUCT).await);
    let reads = async || {
        let before = calls(&products);
        for count in 1..=2 {
            let got = gateway.get(PRODUCT).await;
            assert_eq!(cache_status(&got), "gateway; fwd=miss");
            assert_eq!(calls(&products), before + count);
        }
    };
    let order = async { gateway.post("/api/orders", json!({})).await };
    let meanwhile = async {
        sleep(Duration::from_millis(100)).await;
        reads().await;
    };
    let (order, ()) = tokio::join!(order, meanwhile);
    order.expect_error(504, "gateway_timeout");
    reads().await;

    // A client that leaves does not undo its change.
    let settings = [LONG, IMPATIENT];
    let gateway = self::gateway(&products.url(), &hanging.url(), &settings).await;
    expect_stored(&gateway.get(PRODUCT).await);
    let mut client = Connection::open(gateway.address()).await;
    let post = request("POST", "/api/orders", &[], b"{}");
    client.send(&post).await.expect("sent");
    until("the order", async || order_in_flight(&gateway).await == 1).await;
    drop(client);
    until("no order", async || order_in_flight(&gateway).await == 0).await;
    for _ in 0..2 {
        let got = gateway.get(PRODUCT).await;
        assert_eq!(cache_status(&got), "gateway; fwd=miss");
    }
}

#[tokio::test]
async fn while_product_service_is_down_an_old_response_is_served_unless_something_has_changed() {
    let products = numbered().await;
    let orders = saying(raw::json("201 Created", "", "{}")).await;
    let settings = [("CACHE_TTL_MS", "1")];
    let gateway = gateway(&products.url(), &orders.url(), &settings).await;
    let kept = gateway.get(PRODUCT).await;
    drop(products);
    sleep(Duration::from_millis(1100)).await;
    let got = gateway.get(PRODUCT).await;
    assert_eq!((got.status, &got.body), (200, &kept.body));
    assert!(
        cache_status(&got).starts_with("gateway; fwd=stale; ttl=-"),
        "{got:?}"
    );
    assert_eq!(got.header("age"), "1");
    let known = [("if-none-match", kept.header("etag"))];
    assert_eq!(get_with(&gateway, PRODUCT, &known).await.status, 304);
    let unknown = gateway.get("/api/products/8").await;
    unknown.expect_error(503, "dependency_unavailable");
    // It has not reached the service.
    let refused = gateway.send("PATCH", PRODUCT, json!({})).await;
    refused.expect_error(503, "dependency_unavailable");
    gateway.get(PRODUCT).await.expect(200);
    assert_eq!(status(&gateway).await["stale"], 3);
    gateway.post("/api/orders", json!({})).await.expect(201);
    let gone = gateway.get(PRODUCT).await;
    gone.expect_error(503, "dependency_unavailable");
}

#[tokio::test]
async fn a_full_cache_forgets_the_oldest() {
    let products = answering(|request| json!(request.target.repeat(8)).to_string()).await;
    let settings = [LONG, ("CACHE_MAX_BYTES", "65536")];
    let gateway = gateway(&products.url(), &UpstreamUrl::local(1), &settings).await;
    let path = |number| format!("/api/products?name={number:040}");
    for number in 0..200 {
        expect_stored(&gateway.get(&path(number)).await);
    }
    let full = status(&gateway).await;
    let bytes = full["bytes"].as_u64().expect("bytes");
    assert!(bytes > 60_000 && bytes <= 65_536, "{full}");
    let entries = full["entries"].as_u64().expect("entries");
    assert!(entries > 10 && entries < 100, "{full}");
    expect_hit(&gateway.get(&path(199)).await);
    expect_hit(&gateway.get(&path(199)).await);
    expect_stored(&gateway.get(&path(0)).await);
}

#[tokio::test]
async fn a_large_response_is_passed_on_as_it_arrives() {
    // At most a 64th of the memory: 1 KiB.
    let settings = [LONG, ("CACHE_MAX_BYTES", "65536")];
    let gate = Arc::new(Semaphore::new(0));
    for framing in ["content-length: 6000", "transfer-encoding: chunked"] {
        let (pass, is_chunked) = (Arc::clone(&gate), framing.contains("chunked"));
        let products = Played::start(move |_, mut stream| {
            let pass = Arc::clone(&pass);
            async move {
                Request::read(&mut stream).await;
                let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\nconnection: close\r\n\r\n");
                let piece = |byte: &str| {
                    let piece = byte.repeat(3000);
                    if is_chunked {
                        format!("bb8\r\n{piece}\r\n")
                    } else {
                        piece
                    }
                };
                let end = if is_chunked { "0\r\n\r\n" } else { "" };
                let begin = head + &piece("a");
                let _ = stream.write_all(begin.as_bytes()).await;
                pass.acquire().await.expect("open").forget();
                let _ = stream.write_all((piece("b") + end).as_bytes()).await;
                let _ = stream.read(&mut [0]).await;
            }
        })
        .await;
        let gateway = gateway(&products.url, &UpstreamUrl::local(1), &settings).await;
        for count in 1..=2 {
            let mut client = Connection::open(gateway.address()).await;
            client
                .send(&request("GET", PRODUCT, &[], b""))
                .await
                .expect("sent");
            let begin = client.until(&"a".repeat(40)).await.expect("the first part");
            assert!(begin.contains("gateway; fwd=miss\r\n"), "{begin}");
            assert!(begin.contains(framing), "{begin}");
            gate.add_permits(1);
            let rest = client
                .until(if is_chunked { "0\r\n\r\n" } else { "bbb" })
                .await;
            rest.expect("the other part");
            assert_eq!(products.accepted(), count, "{framing}");
        }
        let got = async { gateway.get(PRODUCT).await };
        gate.add_permits(1);
        assert_eq!(got.await.body.len(), 6000);
        assert_eq!(status(&gateway).await["entries"], 0);
    }
}

#[tokio::test]
async fn no_header_of_a_client_gets_into_what_others_read() {
    let products = answering(|request| json!(request.text()).to_string()).await;
    let gateway = of(&products).await;
    let poison = [
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-proto", "evil"),
        ("x-forwarded-for", "evil"),
        ("x-original-url", "/evil"),
        ("x-rewrite-url", "/evil"),
        ("x-http-method-override", "EVIL"),
        ("forwarded", "host=evil.test"),
        ("origin", "http://evil.test"),
        ("user-agent", "evil"),
        ("accept", "evil/evil"),
        ("accept-language", "evil"),
        ("accept-encoding", "evil"),
        ("x-internal-token", "evil"),
        ("if-none-match", "\"evil\""),
        ("if-modified-since", "evil"),
        ("max-forwards", "evil"),
        ("content-type", "evil/evil"),
    ];
    let poisoned = get_with(&gateway, PRODUCT, &poison).await;
    expect_stored(&poisoned);
    let got = gateway.get(PRODUCT).await;
    expect_hit(&got);
    assert_eq!(got.body, poisoned.body);
    let text = got.json().as_str().expect("a text").to_owned();
    assert!(!text.to_lowercase().contains("evil"), "{text}");
    // What a service may make links of is of the reader's own.
    for host in ["a.test", "b.test"] {
        let got = get_with(&gateway, PRODUCT, &[("host", host)]).await;
        expect_stored(&got);
        let text = got.json().as_str().expect("a text").to_owned();
        assert!(text.contains(&format!("host: {host}\r\n")), "{text}");
        assert!(
            text.contains(&format!("x-forwarded-host: {host}\r\n")),
            "{text}"
        );
    }
    let trusting = [LONG, ("TRUSTED_PROXIES", "127.0.0.0/8")];
    let gateway = self::gateway(&products.url(), &UpstreamUrl::local(1), &trusting).await;
    for host in ["a.test", "b.test"] {
        for proto in ["http", "https"] {
            let headers = [("x-forwarded-host", host), ("x-forwarded-proto", proto)];
            let got = get_with(&gateway, PRODUCT, &headers).await;
            expect_stored(&got);
            let text = got.json().as_str().expect("a text").to_owned();
            assert!(
                text.contains(&format!("x-forwarded-host: {host}\r\n")),
                "{text}"
            );
            assert!(
                text.contains(&format!("x-forwarded-proto: {proto}\r\n")),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn each_target_has_its_own_response_byte_by_byte() {
    let products = answering(|request| json!(request.target).to_string()).await;
    let gateway = of(&products).await;
    for target in [
        "/api/products",
        "/api/products?",
        "/api/products?limit=5",
        "/api/products?limit=5&",
        "/api/products?limit=5&after=1",
        "/api/products?after=1&limit=5",
        "/api/products?limit=5;after=1",
        "/api/products?limit=5%26after=1",
        "/api/products?Limit=5",
        "/api/products?limit=5&limit=6",
        "/api/products?limit=%35",
        "/api/products?x=/api/products",
        "/api/products?utm_source=x",
        "/%61pi/products?limit=5",
        "/api/products/7",
        "/api/products/7?",
        "/api/products/%37",
        "/api/products/7%3Flimit=5",
        "/api/products/7;a",
    ] {
        for is_kept in [false, true] {
            let sent = request("GET", target, &[], b"");
            let got = exchange(gateway.address(), &sent).await.expect("an answer");
            assert_eq!(cache_status(&got).contains("hit"), is_kept, "{target}");
            assert_eq!(got.expect(200), json!(target));
        }
    }
    // A target as for a proxy is the same as a path and a host.
    let sent = request("GET", "http://shop.test/api/products", &[], b"");
    let got = exchange(gateway.address(), &sent).await.expect("an answer");
    expect_hit(&got);
}

#[tokio::test]
async fn a_response_that_varies_or_sets_a_cookie_is_for_one_client() {
    for (header, name) in [
        ("vary: accept-language", "accept-language"),
        ("vary: *", "x-anything"),
        ("set-cookie: id=1", ""),
        ("cache-control: private", ""),
        ("content-encoding: x", ""),
    ] {
        let products = Fake::start(move |request| async move {
            let body = json!(request.header(name)).to_string();
            raw::json("200 OK", &format!("{header}\r\n"), &body)
        })
        .await;
        let gateway = of(&products).await;
        for value in ["de", "en", "de"] {
            let headers: &[(&str, &str)] = match name {
                "" => &[],
                name => &[(name, value)],
            };
            let got = get_with(&gateway, PRODUCT, headers).await;
            assert_eq!(cache_status(&got), "gateway; fwd=miss", "{header}");
            let expected = if name.is_empty() { "" } else { value };
            assert_eq!(got.expect(200), json!(expected), "{header}");
        }
        assert_eq!(status(&gateway).await["entries"], 0, "{header}");
    }
}

#[tokio::test]
async fn a_request_of_ones_own_passes_by_the_cache() {
    let products = numbered().await;
    let gateway = of(&products).await;
    expect_stored(&gateway.get(PRODUCT).await);
    for (name, value, reason) in [
        ("authorization", "Bearer a", "bypass"),
        ("cookie", "a=b", "bypass"),
        ("range", "bytes=0-1", "bypass"),
        ("if-match", "\"a\"", "bypass"),
        (
            "if-unmodified-since",
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "bypass",
        ),
        ("cache-control", "max-age=0, no-cache", "request"),
        ("cache-control", "No-Store", "request"),
        ("pragma", "no-cache", "request"),
    ] {
        let before = calls(&products);
        let got = get_with(&gateway, PRODUCT, &[(name, value)]).await;
        assert_eq!(
            cache_status(&got),
            format!("gateway; fwd={reason}"),
            "{name}"
        );
        assert_eq!(got.header("etag"), "", "{name}");
        assert_eq!(calls(&products), before + 1, "{name}");
        let seen = products.seen();
        assert_eq!(seen.last().map(|seen| seen.header(name)), Some(value));
        let kept = gateway.get(PRODUCT).await;
        expect_hit(&kept);
        assert_eq!(kept.expect(200), json!(0), "{name}");
    }
    let before = calls(&products);
    let body = gateway.send("GET", PRODUCT, json!({})).await;
    assert_eq!(cache_status(&body), "gateway; fwd=bypass");
    assert_eq!(calls(&products), before + 1);
}

#[tokio::test]
async fn a_head_is_a_get_without_the_body() {
    let products = numbered().await;
    let gateway = of(&products).await;
    let head = async |path| {
        let mut connection = Connection::open(gateway.address()).await;
        let sent = request("HEAD", path, &[], b"");
        connection.send(&sent).await.expect("sent");
        let got = connection.answer(true).await.expect("an answer");
        // What follows would be read as the start of the next answer.
        connection
            .send(&request("GET", "/health", &[], b""))
            .await
            .expect("sent");
        let next = connection.answer(false).await.expect("the next answer");
        assert_eq!(next.status, 200);
        got
    };
    for is_first in [true, false] {
        let got = head(PRODUCT).await;
        assert_eq!(cache_status(&got).contains("fwd=miss; stored"), is_first);
        assert_eq!((got.status, got.header("content-length")), (200, "1"));
        assert!(got.header("etag").starts_with('"'));
    }
    let get = request("GET", PRODUCT, &[], b"");
    let got = exchange(gateway.address(), &get).await.expect("an answer");
    expect_hit(&got);
    assert_eq!(
        (got.body.as_slice(), calls(&products)),
        (b"0".as_slice(), 1)
    );
    let error = saying(raw::json("404 Not Found", "", "{}")).await;
    let gateway = of(&error).await;
    let sent = request("HEAD", PRODUCT, &[], b"");
    let got = exchange(gateway.address(), &sent).await.expect("an answer");
    assert_eq!((got.status, got.header("content-length")), (404, "2"));
}

#[tokio::test]
async fn other_services_and_a_cache_that_is_off_are_not_touched() {
    let products = numbered().await;
    let orders = numbered().await;
    let gateway = of(&products).await;
    let off = [("CACHE_TTL_MS", "0")];
    let without = self::gateway(&products.url(), &orders.url(), &off).await;
    for number in 0..2 {
        let got = without.get(PRODUCT).await;
        assert_eq!(
            (cache_status(&got), got.header("etag"), got.header("age")),
            ("", "", "")
        );
        assert_eq!(got.expect(200), json!(number));
        let got = without.get("/api/orders").await;
        assert_eq!(got.expect(200), json!(number));
    }
    assert_eq!(status(&without).await, Value::Null);
    assert_eq!(status(&gateway).await["hits"], 0);
    for (name, value) in [
        ("CACHE_TTL_MS", "soon"),
        ("CACHE_TTL_MS", "3600001"),
        ("CACHE_MAX_BYTES", "1000"),
    ] {
        let variables = [(name, value.to_owned())];
        let error = gateway::Config::read(env(&variables)).expect_err("invalid");
        let sentence = error.to_string();
        let begin = format!("{name} is {value:?}, expected a whole number from ");
        assert!(sentence.starts_with(&begin), "{sentence}");
    }
}

#[tokio::test]
async fn the_products_of_the_shop_are_kept() {
    let shop = Shop::start().await;
    let gateway = shop.gateway().await;
    let user = shop::add_user(&gateway, "ada").await;
    let product = shop::add_product(&gateway, json!(19.99), 3).await;
    let path = format!("/api/products/{product}");
    for list in ["/api/products?limit=5", &path] {
        let first = gateway.get(list).await;
        let second = gateway.get(list).await;
        expect_stored(&first);
        expect_hit(&second);
        assert_eq!(first.body, second.body);
        assert_eq!(second.header("cache-control"), "no-store");
    }
    let order = json!({"userId": user, "productId": product, "quantity": 2});
    gateway.post("/api/orders", order).await.expect(201);
    assert_eq!(shop::stock(&gateway, &product).await, 1);
}
