//! Tests of notification-service over HTTP: the real server on a free port.

use chassis::testkit::{Got, Server, env};
use harness::raw::exchange_bytes;
use notification_service::{App, Config, http};
use serde_json::{Value, json};

/// The largest body that the service accepts, in bytes.
const LIMIT: usize = 64 * 1024;

async fn start() -> Server {
    Server::start(|listener, shutdown| async {
        let config = Config::read(env(&[]))?;
        http::serve(listener, App::new(&config, &http::API, shutdown)?).await
    })
    .await
}

async fn send(server: &Server, user_id: &str, message: &str) -> Value {
    let body = json!({"userId": user_id, "message": message});
    let sent = server.post("/api/notifications/send", body).await;
    sent.expect(201)
}

/// A request without a body.
async fn bare(server: &Server, method: &str, path: &str) -> Got {
    Got::from(server.request(method.parse().expect("a method"), path)).await
}

fn ids(list: &Value) -> Vec<&str> {
    let records = list.as_array().expect("a list");
    records
        .iter()
        .filter_map(|one| one["id"].as_str())
        .collect()
}

#[tokio::test]
async fn a_notification_is_sent_listed_read_and_deleted() {
    let server = start().await;

    let body = json!({"userId": " 7 ", "message": " Your order #1 has been confirmed\n", "type": "order_confirmation", "more": 1});
    let sent = server.post("/api/notifications/send", body).await;
    assert_eq!(sent.header("location"), "/api/notifications/1");
    let sent = sent.expect(201);
    assert_eq!(
        sent,
        json!({
            "id": "1",
            "userId": "7",
            "message": "Your order #1 has been confirmed",
            "type": "order_confirmation",
            "read": false,
            "createdAt": sent["createdAt"],
        })
    );
    for (path, reason) in [
        ("/api/notifications", "all"),
        ("/api/notifications/7", "the user's"),
    ] {
        let list = server.get(path).await;
        assert_eq!(list.header("x-total-count"), "1", "{reason}");
        assert_eq!(list.expect(200), json!([sent]), "{reason}");
    }

    let mut read = sent.clone();
    read["read"] = json!(true);
    for reason in ["unread before", "read already"] {
        let got = bare(&server, "PATCH", "/api/notifications/1/read").await;
        assert_eq!(got.expect(200), read, "{reason}");
    }
    assert_eq!(
        server.get("/api/notifications/7").await.expect(200),
        json!([read])
    );

    let deleted = bare(&server, "DELETE", "/api/notifications/1").await;
    assert_eq!(
        deleted.expect(200),
        json!({"message": "Notification deleted successfully"})
    );
    for (method, path) in [
        ("DELETE", "/api/notifications/1"),
        ("PATCH", "/api/notifications/1/read"),
    ] {
        let sentence = bare(&server, method, path)
            .await
            .expect_error(404, "not_found");
        assert_eq!(sentence, "There is no notification 1", "{method}");
    }
    for path in ["/api/notifications", "/api/notifications/7"] {
        let list = server.get(path).await;
        assert_eq!(list.header("x-total-count"), "0", "{path}");
        assert_eq!(list.expect(200), json!([]), "{path}");
    }
}

#[tokio::test]
async fn each_user_has_a_list_of_their_own() {
    let server = start().await;
    for user in ["ada", "bob", "ada"] {
        send(&server, user, "Hello").await;
    }
    for (path, expected, reason) in [
        ("/api/notifications", vec!["1", "2", "3"], "everyone"),
        ("/api/notifications/ada", vec!["1", "3"], "two of them"),
        ("/api/notifications/bob", vec!["2"], "the other"),
        ("/api/notifications/Ada", vec![], "ids have a letter case"),
        (
            "/api/notifications/1",
            vec![],
            "not the id of a notification",
        ),
        ("/api/notifications/eve", vec![], "an unknown user"),
    ] {
        let got = server.get(path).await;
        let total = got.header("x-total-count").to_owned();
        let list = got.expect(200);
        assert_eq!(ids(&list), expected, "{reason}");
        assert_eq!(total, expected.len().to_string(), "{reason}");
    }
}

