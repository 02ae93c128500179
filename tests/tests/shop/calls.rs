//! The ids that calls to other services carry, and those that they never carry.

use std::collections::BTreeSet;

use chassis::testkit::Got;
use harness::raw;
use reqwest::Method;
use serde_json::json;
use shop_tests::fake::Fake;
use shop_tests::shop;

use super::order;

/// An upstream that knows every user and sells every product.
async fn agreeable() -> Fake {
    Fake::start(|request| async move {
        let body = json!({
            "id": "1", "name": "Ada", "email": "ada@example.com", "price": 1, "stock": 5, "sellerId": null,
            "userId": "1", "message": "Hello", "type": "info", "read": false,
            "createdAt": "2026-01-01T12:00:00.000Z", "updatedAt": "2026-01-01T12:00:00.000Z",
        });
        let status = if request.method == "POST" { "201 Created" } else { "200 OK" };
        raw::json(status, "", &body.to_string())
    })
    .await
}

#[tokio::test]
async fn every_call_carries_the_request_id_and_the_trace() {
    let upstream = agreeable().await;
    let orders = shop::orders(&upstream.url(), &upstream.url(), &upstream.url()).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = orders
        .request(Method::POST, "/api/orders")
        .header("x-request-id", "demo-1")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .json(&order("1", "1", 2));
    Got::from(request).await.expect(201);

    let products = shop::products(&upstream.url()).await;
    let request = products
        .request(Method::POST, "/api/products")
        .header("x-request-id", "demo-1")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .json(&json!({"name": "Cup", "price": 1, "sellerId": "1"}));
    Got::from(request).await.expect(201);

    let seen = upstream.seen();
    let asked: Vec<_> = seen
        .iter()
        .map(|seen| format!("{} {}", seen.method, seen.target))
        .collect();
    for expected in [
        "GET /api/users/1",
        "GET /api/products/1",
        "PATCH /api/products/1/stock",
        "POST /api/notifications/send",
    ] {
        assert!(
            asked.iter().any(|one| one == expected),
            "no {expected} in {asked:?}"
        );
    }
    for seen in &seen {
        assert_eq!(
            seen.header("x-request-id"),
            "demo-1",
            "{} {}",
            seen.method,
            seen.target
        );
        let sent = seen.header("traceparent");
        let parts: Vec<_> = sent.split('-').collect();
        assert_eq!(
            (parts.len(), parts[0], parts[1], parts[3]),
            (4, "00", trace, "01"),
            "{sent}"
        );
        assert_ne!(parts[2], "00f067aa0ba902b7", "a span of its own");
        assert_eq!(parts[2].len(), 16);
    }
}

#[tokio::test]
async fn a_call_without_ids_gets_new_ones() {
    let upstream = agreeable().await;
    let orders = shop::orders(&upstream.url(), &upstream.url(), &upstream.url()).await;
    let got = orders.post("/api/orders", order("1", "1", 1)).await;
    let id = got.header("x-request-id").to_owned();
    got.expect(201);
    let seen = upstream.seen();
    assert!(
        seen.iter().all(|seen| seen.header("x-request-id") == id),
        "the same on all calls of one request"
    );
    let traces: BTreeSet<_> = seen
        .iter()
        .map(|seen| {
            seen.header("traceparent")
                .get(3..35)
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    assert_eq!(traces.len(), 1, "one trace: {traces:?}");
}

#[tokio::test]
async fn a_malformed_id_never_reaches_a_url() {
    let upstream = agreeable().await;
    let orders = shop::orders(&upstream.url(), &upstream.url(), &upstream.url()).await;
    let products = shop::products(&upstream.url()).await;
    for (id, reason) in [
        ("../users/1", "a way to another resource"),
        ("..", "a way up"),
        ("1/stock", "a way to another route"),
        ("1?x", "a query"),
        ("1#x", "a fragment"),
        ("1%2F..", "an encoded slash"),
        ("%31", "an encoded digit"),
        ("1\r\nx-evil: 1", "another header"),
        ("1 ", "white space"),
        ("", "nothing"),
        ("01", "another spelling of 1"),
        ("-1", "a sign"),
        ("1@evil", "another host"),
        ("١", "a digit, but not an ASCII one"),
        ("99999999999999999999999", "too long"),
    ] {
        for body in [order(id, "1", 1), order("1", id, 1), order(id, id, 1)] {
            let got = orders.post("/api/orders", body.clone()).await;
            // Surrounding white space is trimmed.
            if id == "1 " && got.status == 201 {
                continue;
            }
            assert_eq!(got.status, 400, "{reason}: {body} got {}", got.json());
        }
        let got = products
            .post(
                "/api/products",
                json!({"name": "Cup", "price": 1, "sellerId": id}),
            )
            .await;
        if id == "1 " && got.status == 201 {
            continue;
        }
        assert_eq!(got.status, 400, "{reason}: got {}", got.json());
    }
    let good = [
        "/api/users/1",
        "/api/products/1",
        "/api/products/1/stock",
        "/api/notifications/send",
    ];
    for seen in upstream.seen() {
        assert!(
            good.contains(&seen.target.as_str()),
            "{} {} was asked for",
            seen.method,
            seen.target
        );
        assert_eq!(seen.header("x-evil"), "");
    }
}
