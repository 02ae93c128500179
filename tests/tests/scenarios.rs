//! Scenarios and load, with the scripts and through the gateway, on a running shop.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use chassis::contract::api::Api;
use chassis::env::Env;
use harness::TIMEOUT;
use harness::process::{Process, signal};
use hyper::Method;
use lab::client::Client;
use lab::scenario;
use serde_json::{Value, json};
use shop_tests::scripts::{Ran, Shop};

async fn run(shop: &Shop, script: &str, words: &[&str]) -> Ran {
    shop.run(script, words).await.expect("it ends")
}

/// A request to the gateway of the shop; the status and the body of its response.
async fn ask(shop: &Shop, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = format!("http://{}{path}", shop.address("gateway"));
    let client = Client::new(TIMEOUT);
    let answered = if let Some(body) = body {
        client.send_json(method, &url, &body).await
    } else {
        let request = lab::client::request(method, &url).expect("a URL");
        client.send(request).await
    };
    let response = answered.expect("a response");
    let status = response.status.as_u16();
    (status, response.json().unwrap_or_default())
}

async fn faults_of_users(shop: &Shop) -> Value {
    let (_, faults) = ask(shop, Method::GET, "/lab/user-service/faults", None).await;
    faults
}

#[test]
fn scenario_files_name_only_routes_and_variables_that_exist() {
    let api = |service: &str| -> &'static Api {
        match service {
            "user-service" => &user_service::http::API,
            "product-service" => &product_service::http::API,
            "order-service" => &order_service::http::API,
            "notification-service" => &notification_service::http::API,
            "analytics-service" => &analytics_service::http::API,
            _ => &gateway::http::API,
        }
    };
    let mut variables = BTreeSet::new();
    let names = std::cell::RefCell::new(&mut variables);
    order_service::Config::read(Env::new(|name| {
        names.borrow_mut().insert(name.to_owned());
        None
    }))
    .expect("defaults");
    let quoted =
        regex_lite::Regex::new(r#"at = "([a-z-]+)[.0-9]*", (?:route|path) = "([A-Z]* ?)([^"?]+)"#);
    let quoted = quoted.expect("a pattern");
    let set = regex_lite::Regex::new(r#"([A-Z_]{5,}) = ""#).expect("a pattern");
    let (mut routes, mut settings) = (0, 0);
    for (name, text) in scenario::ALL {
        for found in quoted.captures_iter(text) {
            let route = api(&found[1]).route(&found[3]);
            assert!(
                route.is_some(),
                "{name}: {} has no {}",
                &found[1],
                &found[3]
            );
            routes += 1;
        }
        for found in set.captures_iter(text) {
            let variable = &found[1];
            assert!(
                variables.contains(variable),
                "{name}: {variable} is no variable"
            );
            settings += 1;
        }
    }
    assert!(
        routes > 15 && settings > 8,
        "{routes} routes, {settings} settings"
    );
}

#[tokio::test]
async fn a_scenario_holds_and_one_that_is_wrong_fails() {
    let shop = Shop::new().expect("five ports");
    // It starts the shop.
    let held = run(&shop, "scenario.sh", &["run", "last-five", "--predict"]).await;
    assert!(held.worked, "{}", held.said);
    for part in [
        "1. Exactly five",
        "The answer: 1. ",
        "ok    Five orders succeed",
        "prediction",
    ] {
        assert!(held.said.contains(part), "{part}: {}", held.said);
    }
    let long = held.said.lines().find(|line| line.chars().count() > 80);
    assert_eq!(long, None);

    // The same, but with one more order than there can be.
    let (_, text) = scenario::ALL
        .iter()
        .find(|(name, _)| *name == "last-five")
        .expect("it");
    let file = shop.run_dir().join("wrong.toml");
    let name = file.display().to_string();
    let wrong = text.replace("after.send.ok == 5", "after.send.ok == 6");
    fs::write(&file, wrong).expect("a file");
    let failed = run(&shop, "scenario.sh", &["run", &name]).await;
    assert!(!failed.worked, "{}", failed.said);
    for part in [
        "FAIL  Five orders succeed",
        "after.send.ok = 5",
        "ok    Nothing is left",
    ] {
        assert!(failed.said.contains(part), "{part}: {}", failed.said);
    }

    // What it breaks is mended, also if it cannot go on.
    let fault = "{ fault = { at = \"user-service\", kind = \"hang\" } },\n    \
        { fault = { at = \"user-service\", route = \"GET /nowhere\", kind = \"hang\" } },\n    { send";
    fs::write(&file, text.replacen("{ send", fault, 1)).expect("a file");
    let stuck = run(&shop, "scenario.sh", &["run", &name]).await;
    assert!(
        !stuck.worked && stuck.said.contains("GET /nowhere"),
        "{}",
        stuck.said
    );
    assert_eq!(faults_of_users(&shop).await, json!([]));

    fs::write(&file, text.replacen("seconds = 2", "seconds = 200", 1)).expect("a file");
    let mistake = run(&shop, "scenario.sh", &["run", &name]).await;
    let said = mistake.said.trim();
    assert!(!mistake.worked && said.lines().count() == 1, "{said}");
    let expected = format!("{name}, line ");
    assert!(said.starts_with(&expected), "{said}");
    assert!(said.contains("seconds is 200, expected 0 to 60"), "{said}");
}

#[tokio::test]
async fn ctrl_c_mends_what_a_scenario_has_broken() {
    let shop = Shop::new().expect("five ports");
    let scenario = slow_user_service(&shop).await;
    scenario.signal("INT").expect("it runs");
    let ended = scenario.ended_async(2 * TIMEOUT).await.expect("it ends");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("It was stopped."), "{ended:?}");
    assert!(!ended.stdout.contains("not mended"), "{ended:?}");
    assert_eq!(faults_of_users(&shop).await, json!([]));

    // What cannot be mended is said, too.
    let scenario = slow_user_service(&shop).await;
    let pid = fs::read_to_string(shop.run_dir().join("user-service.pid")).expect("it runs");
    signal(pid.trim().parse().expect("a number"), "KILL").expect("it runs");
    scenario.signal("INT").expect("it runs");
    let ended = scenario.ended_async(2 * TIMEOUT).await.expect("it ends");
    let said = ended
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let part = "It was stopped. What it broke is not mended: DELETE http";
    assert!(said.contains(part), "{ended:?}");
}