#[tokio::test]
async fn one_users_pages_visit_all_of_theirs_once() {
    let server = start().await;
    for n in 0..14 {
        let user = if n % 2 == 0 { "a b/ü?" } else { "bob" };
        send(&server, user, "Hello").await;
    }
    let mut visited = Vec::new();
    let mut sizes = Vec::new();
    let mut next = Some("/api/notifications/a%20b%2F%C3%BC%3F?limit=3".to_owned());
    while let Some(path) = next {
        let got = server.get(&path).await;
        assert_eq!(got.header("x-total-count"), "7", "{path}");
        let link = got.header("link").to_owned();
        next = link
            .strip_prefix('<')
            .and_then(|link| link.strip_suffix(">; rel=\"next\""))
            .map(str::to_owned);
        assert_eq!(next.is_some(), !link.is_empty(), "{link}");
        let page = got.expect(200);
        sizes.push(ids(&page).len());
        visited.extend(ids(&page).into_iter().map(str::to_owned));
    }
    assert_eq!(visited, ["1", "3", "5", "7", "9", "11", "13"]);
    assert_eq!(sizes, [3, 3, 1]);

    for (path, fields, reason) in [
        (
            "/api/notifications/bob?limit=0",
            vec!["limit"],
            "a page has at least one record",
        ),
        (
            "/api/notifications?after=x&limit=1001",
            vec!["after", "limit"],
            "both at once",
        ),
    ] {
        let refused = server.get(path).await;
        let answer = refused.json();
        refused.expect_error(400, "validation_failed");
        assert_eq!(fields_of(&answer), fields, "{reason}");
    }
}

#[tokio::test]
async fn a_user_id_is_any_text() {
    let server = start().await;
    for (user, path, reason) in [
        ("a b", "a%20b", "a space"),
        ("a+b", "a+b", "a plus is no space in a path"),
        ("a/b", "a%2Fb", "a slash"),
        ("a/b/read", "a%2fb%2fread", "not the route that reads"),
        ("a%2Fb", "a%252Fb", "decoded once, not twice"),
        (
            "ünï 名",
            "%C3%BCn%C3%AF%20%E5%90%8D",
            "letters of many scripts",
        ),
        ("?limit=0#x", "%3Flimit=0%23x", "delimiters of a URL"),
        ("x-._~", "%78-%2E_~", "nothing that needs encoding"),
        ("send", "send", "the name of a route"),
        ("read", "read", "a part of another route"),
    ] {
        let sent = send(&server, user, reason).await;
        assert_eq!(sent["userId"], user, "{reason}");
        let list = server.get(&format!("/api/notifications/{path}")).await;
        assert_eq!(list.expect(200), json!([sent]), "{reason}");
    }
    server
        .get("/api/notifications/%ff")
        .await
        .expect_error(404, "not_found");
}

fn fields_of(error: &Value) -> Vec<&str> {
    let details = error["details"].as_array().into_iter().flatten();
    details.filter_map(|one| one["field"].as_str()).collect()
}

#[tokio::test]
async fn the_error_names_every_invalid_field() {
    let server = start().await;
    for (body, code, fields, reason) in [
        (
            json!({}),
            "validation_failed",
            vec!["userId", "message"],
            "both are missing, the type need not be there",
        ),
        (
            json!({"userId": null, "message": "Hello"}),
            "validation_failed",
            vec!["userId"],
            "null is missing",
        ),
        (
            json!({"userId": "u".repeat(101), "message": "m".repeat(1001), "type": "t".repeat(51)}),
            "validation_failed",
            vec!["userId", "message", "type"],
            "one character too many in each",
        ),
        (
            json!({"userId": " ", "message": "\n", "type": ""}),
            "validation_failed",
            vec!["userId", "message", "type"],
            "nothing in each",
        ),
        (
            json!({"userId": 7, "message": ["Hello"], "type": "Info"}),
            "invalid_json",
            vec!["userId", "message", "type"],
            "wrong types count more",
        ),
    ] {
        let refused = server.post("/api/notifications/send", body).await;
        let answer = refused.json();
        refused.expect_error(400, code);
        assert_eq!(fields_of(&answer), fields, "{reason}");
    }
    assert_eq!(
        server.get("/api/notifications").await.expect(200),
        json!([])
    );

    let longest =
        json!({"userId": "ü".repeat(100), "message": "名".repeat(1000), "type": "t".repeat(50)});
    server
        .post("/api/notifications/send", longest)
        .await
        .expect(201);
}

