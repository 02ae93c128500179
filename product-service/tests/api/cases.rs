//! Tests of product-service over HTTP: the real server, `super::http`, on a free port.

use chassis::testkit::{Got, Server, Stub, env};
use chassis::upstream::url::UpstreamUrl;
use futures_util::future::join_all;
use harness::raw::exchange_bytes;
use product_service::{App, Config};
use reqwest::Method;
use serde_json::{Value, json};

use super::http;

async fn start_with_users_at(url: UpstreamUrl) -> Server {
    Server::start(|listener, shutdown| async move {
        let variables = [("USER_SERVICE_URL", url.as_str().to_owned())];
        let config = Config::read(env(&variables))?;
        http::serve(listener, App::new(&config, &http::API, shutdown)?).await
    })
    .await
}

/// A server for products without a seller: it calls no other service.
async fn start() -> Server {
    start_with_users_at(Stub::refusing().await.url()).await
}

fn engine() -> Value {
    json!({"name": "Engine", "price": 19.99, "stock": 5})
}

/// Sends these bytes and reads until the server closes the connection.
async fn raw(server: &Server, request: &str) -> String {
    let answer = exchange_bytes(server.address(), request.as_bytes()).await;
    answer.expect("an answer")
}

#[track_caller]
fn expect_fields(refused: Got, code: &str, fields: &[&str], reason: &str) {
    let answer = refused.json();
    refused.expect_error(400, code);
    let named: Vec<_> = answer["details"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|detail| detail["field"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(named, fields, "{reason}: {answer}");
}

#[tokio::test]
async fn a_product_is_created_read_changed_and_deleted() {
    let products = start().await;

    let body = json!({"name": " Engine ", "price": 19.99, "stock": 5, "more": 1});
    let created = products.post("/api/products", body).await;
    assert_eq!(created.header("location"), "/api/products/1");
    let engine = created.expect(201);
    assert_eq!(
        (&engine["id"], &engine["name"], &engine["stock"]),
        (&json!("1"), &json!("Engine"), &json!(5))
    );
    assert_eq!(
        (&engine["price"], &engine["sellerId"]),
        (&json!(19.99), &Value::Null)
    );
    assert_eq!(engine["createdAt"], engine["updatedAt"]);
    assert_eq!(products.get("/api/products/1").await.expect(200), engine);
    assert_eq!(
        products.get("/api/products").await.expect(200),
        json!([engine])
    );

    let change = json!({"price": 25});
    let changed = products.send("PUT", "/api/products/1", change).await;
    let changed = changed.expect(200);
    assert_eq!(
        (&changed["name"], &changed["price"], &changed["stock"]),
        (&json!("Engine"), &json!(25), &json!(5))
    );
    assert_eq!(changed["createdAt"], engine["createdAt"]);

    let deleted = products.send("DELETE", "/api/products/1", json!({})).await;
    assert_eq!(
        deleted.expect(200),
        json!({"message": "Product deleted successfully"})
    );
    for (method, path, reason) in [
        ("GET", "/api/products/1", "gone"),
        ("DELETE", "/api/products/1", "deleted twice"),
        ("PUT", "/api/products/1", "nothing to change"),
        ("GET", "/api/products/01", "not how ids are written"),
        ("GET", "/api/products/one", "no id"),
    ] {
        let sentence = products.send(method, path, json!({})).await;
        let sentence = sentence.expect_error(404, "not_found");
        let id = path.rsplit('/').next().unwrap_or_default();
        assert_eq!(sentence, format!("There is no product {id}"), "{reason}");
    }
}

#[tokio::test]
async fn the_error_names_every_invalid_field() {
    let products = start().await;
    for (body, code, fields, reason) in [
        (
            json!({}),
            "validation_failed",
            vec!["name", "price"],
            "both are missing",
        ),
        (
            json!({"name": " ", "price": -1, "stock": 1.5, "sellerId": "../1"}),
            "validation_failed",
            vec!["name", "price", "stock", "sellerId"],
            "bad values",
        ),
        (
            json!({"name": "x".repeat(201), "price": 1_000_000_001, "stock": 1_000_000_001}),
            "validation_failed",
            vec!["name", "price", "stock"],
            "too much",
        ),
        (
            json!({"name": 1, "price": "1", "stock": true, "sellerId": 1}),
            "invalid_json",
            vec!["name", "price", "stock", "sellerId"],
            "wrong types",
        ),
    ] {
        let refused = products.post("/api/products", body).await;
        expect_fields(refused, code, &fields, reason);
    }
    assert_eq!(products.get("/api/products").await.expect(200), json!([]));
}

#[tokio::test]
async fn stock_is_0_if_it_is_left_out() {
    let products = start().await;
    for (body, reason) in [
        (json!({"name": "Engine", "price": 0}), "left out"),
        (json!({"name": "Engine", "price": 0, "stock": null}), "null"),
    ] {
        let created = products.post("/api/products", body).await.expect(201);
        assert_eq!(created["stock"], 0, "{reason}");
    }
}

#[tokio::test]
async fn an_invalid_change_changes_nothing() {
    let products = start().await;
    let before = products.post("/api/products", engine()).await.expect(201);
    for (change, fields, reason) in [
        (
            json!({"name": "Other", "price": 0.001}),
            vec!["price"],
            "a good name and a bad price",
        ),
        (
            json!({"name": "Other", "stock": -1}),
            vec!["stock"],
            "a good name and a bad stock",
        ),
        (
            json!({"name": null, "price": null, "stock": null}),
            vec!["name", "price", "stock"],
            "null is not a name, a price or a stock",
        ),
        (
            json!({"stock": 1, "sellerId": "nobody"}),
            vec!["sellerId"],
            "a malformed id",
        ),
    ] {
        let refused = products.send("PUT", "/api/products/1", change).await;
        expect_fields(refused, "validation_failed", &fields, reason);
    }
    products
        .send(
            "PUT",
            "/api/products/1",
            json!({"name": "Other", "sellerId": "1"}),
        )
        .await
        .expect_error(503, "dependency_unavailable");
    assert_eq!(products.get("/api/products/1").await.expect(200), before);
}

#[tokio::test]
async fn money_is_exact_from_json_to_json() {
    let products = start().await;
    for (sent, expected, reason) in [
        ("0.1", Some("0.1"), "no binary fraction"),
        ("19.99", Some("19.99"), "nor is this"),
        ("1e3", Some("1000"), "written with an exponent"),
        ("0", Some("0"), "for nothing"),
        ("1000000000", Some("1000000000"), "the most"),
        ("999999999.99", Some("999999999.99"), "a cent below it"),
        ("1000000000.01", None, "a cent above it"),
        ("0.001", None, "three decimals"),
        (
            "19.990000000000000001",
            None,
            "19.99 to a float, but not exactly",
        ),
    ] {
        let body = format!(r#"{{"name":"Engine","price":{sent}}}"#);
        let request = products.request(Method::POST, "/api/products");
        let request = request
            .header("content-type", "application/json")
            .body(body);
        let got = Got::from(request).await;
        match expected {
            Some(price) => {
                assert_eq!(got.status, 201, "{reason}");
                let text = String::from_utf8_lossy(&got.body);
                assert!(
                    text.contains(&format!(r#""price":{price},"#)),
                    "{reason}: {text}"
                );
            }
            None => expect_fields(got, "validation_failed", &["price"], reason),
        }
    }
}

#[tokio::test]
async fn stock_is_taken_and_returned_but_never_below_zero() {
    let products = start().await;
    products.post("/api/products", engine()).await.expect(201);
    for (delta, stock, reason) in [
        (-2, 3, "taken"),
        (4, 7, "returned"),
        (0, 7, "nothing"),
        (-7, 0, "all"),
    ] {
        let path = "/api/products/1/stock";
        let got = products.send("PATCH", path, json!({"delta": delta})).await;
        assert_eq!(got.expect(200)["stock"], stock, "{reason}");
    }

    products
        .send("PUT", "/api/products/1", json!({"stock": 3}))
        .await
        .expect(200);
    let short = products
        .send("PATCH", "/api/products/1/stock", json!({"delta": -4}))
        .await
        .expect_error(409, "insufficient_stock");
    assert!(short.contains("only 3 left"), "{short}");

    for (body, code, reason) in [
        (json!({}), "validation_failed", "missing"),
        (json!({"delta": null}), "validation_failed", "null"),
        (json!({"delta": 0.5}), "validation_failed", "half a piece"),
        (
            json!({"delta": 999_999_998}),
            "validation_failed",
            "more than a product may have",
        ),
        (json!({"delta": "1"}), "invalid_json", "a string"),
    ] {
        let got = products.send("PATCH", "/api/products/1/stock", body).await;
        expect_fields(got, code, &["delta"], reason);
    }
    let after = products.get("/api/products/1").await.expect(200);
    assert_eq!(after["stock"], 3);
    products
        .send("PATCH", "/api/products/2/stock", json!({"delta": 1}))
        .await
        .expect_error(404, "not_found");
}

#[tokio::test]
async fn a_change_of_stock_with_a_key_is_made_once() {
    let server = start().await;
    for _ in 0..2 {
        server.post("/api/products", engine()).await.expect(201);
    }
    let change = async |path: &str, key: &str, delta: i64| {
        let request = server.request(Method::PATCH, path);
        let request = request.json(&json!({"delta": delta}));
        Got::from(request.header("Idempotency-Key", key)).await
    };
    let path = "/api/products/1/stock";
    for (key, delta, status, stock, replayed, reason) in [
        ("a", -2, 200, 3, "", "the first time"),
        ("a", -2, 200, 3, "true", "again"),
        ("b", -2, 200, 1, "", "another key"),
        (
            "a",
            -2,
            200,
            3,
            "true",
            "the first answer, not the state of now",
        ),
        ("c", -2, 409, 1, "", "too few"),
        ("c", -2, 409, 1, "true", "still too few"),
        ("a", -1, 409, 1, "", "the key of another change"),
    ] {
        let got = change(path, key, delta).await;
        assert_eq!(got.header("idempotency-replayed"), replayed, "{reason}");
        let body = got.expect(status);
        if status == 200 {
            assert_eq!(body["stock"], stock, "{reason}");
        }
    }
    let other = change("/api/products/2/stock", "a", -2).await;
    other.expect_error(409, "conflict");
    for (key, reason) in [("", "empty"), ("two words", "a space"), ("ä", "not ASCII")] {
        let refused = change(path, key, -1).await;
        expect_fields(refused, "validation_failed", &["Idempotency-Key"], reason);
    }

    let together = join_all((0..8).map(|_| change(path, "d", -1))).await;
    assert!(together.iter().all(|got| got.status == 200));
    assert_eq!(server.get("/api/products/1").await.expect(200)["stock"], 0);
}

#[tokio::test]
async fn of_fifty_concurrent_requests_for_the_last_five_pieces_five_succeed() {
    let products = start().await;
    products.post("/api/products", engine()).await.expect(201);
    let takers =
        (0..50).map(|_| products.send("PATCH", "/api/products/1/stock", json!({"delta": -1})));
    let answers = join_all(takers).await;
    let with = |status| answers.iter().filter(|got| got.status == status).count();
    assert_eq!((with(200), with(409)), (5, 45));
    let after = products.get("/api/products/1").await.expect(200);
    assert_eq!(after["stock"], 0);
}

#[tokio::test]
async fn a_seller_is_a_user() {
    let users = Stub::answering("200 OK", r#"{"id":"7","name":"Ada","email":"a@b.c"}"#).await;
    let products = start_with_users_at(users.url()).await;
    let body = json!({"name": "Engine", "price": 1, "sellerId": " 7 "});
    let created = products.post("/api/products", body).await.expect(201);
    assert_eq!(created["sellerId"], "7");

    let change = |body| products.send("PUT", "/api/products/1", body);
    assert_eq!(
        change(json!({"name": "Other"})).await.expect(200)["sellerId"],
        "7"
    );
    let cleared = change(json!({"sellerId": null})).await.expect(200);
    assert_eq!(
        (&cleared["sellerId"], &cleared["name"]),
        (&Value::Null, &json!("Other"))
    );
    let again = change(json!({"sellerId": "7"})).await.expect(200);
    assert_eq!(again["sellerId"], "7");
    change(json!({"sellerId": "8"}))
        .await
        .expect_error(503, "dependency_unavailable");
}

#[tokio::test]
async fn a_seller_who_is_not_a_user_is_refused() {
    let not_found = r#"{"error":"There is no user 7","code":"not_found","requestId":"x"}"#;
    let users = Stub::answering("404 Not Found", not_found).await;
    let products = start_with_users_at(users.url()).await;
    products.post("/api/products", engine()).await.expect(201);
    for seller in ["7", "seven", "07", "../api/users/1", ""] {
        let body = json!({"name": "Engine", "price": 1, "sellerId": seller});
        for (method, path) in [("POST", "/api/products"), ("PUT", "/api/products/1")] {
            let refused = products.send(method, path, body.clone()).await;
            assert_eq!(refused.json()["error"], "User not found", "{seller:?}");
            expect_fields(refused, "validation_failed", &["sellerId"], seller);
        }
    }
    let change = json!({"sellerId": "7"});
    products
        .send("PUT", "/api/products/9", change)
        .await
        .expect_error(404, "not_found");
}

#[tokio::test]
async fn an_outage_of_user_service_is_not_an_unknown_seller() {
    for (users, reason) in [
        (
            Stub::answering(
                "500 Internal Server Error",
                r#"{"error":"x","code":"internal"}"#,
            )
            .await,
            "500",
        ),
        (
            Stub::answering("404 Not Found", "<html>nginx</html>").await,
            "a 404 from something else",
        ),
        (
            Stub::answering("200 OK", "{}").await,
            "no user in the answer",
        ),
        (Stub::sending(|_| "garbage".to_owned()).await, "garbage"),
        (
            Stub::sending(|_| "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned()).await,
            "half an answer",
        ),
        (Stub::hanging().await, "no answer"),
        (Stub::refusing().await, "no connection"),
    ] {
        let products = start_with_users_at(users.url()).await;
        let body = json!({"name": "Engine", "price": 1, "sellerId": "7"});
        let refused = products.post("/api/products", body).await;
        assert_eq!(refused.header("retry-after"), "1", "{reason}");
        let sentence = refused.expect_error(503, "dependency_unavailable");
        assert!(sentence.contains("user-service"), "{reason}: {sentence}");
        let listed = products.get("/api/products").await.expect(200);
        assert_eq!(listed, json!([]), "{reason}");
        // Products without a seller do not need it.
        products.post("/api/products", engine()).await.expect(201);
        let ready = products.get("/health/ready").await;
        let status = ready.json()["status"].clone();
        assert_eq!(ready.status, 200, "{reason}");
        assert!(status == "degraded" || status == "ready", "{reason}");
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let products = start().await;
    products.post("/api/products", engine()).await.expect(201);
    for path in [
        "/api/products",
        "/api/products/1",
        "/api/products/2",
        "/api/products?limit=0",
        "/openapi.json",
        "/docs",
        "/nothing",
    ] {
        let get = products.get(path).await;
        let head = Got::from(products.request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(
            head.header("content-length"),
            get.body.len().to_string(),
            "{path}"
        );
        let names = |got: &Got| {
            let mut names: Vec<_> = got.headers.keys().map(ToString::to_string).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(&head), names(&get), "{path}");
    }
}

#[tokio::test]
async fn requests_that_rocket_answers_itself_keep_the_contract() {
    let products = start().await;
    products.post("/api/products", engine()).await.expect(201);
    for (method, path, status, code, reason) in [
        ("GET", "/nothing", 404, "not_found", "no route"),
        (
            "GET",
            "/api/products/",
            404,
            "not_found",
            "a trailing slash",
        ),
        ("GET", "//api//products", 404, "not_found", "two slashes"),
        ("GET", "/api/products//1", 404, "not_found", "two inside"),
        (
            "GET",
            "/api/products/1/",
            404,
            "not_found",
            "a slash after an id",
        ),
        ("POST", "/health", 405, "method_not_allowed", "another verb"),
        ("FOO", "/health", 405, "method_not_allowed", "no verb"),
        ("get", "/health", 405, "method_not_allowed", "not GET"),
        ("FOO", "/nothing", 404, "not_found", "nor a route"),
        (
            "TRACE",
            "/health",
            405,
            "method_not_allowed",
            "known to Rocket",
        ),
        (
            "GET",
            "/api/products/1/stock",
            405,
            "method_not_allowed",
            "PATCH alone",
        ),
        (
            "HEAD",
            "/api/products/1/stock",
            405,
            "",
            "no GET either, and no body",
        ),
        (
            "GET",
            "/api/products?limit=0",
            400,
            "validation_failed",
            "no page",
        ),
    ] {
        let method = Method::from_bytes(method.as_bytes()).expect("a verb");
        let got = Got::from(products.request(method.clone(), path)).await;
        assert_eq!(got.header("access-control-allow-origin"), "*", "{reason}");
        for extra in ["server", "x-frame-options", "permissions-policy"] {
            assert_eq!(got.header(extra), "", "{reason}: {extra}");
        }
        if status == 405 {
            assert!(got.header("allow").contains("OPTIONS"), "{reason}");
        }
        if method == Method::HEAD {
            assert_eq!((got.status, got.body.len()), (status, 0), "{reason}");
            continue;
        }
        let sentence = got.expect_error(status, code);
        if status == 405 {
            assert!(sentence.starts_with(method.as_str()), "{sentence}");
        }
    }
    let preflight = products.request(Method::OPTIONS, "/api/products/1");
    let preflight = Got::from(preflight).await;
    assert_eq!((preflight.status, preflight.body.len()), (204, 0));
    assert_eq!(
        preflight.header("access-control-allow-methods"),
        "GET, HEAD, PUT, DELETE, OPTIONS"
    );
    assert_eq!(preflight.header("content-length"), "");
}

#[tokio::test]
async fn a_path_that_rocket_does_not_parse_reaches_the_router() {
    let products = start().await;
    for (head, status, sentence, reason) in [
        (
            "GET /api/products/a|b",
            404,
            "There is no product a|b",
            "not in RFC 3986",
        ),
        (
            "GET /api/products/{id}",
            404,
            "There is no product {id}",
            "braces",
        ),
        (
            "GET /api/products/%zz",
            404,
            "There is no product %zz",
            "no encoding",
        ),
        (
            "GET /{x}",
            404,
            "There is nothing at /{x}; GET /docs lists what there is",
            "no route",
        ),
        (
            "OPTIONS *",
            404,
            "There is nothing at *; GET /docs lists what there is",
            "the server itself",
        ),
        (
            "GET /api/products?limit=|",
            400,
            r#"limit is \"|\", expected 1 to 1000"#,
            "in a query",
        ),
        ("GET http://shop/health", 200, "healthy", "a whole URL"),
    ] {
        let request = format!("{head} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
        let answer = raw(&products, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{reason}: {answer}"
        );
        assert!(answer.contains(sentence), "{reason}: {answer}");
        assert!(answer.contains("x-request-id: "), "{reason}: {answer}");
    }
    let raw_path = "GET /api/products/ü HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";
    let answer = raw(&products, raw_path).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "not ASCII: {answer}");
    assert!(answer.contains("percent-encode"), "not ASCII: {answer}");
}

#[tokio::test]
async fn a_body_has_a_type_and_a_limit() {
    const POST: &str = "POST /api/products HTTP/1.1\r\nhost: shop\r\nconnection: close";
    const JSON: &str = "content-type: application/json";
    let products = start().await;
    let small = r#"{"name":"Engine","price":1}"#;
    let (length, more) = (small.len(), " ".repeat(64 * 1024 - small.len()));
    let long = "x".repeat(64 * 1024 + 1);
    for (rest, status, code, reason) in [
        (
            format!("{JSON}\r\ncontent-length: {length}\r\n\r\n{small}"),
            201,
            "",
            "small",
        ),
        (
            format!("{JSON}\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{small}\r\n0\r\n\r\n"),
            201,
            "",
            "small, in chunks",
        ),
        (
            format!("{JSON}\r\ncontent-length: 65536\r\n\r\n{small}{more}"),
            201,
            "",
            "exactly at the limit",
        ),
        (
            format!("{JSON}\r\ncontent-length: 65537\r\n\r\n"),
            413,
            "payload_too_large",
            "by its Content-Length; it is not read",
        ),
        (
            format!("{JSON}\r\ntransfer-encoding: chunked\r\n\r\n20000\r\n{long}"),
            413,
            "payload_too_large",
            "in a chunk that is too large; its end is not read",
        ),
        (
            format!("content-length: {length}\r\n\r\n{small}"),
            415,
            "unsupported_media_type",
            "of no type",
        ),
        (
            format!("content-type: text/plain\r\ncontent-length: {length}\r\n\r\n{small}"),
            415,
            "unsupported_media_type",
            "of another type",
        ),
        (
            "content-type: application/x-www-form-urlencoded\r\ncontent-length: 10\r\n\r\n_method=PUT"
                .to_owned(),
            415,
            "unsupported_media_type",
            "a form in which Rocket reads another verb",
        ),
        (
            format!("{JSON}\r\ncontent-length: 0\r\n\r\n"),
            400,
            "invalid_json",
            "empty",
        ),
        ("\r\n".to_owned(), 400, "invalid_json", "missing"),
        (
            format!("{JSON}\r\ncontent-length: 1\r\n\r\n["),
            400,
            "invalid_json",
            "no object",
        ),
    ] {
        let answer = raw(&products, &format!("{POST}\r\n{rest}")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{reason}: {answer}"
        );
        assert!(
            answer.contains("access-control-allow-origin: *\r\n"),
            "{reason}: {answer}"
        );
        assert!(answer.contains(code), "{reason}: {answer}");
    }
}