/// The scenario of this name, at the moment when user-service is slow.
async fn slow_user_service(shop: &Shop) -> Process {
    let scenario = shop.start("scenario.sh", &["run", "slow-user-service"], Stdio::null());
    let scenario = scenario.expect("it starts");
    let deadline = Instant::now() + 4 * TIMEOUT;
    loop {
        let line = scenario.stdout.next(TIMEOUT).expect("it goes on");
        if line.contains("user-service answers 500 ms later") {
            break;
        }
        assert!(Instant::now() < deadline, "{line}");
    }
    while faults_of_users(shop).await == json!([]) {
        assert!(Instant::now() < deadline, "the fault is not set");
    }
    scenario
}

#[tokio::test]
async fn misuse_is_one_sentence() {
    let shop = Shop::new().expect("five ports");
    let list = run(&shop, "scenario.sh", &["list"]).await;
    assert!(
        list.worked && list.said.contains("rolling-deploy"),
        "{}",
        list.said
    );
    for (script, words, part) in [
        (
            "load.sh",
            &["5", "--seconds", "2"][..],
            "scripts/start.sh starts it",
        ),
        ("scenario.sh", &[], "expected list, run <name>"),
        ("scenario.sh", &["run"], "which one?"),
        ("scenario.sh", &["explode"], "expected list, run <name>"),
        ("scenario.sh", &["list", "--predict"], "expected list"),
        (
            "load.sh",
            &["0"],
            "the rate is \"0\", expected a whole number, 1 to 2000",
        ),
        ("load.sh", &["--seconds", "soon"], "--seconds is \"soon\""),
        ("load.sh", &["--fast"], "--fast"),
    ] {
        let misused = run(&shop, script, words).await;
        let said = misused.said.trim();
        assert!(!misused.worked && said.contains(part), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // Nothing was started for it.
    let unknown = run(&shop, "scenario.sh", &["run", "nobody"]).await;
    assert!(
        unknown
            .said
            .contains("there is no scenario called \"nobody\""),
        "{}",
        unknown.said
    );
}

#[tokio::test]
async fn load_says_how_the_shop_does() {
    let shop = Shop::new().expect("five ports").with("RATE_LIMIT", "40");
    assert!(run(&shop, "start.sh", &[]).await.worked);
    let direct = run(&shop, "load.sh", &["40", "--seconds", "4", "--direct"]).await;
    assert!(direct.worked, "{}", direct.said);
    let summary = direct
        .said
        .lines()
        .find(|line| line.contains(" requests in 4 s:"));
    let count = summary.and_then(|line| line.split(' ').next()?.parse::<u32>().ok());
    let count = count.unwrap_or_else(|| panic!("{}", direct.said));
    assert!((100..220).contains(&count), "{count} of 40 a second in 4 s");
    let last = direct.last_line();
    assert!(
        last.contains("errors   0.0 %  p50 ") && last.contains(" ms"),
        "{last}"
    );
    // They browse, order and cancel.
    let (_, stats) = ask(&shop, Method::GET, "/api/orders/stats", None).await;
    assert!(stats["confirmed"].as_u64() > Some(5), "{stats}");
    assert!(stats["cancelled"].as_u64() > Some(2), "{stats}");

    // More than the gateway lets through is no error.
    let limited = run(&shop, "load.sh", &["150", "--seconds", "3"]).await;
    assert!(limited.worked, "{}", limited.said);
    assert!(
        limited.said.contains(" 429 rate_limited"),
        "{}",
        limited.said
    );
    assert!(
        limited.said.contains("RATE_LIMIT=off scripts/start.sh"),
        "{}",
        limited.said
    );
    assert!(limited.said.contains("errors   0.0 %"), "{}", limited.said);

    // A service that fails is seen, and Ctrl-C ends it with a summary.
    let load = shop
        .start("load.sh", &["30", "--direct"], Stdio::null())
        .expect("it starts");
    let first = load.stdout.next(TIMEOUT).expect("what it does");
    assert!(first.ends_with("Ctrl-C ends it."), "{first}");
    let broken = run(&shop, "break.sh", &["user-service", "errors", "100%"]).await;
    assert!(broken.worked, "{}", broken.said);
    loop {
        let line = load
            .stdout
            .next(TIMEOUT)
            .expect("a line every three seconds");
        if line.contains("500 fault") && line.contains("503 dependency_unavailable") {
            break;
        }
    }
    signal(load.id(), "INT").expect("it runs");
    let ended = load.ended_async(2 * TIMEOUT).await.expect("it ends");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stdout.contains(" requests in "), "{ended:?}");
}

#[tokio::test]
async fn the_gateway_runs_a_scenario_for_a_page() {
    let shop = Shop::new().expect("five ports");
    assert!(run(&shop, "start.sh", &[]).await.worked);
    let (status, list) = ask(&shop, Method::GET, "/lab/scenarios", None).await;
    assert_eq!(status, 200);
    let list = list.as_array().expect("a list");
    assert_eq!(list.len(), scenario::ALL.len());
    let needs = |name: &str| {
        let one = list.iter().find(|one| one["name"] == name);
        one.expect("it is there")["needs"].clone()
    };
    assert_eq!(needs("last-five"), Value::Null);
    assert_eq!(needs("rolling-deploy"), json!("terminal"));

    let path = |name: &str| format!("/lab/scenarios/{name}/run");
    let (run, slow) = (path("last-five"), path("slow-user-service"));
    for (method, path, body, expected) in [
        (Method::GET, run.clone(), None, 404),
        (Method::DELETE, run.clone(), None, 404),
        (Method::POST, path("nobody"), None, 404),
        (Method::POST, path("rolling-deploy"), None, 409),
        (Method::POST, run.clone(), Some(json!({"choice": 4})), 400),
        (
            Method::POST,
            run.clone(),
            Some(json!({"choice": "one"})),
            400,
        ),
        (Method::PUT, run.clone(), None, 405),
        (Method::POST, "/lab/scenarios".to_owned(), None, 405),
        (
            Method::GET,
            "/lab/scenarios/last-five".to_owned(),
            None,
            404,
        ),
        (Method::POST, run.clone(), Some(json!({"choice": 2})), 202),
        (Method::POST, slow.clone(), None, 409),
    ] {
        let (status, said) = ask(&shop, method.clone(), &path, body).await;
        assert_eq!(status, expected, "{method} {path}: {said}");
    }
    let ended = until_ended(&shop, &run).await;
    assert_eq!(ended["state"], "done", "{ended:#}");
    assert_eq!(ended["choice"], 2);
    assert_eq!(ended["answer"], 1);
    let phases = ended["phases"].as_array().expect("phases");
    let (before, after) = (&phases[0], &phases[phases.len() - 1]);
    assert_eq!(after["counts"]["stock"], 0.0);
    assert_eq!(after["outcomes"]["409 insufficient_stock"], 45);
    assert_eq!(ended["assertions"][0]["holds"], true);
    assert!(before["p50Ms"].as_f64() > Some(0.0), "{ended:#}");

    // One that is stopped mends what it broke.
    assert_eq!(ask(&shop, Method::POST, &slow, None).await.0, 202);
    let deadline = Instant::now() + 2 * TIMEOUT;
    while faults_of_users(&shop).await == json!([]) {
        assert!(Instant::now() < deadline, "the fault is not set");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&shop, Method::DELETE, &slow, None).await.0, 202);
    let stopped = until_ended(&shop, &slow).await;
    assert_eq!(stopped["state"], "failed");
    assert_eq!(stopped["error"], "It was stopped.");
    assert_eq!(faults_of_users(&shop).await, json!([]));
}

async fn until_ended(shop: &Shop, path: &str) -> Value {
    let deadline = Instant::now() + 4 * TIMEOUT;
    loop {
        let (status, report) = ask(shop, Method::GET, path, None).await;
        assert_eq!(status, 200);
        if report["state"] != "running" {
            return report;
        }
        assert!(Instant::now() < deadline, "{report:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn without_lab_mode_there_are_no_scenarios() {
    let shop = Shop::new().expect("five ports").with("LAB_MODE", "off");
    assert!(run(&shop, "start.sh", &["gateway"]).await.worked);
    for path in ["/lab/scenarios", "/lab/scenarios/last-five/run"] {
        let (status, _) = ask(&shop, Method::GET, path, None).await;
        assert_eq!(status, 404, "{path}");
    }
}
