//! Each bare server answers what the services are measured against, and what is asked
//! to see what a framework does by itself.

use std::process::Command;

use harness::PATIENCE;
use harness::process::{Process, address_in, piped};
use serde_json::{Value, json};

/// A running program. Dropped, it is killed.
struct Bare {
    _process: Process,
    url: String,
}

impl Bare {
    fn start(framework: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bare"));
        let process = Process::start(piped(command.arg(framework))).expect("starts");
        let address = process.wait_for(address_in, PATIENCE).expect("listens");
        Self {
            url: format!("http://{address}"),
            _process: process,
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.bytes().await.expect("a whole body");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn each_answers_the_routes_that_are_measured() {
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    for framework in ["axum", "rocket", "poem", "warp", "actix-web", "hyper"] {
        let bare = Bare::start(framework);
        let url = |path: &str| format!("{}{path}", bare.url);

        let (status, health) = answer(http.get(url("/health"))).await;
        assert_eq!(
            (status, &health["status"], &health["framework"]),
            (200, &json!("healthy"), &json!(framework))
        );

        let ada = json!({"name": "Ada", "email": "ada@example.com"});
        let (status, created) = answer(http.post(url("/items")).json(&ada)).await;
        assert_eq!(
            (status, &created["id"], &created["name"], &created["email"]),
            (201, &json!("1"), &ada["name"], &ada["email"]),
            "{framework}"
        );
        let found = answer(http.get(url("/items/1"))).await;
        assert_eq!(found, (200, created), "{framework}");
        let (status, _) = answer(http.get(url("/items/2"))).await;
        assert_eq!(status, 404, "{framework}: an id that nobody has");
    }
}

#[tokio::test]
async fn each_on_a_framework_has_a_list_that_ends_and_a_slow_route() {
    let http = reqwest::Client::builder().no_proxy().build();
    let http = http.expect("a client");
    for framework in ["axum", "rocket", "poem", "warp", "actix-web"] {
        let bare = Bare::start(framework);
        let url = |path: &str| format!("{}{path}", bare.url);
        let mut all = Vec::new();
        for name in ["Ada", "Grace"] {
            let new = json!({"name": name, "email": "her@example.com"});
            let (_, created) = answer(http.post(url("/items")).json(&new)).await;
            all.push(created);
        }

        let listed = answer(http.get(url("/items"))).await;
        assert_eq!(listed, (200, json!(all)), "{framework}");
        let listed = answer(http.get(url("/items?limit=1"))).await;
        assert_eq!(listed, (200, json!(all[..1])), "{framework}");

        let (status, _) = answer(http.get(url("/slow"))).await;
        assert_eq!(status, 200, "{framework}");
    }
}

#[tokio::test]
async fn the_floor_answers_as_product_service_does_where_it_is_measured() {
    for (program, framework) in [("floor", "hyper"), ("floor-on-rocket", "rocket")] {
        answers_as_product_service_does(program, framework).await;
    }
}

async fn answers_as_product_service_does(program: &str, framework: &str) {
    let floor = Bare::start(program);
    let http = reqwest::Client::builder().no_proxy().build();
    let http = http.expect("a client");
    let url = |path: &str| format!("{}{path}", floor.url);
    let lamp = json!({"name": "Desk lamp", "price": 19.99, "stock": 100});
    let post = |body: &Value| http.post(url("/api/products")).json(body);

    let (status, health) = answer(http.get(url("/health"))).await;
    assert_eq!((status, &health["framework"]), (200, &json!(framework)));
    let (status, first) = answer(post(&lamp)).await;
    let created = &first["createdAt"];
    let whole = json!({"id": "1", "name": "Desk lamp", "price": 19.99, "stock": 100,
        "sellerId": null, "createdAt": created, "updatedAt": created});
    assert_eq!((status, &first), (201, &whole));
    answer(post(&lamp)).await;
    let found = answer(http.get(url("/api/products/1"))).await;
    assert_eq!(found, (200, first.clone()));

    let page = http.get(url("/api/products?limit=1")).send().await;
    let page = page.expect("an answer");
    let header = |name| page.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(header("x-total-count"), "2");
    assert_eq!(
        header("link"),
        "</api/products?limit=1&after=1>; rel=\"next\""
    );
    let body: Value = serde_json::from_slice(&page.bytes().await.expect("whole")).expect("JSON");
    assert_eq!(body, json!([first]));

    let (status, _) = answer(post(&json!({"price": -1}))).await;
    assert_eq!(status, 400, "the rules for a body are the shop's");
    let (status, _) = answer(http.get(url("/api/products/3"))).await;
    assert_eq!(status, 404, "an id that nobody has");
}

#[tokio::test]
async fn a_sink_takes_whatever_it_is_sent() {
    let sink = Bare::start("sink");
    let http = reqwest::Client::builder().no_proxy().build();
    let request = http
        .expect("a client")
        .post(format!("{}/v1/traces", sink.url));
    assert_eq!(answer(request.body("spans")).await, (200, Value::Null));
}
