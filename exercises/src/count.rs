//! Exercises 1 and 2: `GET /api/products/count`.

use std::net::SocketAddr;

use crate::answers::{JSON, ask, json, summary, summary_with_allow};
use crate::report::Report;

const COUNT: &str = "/api/products/count";

/// More than fit on a page.
const PRODUCTS: usize = 102;

pub(crate) async fn check(address: SocketAddr, framework: &str) -> Report {
    let mut report = Report::default();
    let get = async |path| ask(address, "GET", path, &[], "").await;

    let health = json(&get("/health").await);
    let came = health["framework"].as_str().unwrap_or("none").to_owned();
    report.expect("GET /health, its framework", came, framework);

    let came = summary(&get(COUNT).await);
    report.expect("GET count, no products", came, r#"200 {"total":0}"#);

    for _ in 0..PRODUCTS {
        let kettle = r#"{"name":"Kettle","price":1}"#;
        let created = ask(address, "POST", "/api/products", JSON, kettle).await;
        if summary(&created).starts_with("201 ") {
            continue;
        }
        report.expect("POST /api/products", summary(&created), "201");
        return report;
    }
    let came = summary(&ask(address, "DELETE", "/api/products/2", &[], "").await);
    let gone = r#"200 {"message":"Product deleted successfully"}"#;
    report.expect("DELETE /api/products/2", came, gone);
    let came = summary(&get(COUNT).await);
    let left = PRODUCTS - 1;
    let expected = format!(r#"200 {{"total":{left}}}"#);
    report.expect(&format!("GET count, {left} products"), came, expected);

    let came = summary(&ask(address, "HEAD", COUNT, &[], "").await);
    report.expect("HEAD count", came, "200, no body");
    // The OpenAPI document, which is the table of routes, determines these answers.
    for method in ["POST", "DELETE"] {
        let came = summary_with_allow(&ask(address, method, COUNT, &[], "").await);
        let expected = "405 method_not_allowed, Allow: GET, HEAD, OPTIONS";
        report.expect(&format!("{method} count"), came, expected);
    }
    let came = summary_with_allow(&ask(address, "OPTIONS", COUNT, &[], "").await);
    let expected = "204, no body, Allow: GET, HEAD, OPTIONS";
    report.expect("OPTIONS count", came, expected);
    let document = json(&get("/openapi.json").await);
    let described = &document["paths"][COUNT]["get"]["responses"]["200"]["content"];
    let came = if described["application/json"]["schema"].is_object() {
        "described"
    } else {
        "not described"
    };
    report.expect("GET /openapi.json, count", came.to_owned(), "described");

    let product = get("/api/products/1").await;
    let came = format!("the product {}", json(&product)["id"]);
    report.expect("GET /api/products/1", came, r#"the product "1""#);
    let came = summary(&get("/api/products/counts").await);
    report.expect("GET /api/products/counts", came, "404 not_found");
    report
}
