//! Tests of user-service over HTTP: the real server on a free port.

use chassis::testkit::{Server, env};
use serde_json::json;
use user_service::{App, Config, http};

async fn start() -> Server {
    Server::start(|listener, shutdown| async {
        let config = Config::read(env(&[]))?;
        http::serve(listener, App::new(&config, &http::API, shutdown)?).await
    })
    .await
}

#[tokio::test]
async fn health_and_metrics_use_the_configured_name() {
    let users = Server::start(|listener, shutdown| async {
        let config = Config::read(env(&[("SERVICE_NAME", "members".to_owned())]))?;
        http::serve(listener, App::new(&config, &http::API, shutdown)?).await
    })
    .await;
    assert_eq!(users.get("/health").await.expect(200)["service"], "members");
    let metrics = users.get("/metrics").await.body;
    let metrics = String::from_utf8(metrics).expect("text");
    let counted =
        r#"http_requests_total{service="members",method="GET",route="/health",status="200"} 1"#;
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
}

#[tokio::test]
async fn a_user_is_created_read_replaced_and_deleted() {
    let users = start().await;

    let created = users
        .post(
            "/api/users",
            json!({"name": " Ada ", "email": "ada@example.com", "more": 1}),
        )
        .await;
    assert_eq!(created.header("location"), "/api/users/1");
    let ada = created.expect(201);
    assert_eq!(
        (&ada["id"], &ada["name"], &ada["email"]),
        (&json!("1"), &json!("Ada"), &json!("ada@example.com"))
    );
    assert_eq!(ada["createdAt"], ada["updatedAt"]);
    assert_eq!(users.get("/api/users/1").await.expect(200), ada);
    assert_eq!(users.get("/api/users").await.expect(200), json!([ada]));

    let body = json!({"name": "Ada Lovelace", "email": "Ada@Example.com"});
    let replaced = users.send("PUT", "/api/users/1", body).await.expect(200);
    assert_eq!(
        (&replaced["name"], &replaced["createdAt"]),
        (&json!("Ada Lovelace"), &ada["createdAt"])
    );

    let deleted = users
        .send("DELETE", "/api/users/1", json!({}))
        .await
        .expect(200);
    assert_eq!(deleted, json!({"message": "User deleted successfully"}));
    for (method, reason) in [("GET", "gone"), ("DELETE", "deleted twice")] {
        let sentence = users
            .send(method, "/api/users/1", json!({}))
            .await
            .expect_error(404, "not_found");
        assert_eq!(sentence, "There is no user 1", "{reason}");
    }
}

#[tokio::test]
async fn the_error_names_every_invalid_field() {
    let users = start().await;
    for (body, code, fields, reason) in [
        (
            json!({}),
            "validation_failed",
            vec!["name", "email"],
            "both are missing",
        ),
        (
            json!({"name": null, "email": "a@example.com"}),
            "validation_failed",
            vec!["name"],
            "null is missing",
        ),
        (
            json!({"name": "x".repeat(101), "email": "nobody"}),
            "validation_failed",
            vec!["name", "email"],
            "bad values",
        ),
        (
            json!({"name": 1, "email": "a@example.com"}),
            "invalid_json",
            vec!["name"],
            "a number for a name",
        ),
    ] {
        let refused = users.post("/api/users", body).await;
        let answer = refused.json();
        refused.expect_error(400, code);
        let named: Vec<_> = answer["details"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|detail| &detail["field"])
            .collect();
        assert_eq!(named, fields, "{reason}");
    }
    assert_eq!(users.get("/api/users").await.expect(200), json!([]));
}

#[tokio::test]
async fn of_eight_concurrent_users_with_one_email_one_is_created() {
    let users = start().await;
    let attempts = (0..8).map(|n| {
        users.post(
            "/api/users",
            json!({"name": format!("Ada {n}"), "email": "ada@example.com"}),
        )
    });
    let mut statuses: Vec<_> = futures_util::future::join_all(attempts)
        .await
        .iter()
        .map(|got| got.status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn an_email_is_taken_in_every_letter_case() {
    let users = start().await;
    users
        .post(
            "/api/users",
            json!({"name": "Ada", "email": "ada@example.com"}),
        )
        .await
        .expect(201);
    users
        .post(
            "/api/users",
            json!({"name": "Bob", "email": "bob@example.com"}),
        )
        .await
        .expect(201);
    let taken = json!({"name": "Bob", "email": "ADA@example.com"});
    users
        .post("/api/users", taken.clone())
        .await
        .expect_error(409, "conflict");
    users
        .send("PUT", "/api/users/2", taken)
        .await
        .expect_error(409, "conflict");
    assert_eq!(
        users.get("/api/users/2").await.expect(200)["email"],
        "bob@example.com"
    );
}
