//! Exercise 3: every error has the form of the contract.

use std::net::SocketAddr;

use crate::answers::{JSON, allowed, ask, summary};
use crate::report::Report;

const PRODUCTS: &str = "/api/products";

pub(crate) async fn check(address: SocketAddr) -> Report {
    let mut report = Report::default();
    let get = async |path| ask(address, "GET", path, &[], "").await;
    let post = async |headers, body| ask(address, "POST", PRODUCTS, headers, body).await;

    let came = summary(&post(JSON, r#"{"name":"Kettle"}"#).await);
    let kettle = r#"{"id":"1","name":"Kettle"}"#;
    report.expect("POST, a product", came, format!("201 {kettle}"));
    let came = summary(&get("/api/products/1").await);
    report.expect("GET, that product", came, format!("200 {kettle}"));

    for (asked, path) in [
        ("GET, an unknown route", "/api/kettles"),
        ("GET, an unknown product", "/api/products/99"),
        ("GET, an id that is not a number", "/api/products/kettle"),
    ] {
        report.expect(asked, summary(&get(path).await), "404 not_found");
    }
    for (method, path, allow) in [
        ("DELETE", "/api/products/1", "GET"),
        ("PUT", PRODUCTS, "POST"),
    ] {
        let got = ask(address, method, path, &[], "").await;
        let (came, methods) = (summary(&got), allowed(&got));
        let is_good = came == "405 method_not_allowed"
            && methods.split(',').any(|method| method.trim() == allow);
        let came = format!("{came}, Allow: {methods}");
        let expected = format!("405 method_not_allowed, Allow: {allow}");
        report.note(
            &format!("{method}, a method that is not allowed"),
            came,
            expected,
            is_good,
        );
    }
    let large = format!(r#"{{"name":"{}"}}"#, "k".repeat(70_000));
    for (asked, headers, body, expected) in [
        (
            "POST, half a JSON object",
            JSON,
            r#"{"name":"Ke"#,
            "400 invalid_json",
        ),
        (
            "POST, a name that is a number",
            JSON,
            r#"{"name":1}"#,
            "400 invalid_json",
        ),
        ("POST, no name", JSON, "{}", "400 validation_failed"),
        (
            "POST, a body without a content type",
            &[],
            r#"{"name":"Kettle"}"#,
            "415 unsupported_media_type",
        ),
        (
            "POST, a body with another content type",
            &[("content-type", "text/plain")],
            r#"{"name":"Kettle"}"#,
            "415 unsupported_media_type",
        ),
        (
            "POST, more than 64 KiB",
            JSON,
            &large,
            "413 payload_too_large",
        ),
    ] {
        report.expect(asked, summary(&post(headers, body).await), expected);
    }
    report
}