#[tokio::test]
async fn a_type_is_info_or_a_word_of_the_senders() {
    let server = start().await;
    for (kind, expected, reason) in [
        (Value::Null, Some("info"), "null counts as left out"),
        (
            json!("order_confirmation"),
            Some("order_confirmation"),
            "two words",
        ),
        (json!(" info "), Some("info"), "trimmed"),
        (json!("order-confirmation"), None, "a hyphen"),
        (json!("Info"), None, "upper case"),
        (json!("info2"), None, "a digit"),
        (json!("größe"), None, "not an ASCII letter"),
    ] {
        let body = json!({"userId": "7", "message": "Hello", "type": kind});
        let got = server.post("/api/notifications/send", body).await;
        match expected {
            Some(expected) => assert_eq!(got.expect(201)["type"], expected, "{reason}"),
            None => {
                got.expect_error(400, "validation_failed");
            }
        }
    }
    assert_eq!(send(&server, "7", "Hello").await["type"], "info");
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let server = start().await;
    send(&server, "7", "Hello").await;
    send(&server, "7", "Hello again").await;
    for path in [
        "/api/notifications?limit=1",
        "/api/notifications/7?limit=1",
        "/api/notifications/nobody",
        "/api/notifications?limit=0",
        "/api/nothing",
        "/health/ready",
        "/openapi.json",
        "/docs",
        "/docs/swagger-ui.css",
    ] {
        let (get, head) = (server.get(path).await, bare(&server, "HEAD", path).await);
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty(), "{path}");
        for name in [
            "content-type",
            "link",
            "x-total-count",
            "access-control-allow-origin",
        ] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
        // An error contains the id of its request, but all ids have the same length.
        assert_eq!(
            head.header("content-length"),
            get.body.len().to_string(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn another_path_is_not_found_and_another_method_not_allowed() {
    let server = start().await;
    send(&server, "7", "Hello").await;
    for (path, reason) in [
        ("/nothing", "nothing"),
        ("/api/notifications/", "a trailing slash"),
        ("/api/notifications/7/", "a slash after an id"),
        ("/api/notifications/send/", "a slash after send"),
        ("//api/notifications", "a doubled slash at the start"),
        ("/api//notifications", "a doubled slash in the middle"),
        ("/api/notifications//", "a doubled slash at the end"),
        ("/health/", "the operations are no exception"),
        ("/api/notifications/1/2/read", "a segment too many"),
        ("/docs/swagger-ui.css/more", "and here"),
        ("/docs/nothing.js", "no such file"),
    ] {
        for method in ["GET", "HEAD", "POST", "PATCH", "DELETE", "BREW", "OPTIONS"] {
            if path.starts_with("/docs/nothing") && method != "GET" {
                continue;
            }
            let got = bare(&server, method, path).await;
            assert_eq!(got.status, 404, "{method} {path}: {reason}");
            if method != "HEAD" {
                got.expect_error(404, "not_found");
            }
        }
    }
    for (path, allow, methods) in [
        (
            "/api/notifications",
            "GET, HEAD, OPTIONS",
            vec!["POST", "PUT", "PATCH", "DELETE", "BREW"],
        ),
        (
            "/api/notifications/send",
            "GET, HEAD, POST, OPTIONS",
            vec!["PUT", "PATCH", "DELETE", "BREW"],
        ),
        (
            "/api/notifications/1",
            "GET, HEAD, DELETE, OPTIONS",
            vec!["POST", "PUT", "PATCH", "BREW"],
        ),
        (
            "/api/notifications/not-an-id/read",
            "PATCH, OPTIONS",
            vec!["GET", "POST", "DELETE", "BREW"],
        ),
        ("/health", "GET, HEAD, OPTIONS", vec!["POST", "TRACE"]),
    ] {
        for method in methods {
            let got = bare(&server, method, path).await;
            assert_eq!(got.header("allow"), allow, "{method} {path}");
            assert_eq!(got.header("access-control-allow-origin"), "*");
            got.expect_error(405, "method_not_allowed");
        }
        let preflight = bare(&server, "OPTIONS", path).await;
        assert_eq!(preflight.status, 204, "{path}");
        assert_eq!(preflight.header("access-control-allow-methods"), allow);
    }
    for (request, reason) in [
        ("OPTIONS * HTTP/1.1", "the server as a whole"),
        ("CONNECT example.com:80 HTTP/1.1", "no path at all"),
    ] {
        let head = format!("{request}\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = exchange_bytes(server.address(), head.as_bytes()).await;
        let answer = answer.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{reason}: {answer}");
        assert!(answer.contains("\"not_found\""), "{reason}: {answer}");
    }
}

#[tokio::test]
async fn the_error_is_that_of_the_requested_route() {
    let server = start().await;
    for (method, path, status, reason) in [
        (
            "POST",
            "/api/notifications/send",
            400,
            "no body, though GET would be a user",
        ),
        (
            "GET",
            "/api/notifications/7?limit=x",
            400,
            "a bad page, though DELETE has no page",
        ),
        (
            "DELETE",
            "/api/notifications/x",
            404,
            "no id, though GET would be a user",
        ),
        ("DELETE", "/api/notifications/%ff", 404, "nor is this"),
        ("PATCH", "/api/notifications/01/read", 404, "nor this"),
        ("PATCH", "/api/notifications/send/read", 404, "nor this"),
        (
            "GET",
            "/api/notifications/send?limit=x",
            400,
            "a bad page, though POST has no page",
        ),
    ] {
        let got = bare(&server, method, path).await;
        assert_eq!(got.status, status, "{method} {path}: {reason}");
        assert!(got.json()["requestId"].is_string(), "{reason}");
    }
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let server = start().await;
    let body = r#"{"userId":"7","message":"Hello"}"#;
    for (content_type, status, reason) in [
        (None, 415, "no content type"),
        (Some("text/plain"), 415, "text"),
        (Some("application/x-www-form-urlencoded"), 415, "a form"),
        (Some("application/json"), 201, "JSON"),
        (
            Some("Application/JSON; charset=utf-8"),
            201,
            "JSON in UTF-8",
        ),
    ] {
        let request = server
            .request("POST".parse().expect("a method"), "/api/notifications/send")
            .body(body);
        let request = match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        };
        let got = Got::from(request).await;
        assert_eq!(got.status, status, "{reason}");
        if status == 415 {
            got.expect_error(415, "unsupported_media_type");
        }
    }
}

#[tokio::test]
async fn a_body_has_at_most_64_kib() {
    let server = start().await;
    let head = "POST /api/notifications/send HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    // White space pads the body without changing the object.
    let body = |length| {
        let object = r#"{"userId":"7","message":"Hello"}"#;
        object.to_owned() + &" ".repeat(length - object.len())
    };
    let at_once = |body: &str| format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let in_chunks = |body: &str| {
        let (first, last) = body.split_at(body.len() - 1);
        format!(
            "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n1\r\n{last}\r\n0\r\n\r\n",
            first.len()
        )
    };
    for (request, status, reason) in [
        (at_once(&body(LIMIT)), "201", "the largest"),
        (in_chunks(&body(LIMIT)), "201", "the largest in chunks"),
        (in_chunks(&body(40)), "201", "a small one in chunks"),
        (at_once(&body(LIMIT + 1)), "413", "one byte too many"),
        (
            in_chunks(&body(LIMIT + 1)),
            "413",
            "one byte too many in chunks",
        ),
        (
            format!("{head}content-length: 10000000\r\n\r\n"),
            "413",
            "refused by its Content-Length, before it arrives",
        ),
    ] {
        let answer = exchange_bytes(server.address(), request.as_bytes()).await;
        let answer = answer.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{reason}: {answer}"
        );
        assert_eq!(
            status == "413",
            body.contains("\"payload_too_large\""),
            "{reason}"
        );
        assert!(
            head.contains("access-control-allow-origin: *"),
            "{reason}: {answer}"
        );
    }
}
