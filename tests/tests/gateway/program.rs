//! The gateway as a program.

use harness::TIMEOUT;
use harness::raw;
use shop_tests::program::{self, Program};

#[tokio::test]
async fn it_starts_without_a_variable_and_without_a_service_and_stops_on_a_signal() {
    let gateway = Program::start("gateway", &[("USER_SERVICE_URL", "http://127.0.0.1:1")]);
    let health = raw::get(gateway.address(), "/health").await;
    assert_eq!(health.expect("an answer").expect(200)["service"], "gateway");
    let got = raw::get(gateway.address(), "/api/users/1").await;
    got.expect("an answer")
        .expect_error(503, "dependency_unavailable");
    gateway.signal("TERM");
    assert_eq!(gateway.exited(TIMEOUT), Some(0));
}

#[test]
fn it_does_not_start_with_a_value_that_it_does_not_understand() {
    for (variable, value, expected) in [
        ("TRUSTED_PROXIES", "proxy", "addresses or networks"),
        ("GATEWAY_TIMEOUT_MS", "5s", "a whole number"),
        ("ANALYTICS_SERVICE_URL", "https://a", "a URL"),
    ] {
        let ended = program::run("gateway", &[(variable, value)]);
        assert_eq!(ended.status, Some(2), "{}", ended.stderr);
        let says = format!("{variable} is \"{value}\", expected {expected}");
        assert!(ended.stderr.contains(&says), "{}", ended.stderr);
    }
}
