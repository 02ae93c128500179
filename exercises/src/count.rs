//! Exercises 1 and 2: `GET /api/products/count`.

use std::net::SocketAddr;

use crate::answers::{JSON, ask, json, summary};
use crate::report::Report;

const COUNT: &str = "/api/products/count";

pub(crate) async fn check(address: SocketAddr) -> Report {
    let mut report = Report::default();
    let get = async |path| ask(address, "GET", path, &[], "").await;
    // The errors are those of the framework: their bodies differ.
    let status = |got: &Result<_, String>| match got {
        Ok(chassis::testkit::Got { status, .. }) => status.to_string(),
        Err(cause) => cause.clone(),
    };

    let came = summary(&get(COUNT).await);
    report.expect("GET count, no products", came, r#"200 {"total":0}"#);

    for price in 1..=3 {
        let kettle = format!(r#"{{"name":"Kettle","price":{price}}}"#);
        let created = ask(address, "POST", "/api/products", JSON, &kettle).await;
        let came = status(&created);
        report.expect(&format!("POST product {price}"), came, "201");
    }
    let came = summary(&get(COUNT).await);
    report.expect("GET count, 3 products", came, r#"200 {"total":3}"#);
    let came = summary(&get("/api/products/count?maxPrice=2").await);
    report.expect("GET count?maxPrice=2", came, r#"200 {"total":2}"#);
    let came = status(&get("/api/products/count?maxPrice=cheap").await);
    report.expect("GET count?maxPrice=cheap", came, "400");

    let came = summary(&ask(address, "HEAD", COUNT, &[], "").await);
    report.expect("HEAD count", came, "200, no body");
    for method in ["POST", "DELETE"] {
        let came = status(&ask(address, method, COUNT, &[], "").await);
        report.expect(&format!("{method} count"), came, "405");
    }

    // The other routes still work.
    let came = status(&ask(address, "DELETE", "/api/products/2", &[], "").await);
    report.expect("DELETE product 2", came, "204");
    let product = get("/api/products/1").await;
    let came = format!("the product {}", json(&product)["id"]);
    report.expect("GET product 1", came, r#"the product "1""#);
    let came = status(&get("/api/products/counts").await);
    report.expect("GET /api/products/counts", came, "404");
    let came = summary(&get(COUNT).await);
    report.expect("GET count, 2 products", came, r#"200 {"total":2}"#);
    report
}
