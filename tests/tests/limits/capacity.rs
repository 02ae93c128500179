//! Limits on amounts: bytes in a head, connections, requests in flight, records.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::testkit::Stub;
use futures_util::future::join_all;
use harness::TIMEOUT;
use harness::raw::{self, Connection, request};
use serde_json::{Value, json};
use shop_tests::faults::good;
use shop_tests::program::{PROGRAMS, upstream_variables};
use tokio::time::{Instant, sleep};

use super::{AN_HOUR, Subject, UPSTREAMS, creation, each, health_answers, reading_bodies, send};

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    each(PROGRAMS, &[], async |subject| {
        let long = |bytes| "x".repeat(bytes);
        for (target, header, headers, fits, reason) in [
            (0, 1000, 60, true, "60 KB in many headers"),
            (0, 60_000, 1, true, "60 KB in one header"),
            (60_000, 0, 0, true, "60 KB in its target"),
            (0, 1000, 68, false, "68 KB in many headers"),
            (0, 68_000, 1, false, "68 KB in one header"),
            (68_000, 0, 0, false, "68 KB in its target"),
            (34_000, 34_000, 1, false, "68 KB in both"),
            (0, 100_000, 1, false, "100 KB in one header"),
        ] {
            let target = format!("/health?{}", long(target));
            let value = long(header);
            let headers = vec![("x-long", value.as_str()); headers];
            let got =
                raw::exchange(subject.address(), &request("GET", &target, &headers, b"")).await;
            let got = got.map_err(|fault| format!("{reason}: {fault}"))?;
            let as_it_should = if fits {
                got.status == 200
            } else {
                matches!(got.status, 400 | 414 | 431)
            };
            good(as_it_should, format!("{reason}: {}", got.status))?;
        }
        // A head without an end. A reset may destroy its answer.
        let mut endless = Connection::open(subject.address()).await;
        let mut sent = endless.send(b"GET /health HTTP/1.1\r\nx-long: ").await;
        for _ in 0..1000 {
            if sent.is_ok() {
                sent = endless.send(&[b'x'; 1000]).await;
            }
        }
        match endless.rest().await {
            Ok(rest) if rest.starts_with(b"HTTP/1.1 431") || rest.is_empty() => {}
            Err(reset) if reset.contains("reset") => {}
            other => return Err(format!("a megabyte: {other:?}")),
        }
        subject.get("/health").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn fifteen_hundred_idle_connections_do_not_block_new_ones() {
    // The usual limit of a process. The services inherit it.
    let (_, most) = rlimit::Resource::NOFILE.get().expect("a limit");
    let usual = |soft| rlimit::Resource::NOFILE.set(soft, most);
    usual(1024).expect("a lower limit");
    let doors = PROGRAMS.map(|program| Subject::start(program, &[("HEAD_TIMEOUT_MS", AN_HOUR)]));
    usual(most.min(100_000)).expect("a higher limit");
    assert!(
        most > 2000,
        "the system lets a process have only {most} files"
    );
    for subject in doors {
        let mut idle = Vec::new();
        for number in 0..1500 {
            let mut connection = Connection::open(subject.address()).await;
            // Half of them have sent a request before.
            if number % 2 == 0 {
                let sent = send(&mut connection, &request("GET", "/health", &[], b"")).await;
                sent.expect("sent");
                let got = connection.answer(false).await;
                assert!(got.is_ok(), "{}, {number}: {got:?}", subject.service);
            }
            idle.push(connection);
        }
        let got = subject.get("/health/ready").await;
        assert!(got.is_ok(), "{}: {got:?}", subject.service);
    }
}

/// user-service and notification-service wait for no other service; product-service is there
/// on each framework.
#[tokio::test]
async fn a_request_over_the_limit_is_refused_and_health_is_not() {
    let hung = Stub::hanging().await;
    let url = hung.url();
    let mut variables = UPSTREAMS.map(|name| (name, url.as_str())).to_vec();
    // Otherwise its circuits would open and it would not wait.
    variables.extend([("RESILIENCE", "off"), ("MAX_IN_FLIGHT", "2")]);
    let waiting = PROGRAMS
        .into_iter()
        .filter(|program| !upstream_variables(program).is_empty());
    each(waiting, &variables, async |subject| {
        let asking = waits_for_an_upstream(subject.service);
        let busy = (0..4).map(async |_| {
            loop {
                // Which of them are refused does not matter.
                let _ = raw::exchange(subject.address(), &asking).await;
                sleep(Duration::from_millis(10)).await;
            }
        });
        let over_the_limit = async {
            refused_in_time(&subject).await?;
            health_answers(&subject).await
        };
        tokio::select! {
            finding = over_the_limit => finding?,
            _ = join_all(busy) => {}
        }

        // The slow requests end, and permits are free again.
        let deadline = Instant::now() + TIMEOUT;
        while subject.get("/openapi.json").await?.status != 200 {
            good(Instant::now() < deadline, "no permit is ever free again")?;
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    })
    .await;
}

/// A request that the service answers only after another service has answered.
fn waits_for_an_upstream(service: &str) -> Vec<u8> {
    let seller = r#"{"name":"Kettle","price":1,"sellerId":"1"}"#;
    let (path, body) = match service {
        "analytics-service" => return request("GET", "/api/analytics/summary", &[], b""),
        "product-service" => ("/api/products", seller),
        _ => creation(service),
    };
    let headers = [("content-type", "application/json")];
    request("POST", path, &headers, body.as_bytes())
}

/// Waits until a request is refused because too many are in flight.
async fn refused_in_time(subject: &Subject) -> Result<(), String> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let got = subject.get("/openapi.json").await?;
        if got.status != 200 {
            good(got.header("retry-after") == "1", "no Retry-After")?;
            got.expect_error(503, "overloaded");
            return Ok(());
        }
        good(Instant::now() < deadline, "nothing is ever refused")?;
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_full_store_refuses_records_until_one_is_deleted() {
    let storing = reading_bodies().filter(|program| *program != "order-service");
    each(storing, &[("MAX_RECORDS", "2")], async |subject| {
        let (path, records) = match subject.service {
            "user-service" => ("/api/users", "/api/users"),
            "product-service" => ("/api/products", "/api/products"),
            _ => ("/api/notifications/send", "/api/notifications"),
        };
        let create = async |number| {
            let body = json!({
                "name": "Ada", "email": format!("{number}@example.com"),
                "price": 1, "userId": "1", "message": "Hello",
            });
            raw::post(subject.address(), path, &[], &body).await
        };
        for number in [1, 2] {
            let status = create(number).await?.status;
            good(status == 201, format!("record {number}: {status}"))?;
        }
        let sentence = create(3).await?.expect_error(507, "store_full");
        good(
            sentence.contains('2') && sentence.contains("MAX_RECORDS"),
            sentence,
        )?;
        let (records_now, limit) = (
            subject.metric("store_records").await?,
            subject.metric("store_records_limit").await?,
        );
        good(
            (records_now, limit) == (2, 2),
            format!("{records_now} of {limit}"),
        )?;

        let gone = request("DELETE", &format!("{records}/1"), &[], b"");
        let status = raw::exchange(subject.address(), &gone).await?.status;
        good(status == 200, format!("delete: {status}"))?;
        good(subject.metric("store_records").await? == 1, "not counted")?;
        let status = create(4).await?.status;
        good(status == 201, format!("after a deletion: {status}"))
    })
    .await;
}

#[tokio::test]
async fn no_key_is_forgotten_for_a_new_one() {
    let storing = reading_bodies().filter(|program| *program != "order-service");
    each(storing, &[("MAX_KEYS", "2")], async |subject| {
        let (path, _) = creation(subject.service);
        let create = async |key: &str| {
            let body = json!({
                "name": "Ada", "email": format!("{key}@example.com"),
                "price": 1, "userId": "1", "message": "Hello",
            });
            let key = [("idempotency-key", key)];
            raw::post(subject.address(), path, &key, &body).await
        };
        for key in ["a", "b"] {
            let status = create(key).await?.status;
            good(status == 201, format!("{key}: {status}"))?;
        }
        let refused = create("c").await?;
        let after: u64 = refused.header("retry-after").parse().unwrap_or_default();
        good(
            (600..=660).contains(&after),
            format!("Retry-After: {after}"),
        )?;
        let sentence = refused.expect_error(503, "overloaded");
        good(sentence.contains("MAX_KEYS"), sentence)?;
        for key in ["a", "b"] {
            let again = create(key).await?;
            let replayed = again.header("idempotency-replayed") == "true";
            good(again.status == 201 && replayed, format!("{key}: {again:?}"))?;
        }
        let records = subject.metric("store_records").await?;
        good(records == 2, format!("{records} records"))
    })
    .await;
}

#[tokio::test]
async fn a_full_store_of_orders_takes_no_stock() {
    let users = Subject::start("user-service", &[]);
    let products = Subject::start("product-service", &[]);
    let notifications = Subject::start("notification-service", &[]);
    let url = |subject: &Subject| subject.program.url();
    let orders = Subject::start(
        "order-service",
        &[
            ("USER_SERVICE_URL", &url(&users)),
            ("PRODUCT_SERVICE_URL", &url(&products)),
            ("NOTIFICATION_SERVICE_URL", &url(&notifications)),
            ("MAX_RECORDS", "3"),
        ],
    );
    let post = async |subject: &Subject, path: &str, body: Value| {
        let got = raw::post(subject.address(), path, &[], &body).await;
        got.expect("an answer")
    };
    let ada = json!({"name": "Ada", "email": "ada@example.com"});
    post(&users, "/api/users", ada).await.expect(201);
    let kettle = json!({"name": "Kettle", "price": 1, "stock": 100});
    post(&products, "/api/products", kettle).await.expect(201);
    let order = json!({"userId": "1", "productId": "1", "quantity": 2});

    // Concurrently: some pass the check of the capacity, take stock and then find the store full.
    let placing = (0..16).map(|_| post(&orders, "/api/orders", order.clone()));
    let mut statuses = BTreeMap::new();
    for got in join_all(placing).await {
        *statuses.entry(got.status).or_insert(0) += 1;
        if got.status == 507 {
            got.expect_error(507, "store_full");
        }
    }
    assert_eq!(statuses, BTreeMap::from([(201, 3), (507, 13)]));
    let sentence = post(&orders, "/api/orders", order).await;
    let sentence = sentence.expect_error(507, "store_full");
    assert!(sentence.contains("MAX_RECORDS"), "{sentence}");

    let product = products.get("/api/products/1").await.expect("an answer");
    assert_eq!(product.expect(200)["stock"], 100 - 3 * 2);
    assert_eq!(orders.metric("store_records").await, Ok(3));
}
