//! The scripts: run from elsewhere they delete nothing, the demo runs the steps that it is
//! asked for, and a swap outlives the service.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::Duration;

use harness::TIMEOUT;
use harness::process::{Ended, Process, signal};
use harness::raw::{self, refuses};
use serde_json::Value;
use shop_tests::program::{SERVICES, programs};
use shop_tests::scripts::{self, Ran, Shop};

const PRODUCTS: &str = "product-service";

/// Runs a script that must do what it is to do.
async fn run(shop: &Shop, script: &str, words: &[&str]) -> Ran {
    let ran = shop.run(script, words).await.expect("it ends");
    assert!(ran.worked, "{script} {words:?}: {}", ran.said);
    ran
}

/// The framework that a script shows in its table, if product-service itself says the
/// same.
async fn framework(shop: &Shop, ran: &Ran) -> String {
    let mut rows = ran.said.lines().map(str::split_whitespace);
    let shown = rows.find_map(|mut row| (row.next() == Some(PRODUCTS)).then(|| row.next()));
    let health = raw::get(shop.address(PRODUCTS), "/health").await;
    let health: Value = health.expect("an answer").json();
    assert_eq!(
        shown.flatten(),
        health["framework"].as_str(),
        "{}",
        ran.said
    );
    shown.flatten().unwrap_or_default().to_owned()
}

/// Writes a program that runs these lines in a shell.
fn write_program(path: &Path, lines: &str) {
    fs::write(path, format!("#!/bin/sh\n{lines}\n")).expect("is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("can be run");
}

/// Kills all programs at once, as a machine does that runs out of memory.
async fn crash(shop: &Shop) {
    let all = || SERVICES.into_iter().chain(["gateway"]);
    for service in all() {
        let noted = fs::read_to_string(shop.run_dir().join(format!("{service}.pid")));
        let process = noted.expect("a process id").trim().parse();
        signal(process.expect("a number"), "KILL").expect("it runs");
    }
    for service in all() {
        let is_gone = refuses(shop.address(service), TIMEOUT).await;
        assert!(is_gone, "{service} outlives a SIGKILL");
    }
}

#[tokio::test]
async fn a_swap_outlives_product_service_and_not_the_shop() {
    let shop = Shop::new().expect("five ports");
    // A program of one's own, which is on axum.
    let own = shop.run_dir().join("own-program");
    let comparison = programs().join("framework-comparison");
    let comparison = comparison.display();
    write_program(&own, &format!("exec '{comparison}' serve --framework axum"));
    let own = own.to_string_lossy();

    let started = run(&shop, "start.sh", &[]).await;
    assert_eq!(framework(&shop, &started).await, "rocket");
    for words in [
        &["product", "poem"][..],
        &["product", "axum", "--program", &own],
    ] {
        let swapped = run(&shop, "swap.sh", words).await;
        assert_eq!(framework(&shop, &swapped).await, words[1]);
        run(&shop, "stop.sh", &[PRODUCTS]).await;
        let back = run(&shop, "start.sh", &[]).await;
        assert_eq!(framework(&shop, &back).await, words[1], "while others run");

        crash(&shop).await;
        // Whichever is the first of the new shop.
        run(&shop, "start.sh", &["user-service"]).await;
        let new = run(&shop, "start.sh", &[]).await;
        assert_eq!(framework(&shop, &new).await, "rocket", "in a new shop");
    }

    run(&shop, "stop.sh", &SERVICES[..1]).await;
    run(&shop, "stop.sh", &SERVICES[2..]).await;
    let alone = run(&shop, "swap.sh", &["product", "warp"]).await;
    assert_eq!(framework(&shop, &alone).await, "warp", "with nobody else");
    let all = run(&shop, "start.sh", &[]).await;
    assert_eq!(framework(&shop, &all).await, "warp", "one of them ran");
}

/// Which instances of analytics-service get requests from the gateway of the shop.
async fn known(shop: &Shop) -> Vec<String> {
    let status = raw::get(shop.address("gateway"), "/status").await;
    let status = status.expect("an answer").expect(200);
    let instances = status["services"][4]["instances"].as_array();
    let up = instances.expect("a list").iter();
    let up = up.filter(|one| one["state"] == "up");
    let mut urls: Vec<_> = up
        .map(|one| one["url"].as_str().expect("a URL").to_owned())
        .collect();
    urls.sort();
    urls
}

#[tokio::test]
async fn a_service_without_records_can_have_several_instances() {
    const ANALYTICS: &str = "analytics-service";
    let shop = Shop::new().expect("five ports");
    let urls = |numbers: std::ops::RangeInclusive<u16>| {
        let urls = numbers.map(|number| shop.further_address(ANALYTICS, number));
        let mut urls: Vec<_> = urls.map(|address| format!("http://{address}")).collect();
        urls.sort();
        urls
    };
    let started = run(&shop, "start.sh", &["--instances", "analytics-service=3"]).await;
    for row in [
        "analytics-service.2 ",
        "analytics-service.3 ",
        "8 services ready",
    ] {
        assert!(started.said.contains(row), "{}", started.said);
    }
    assert_eq!(known(&shop).await, urls(1..=3));
    let health = run(&shop, "health.sh", &[]).await;
    assert!(
        health.said.contains("All 8 are healthy."),
        "{}",
        health.said
    );
    let logs = run(&shop, "logs.sh", &["--once", ANALYTICS]).await;
    assert_eq!(
        logs.said.matches("INFO registered").count(),
        3,
        "{}",
        logs.said
    );

    // One of them alone, which a start brings back.
    let second = shop.further_address(ANALYTICS, 2);
    run(&shop, "stop.sh", &["analytics-service.2"]).await;
    assert!(refuses(second, TIMEOUT).await);
    assert_eq!(
        known(&shop).await,
        [&urls(1..=1)[..], &urls(3..=3)].concat()
    );
    run(&shop, "start.sh", &["--instances", "analytics-service=2"]).await;
    assert_eq!(known(&shop).await, urls(1..=2), "the third one is stopped");
    let gateways = run(&shop, "start.sh", &["--instances", "gateway=2"]).await;
    assert!(gateways.said.contains("gateway.2 "), "{}", gateways.said);
    let other = shop.further_address("gateway", 2);
    let deadline = std::time::Instant::now() + TIMEOUT;
    while raw::get(other, "/api/analytics/summary")
        .await
        .expect("an answer")
        .status
        != 200
    {
        assert!(std::time::Instant::now() < deadline, "it finds no instance");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    for (words, status, part) in [
        ("user-service=2", false, "it keeps its users in memory"),
        ("order-service=3", false, "Several need a shared database"),
        ("user-service=1", true, "Already running"),
        ("analytics-service=6", false, "a service and 1 to 5"),
        ("analytics-service", false, "a service and 1 to 5"),
        (
            "payment-service=2",
            false,
            "there is no service called payment-service",
        ),
    ] {
        let words = ["--instances", words, "user-service"];
        let ran = shop.run("start.sh", &words).await.expect("it ends");
        assert_eq!(ran.worked, status, "{words:?}: {}", ran.said);
        assert!(ran.said.contains(part), "{words:?}: {}", ran.said);
    }
    let stopped = run(&shop, "stop.sh", &[ANALYTICS]).await;
    assert_eq!(
        stopped.said.matches("Stopped ").count(),
        2,
        "{}",
        stopped.said
    );
    let stopped = run(&shop, "stop.sh", &[]).await;
    assert!(
        stopped.said.contains("Stopped gateway.2"),
        "{}",
        stopped.said
    );
    let alone = run(&shop, "start.sh", &["analytics-service", "gateway"]).await;
    assert!(
        !alone.said.contains("analytics-service.2"),
        "{}",
        alone.said
    );
    assert_eq!(known(&shop).await, urls(1..=1));
}

#[tokio::test]
async fn what_is_broken_can_be_seen_and_mended() {
    let shop = Shop::new().expect("five ports");
    let silent = shop.run("seed.sh", &[]).await.expect("it ends");
    assert!(!silent.worked, "nothing runs: {}", silent.said);
    assert!(silent.said.contains("scripts/start.sh"), "{}", silent.said);
    run(&shop, "start.sh", &[]).await;
    let get = async |service: &str, path: &str| raw::get(shop.address(service), path).await;
    let users = async || {
        get("user-service", "/api/users")
            .await
            .map(|got| got.status)
    };

    run(&shop, "seed.sh", &[]).await;
    let dashboard = get("gateway", "/api/users/1/dashboard").await;
    assert_eq!(dashboard.expect("an answer").status, 200);
    let again = shop.run("seed.sh", &[]).await.expect("it ends");
    assert!(!again.worked, "{}", again.said);

    for (words, broken) in [
        (&["delay", "0ms"][..], Ok(200)),
        (&["errors", "100%"], Ok(500)),
        (&["errors", "0%"], Ok(200)),
        (&["garbage"], Ok(200)),
    ] {
        run(&shop, "break.sh", &[&["user-service"], words].concat()).await;
        assert_eq!(users().await, broken, "{words:?}");
    }
    let faults = get("user-service", "/lab/faults").await.expect("an answer");
    assert_eq!(faults.json()[0]["kind"], "garbage");
    run(&shop, "break.sh", &["user-service", "close"]).await;
    assert!(users().await.is_err(), "it closes the connection");
    run(&shop, "break.sh", &["product-service", "hang"]).await;
    run(&shop, "break.sh", &["notification-service", "down"]).await;
    assert!(refuses(shop.address("notification-service"), TIMEOUT).await);
    run(&shop, "break.sh", &["mend"]).await;
    for (service, path) in [
        ("user-service", "/api/users"),
        ("product-service", "/api/products"),
        ("notification-service", "/api/notifications"),
    ] {
        let mended = get(service, path).await.map(|got| got.status);
        assert_eq!(mended, Ok(200), "{service}");
    }

    run(&shop, "reset.sh", &[]).await;
    let empty = get("user-service", "/api/users").await.expect("an answer");
    assert_eq!(empty.json(), Value::Array(Vec::new()));
    for words in [
        &[][..],
        &["user-service"],
        &["user-service", "explode"],
        &["nobody", "hang"],
        &["user-service", "delay"],
        &["user-service", "delay", "61s"],
        &["user-service", "errors", "30"],
        &["user-service", "errors", "101%"],
    ] {
        let misused = shop.run("break.sh", words).await.expect("it ends");
        assert!(!misused.worked, "{words:?}: {}", misused.said);
        assert_eq!(misused.said.trim().lines().count(), 1, "{}", misused.said);
    }
    let faults = get("user-service", "/lab/faults").await.expect("an answer");
    assert_eq!(faults.json(), Value::Array(Vec::new()), "nothing was set");
}

#[tokio::test]
async fn each_step_of_the_demo_runs_alone_after_those_it_needs() {
    let shop = Shop::new().expect("five ports");
    run(&shop, "start.sh", &[]).await;
    let list = run(&shop, "demo.sh", &["--list"]).await;
    let steps: Vec<_> = list
        .said
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert!(
        steps.starts_with(&["health", "user", "product"]),
        "{}",
        list.said
    );
    for step in steps {
        let alone = run(&shop, "demo.sh", &["--only", step]).await;
        assert!(alone.said.contains("checks passed"), "{}", alone.said);
        let unasked = step != "analytics" && alone.said.contains("Proof: analytics");
        assert!(!unasked, "{step}: {}", alone.said);
    }
}

#[tokio::test]
async fn the_demo_skips_a_step_and_those_that_need_it() {
    let shop = Shop::new().expect("five ports");
    run(&shop, "start.sh", &[]).await;
    let words = ["--skip", "order", "--skip", "outage"];
    let ran = run(&shop, "demo.sh", &words).await;
    for part in [
        "1/17  Do all services run?",
        "checks passed in 7 steps",
        "- The customer orders two: skipped as asked",
        "- Proof: the stock is down: needs the step \"order\"",
        "- An order while notification-service is down: skipped as asked",
    ] {
        assert!(ran.said.contains(part), "{part}: {}", ran.said);
    }
    let seen = run(&shop, "demo.sh", &["--step", "6"]).await.said;
    for part in [
        "First, unseen: A customer signs up",
        "6/17  Proof",
        "in 4 steps",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    assert!(!seen.contains("2/17"), "{seen}");
    let last = run(&shop, "demo.sh", &["--from", "15"]).await.said;
    assert!(last.contains("15/17") && last.contains("16/17"), "{last}");
    assert!(!last.contains("13/17"), "nothing needs it: {last}");
    for (words, refusal) in [
        (
            &["--step", "18"][..],
            "--step is \"18\", expected the number of a step, 1 to 17",
        ),
        (&["--from"], "--from is \"\", expected the number of a step"),
        (
            &["--skip", "lunch"][..],
            "--skip is \"lunch\", expected a step",
        ),
        (&["--only"], "--only is \"\", expected a step"),
        (
            &["--only", "user", "--skip", "user"],
            "no step is left to run",
        ),
    ] {
        let refused = shop.run("demo.sh", words).await.expect("it ends");
        assert!(!refused.worked, "{}", refused.said);
        assert!(refused.said.contains(refusal), "{}", refused.said);
    }
}

/// How a user may come to run a script that is not where they are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Through a symbolic link to a symbolic link to it.
    Linked,
    /// Through a symbolic link to its directory.
    LinkedDirectory,
    /// As the standard input of its interpreter.
    Piped,
    /// As a copy, without the other files.
    Copied,
}

/// A temporary directory with a file in it; removed when dropped.
struct Elsewhere {
    root: PathBuf,
}

const KEPT: &str = "must be kept";

impl Elsewhere {
    fn new() -> Self {
        let root = env::temp_dir().join(format!("elsewhere-{}", process::id()));
        // A script that goes to the directory above is still in this one.
        fs::create_dir_all(root.join("here")).expect("a temporary directory");
        fs::write(root.join("here/file"), KEPT).expect("a file");
        Self { root }
    }

    fn here(&self) -> PathBuf {
        self.root.join("here")
    }

    /// Runs a script in the directory with the file.
    async fn run(&self, script: &Path, way: Way) -> Ended {
        let text = fs::read_to_string(script).expect("a script is text");
        let python = text.starts_with("#!/usr/bin/env python3\n");
        assert!(python || text.starts_with("#!/usr/bin/env bash\n"));
        let mut command = Command::new(if python { "python3" } else { "bash" });
        let name = script.file_name().expect("a file has a name");
        let outside = self.root.join("outside");
        fs::create_dir(&outside).expect("a directory");
        let mut input = Stdio::null();
        match way {
            Way::Linked => {
                symlink(script, outside.join("first")).expect("a link");
                symlink("first", outside.join("second")).expect("a link");
                command.arg("../outside/second").arg("--help");
            }
            Way::LinkedDirectory => {
                let directory = script.parent().expect("a file is in a directory");
                symlink(directory, outside.join("linked")).expect("a link");
                command
                    .arg(Path::new("../outside/linked").join(name))
                    .arg("--help");
            }
            Way::Piped => {
                input = fs::File::open(script).expect("it can be read").into();
                if python {
                    command.args(["-", "--help"]);
                }
            }
            Way::Copied => {
                fs::copy(script, outside.join(name)).expect("a copy");
                command.arg(Path::new("../outside").join(name));
                if python {
                    command.arg("--help");
                }
            }
        }
        command
            .current_dir(self.here())
            .env("CDPATH", &self.root)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("RUN_DIR")
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let running = Process::start(&mut command).expect("it can be run");
        let ended = running.ended_async(TIMEOUT).await;
        let ended = ended.unwrap_or_else(|fault| panic!("{} {way:?}: {fault}", script.display()));
        fs::remove_dir_all(outside).expect("it is there");
        ended
    }

    /// The names of the files here and one above.
    fn files(&self) -> Vec<PathBuf> {
        let all = [fs::read_dir(&self.root), fs::read_dir(self.here())];
        let entries = all
            .into_iter()
            .flat_map(|folder| folder.expect("it is there"));
        entries
            .map(|entry| entry.expect("it is there").path())
            .collect()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[tokio::test]
async fn a_script_run_from_elsewhere_works_or_stops_and_deletes_nothing() {
    let elsewhere = Elsewhere::new();
    let before = elsewhere.files();
    let scripts = scripts::all().expect("they can be read");
    for known in ["scripts/start.sh", ".ci/run", ".ci/readme_tour.py"] {
        assert!(
            scripts.iter().any(|script| script.ends_with(known)),
            "{known}"
        );
    }
    for script in scripts {
        let is_bash = script.extension().is_none_or(|extension| extension != "py");
        for way in [Way::Linked, Way::LinkedDirectory, Way::Piped, Way::Copied] {
            let ran = elsewhere.run(&script, way).await;
            let told = format!("{} {way:?}: {ran:?}", script.display());
            let worked = ran.status == Some(0);
            let works = worked && ran.stderr.is_empty();
            let stops = !worked && ran.stderr.lines().count() == 1;
            match way {
                Way::Linked | Way::LinkedDirectory => assert!(works, "{told}"),
                Way::Piped | Way::Copied if is_bash => assert!(stops, "{told}"),
                Way::Piped | Way::Copied => assert!(works || stops, "{told}"),
            }
            let kept = fs::read_to_string(elsewhere.here().join("file"));
            assert_eq!(kept.ok().as_deref(), Some(KEPT), "{told}");
            assert_eq!(elsewhere.files(), before, "{told}");
        }
    }
}

/// A screen of a projector.
const SCREEN: (usize, usize) = (80, 24);

#[tokio::test]
async fn each_step_of_both_acts_passes_and_fits_a_screen() {
    let shop = Shop::new().expect("five ports");
    run(&shop, "start.sh", &[]).await;
    for words in [&[][..], &["--failures"]] {
        let ran = run(&shop, "demo.sh", words).await;
        assert!(!ran.said.contains("SKIPPED"), "{}", ran.said);
        let is_title = |line: &str| {
            line.split_once('/').is_some_and(|(number, rest)| {
                number.parse::<u8>().is_ok() && rest.starts_with(|c: char| c.is_ascii_digit())
            })
        };
        let lines: Vec<_> = ran.said.lines().collect();
        let starts: Vec<_> = (0..lines.len()).filter(|&at| is_title(lines[at])).collect();
        assert!(starts.len() >= 9, "{starts:?} in {}", ran.said);
        let summary = lines.iter().position(|line| line.contains("checks passed"));
        let ends = starts[1..].iter().copied().chain(summary);
        for (start, end) in starts.iter().copied().zip(ends) {
            let step = &lines[start..end];
            let too_long = step.iter().find(|line| line.chars().count() > SCREEN.0);
            assert_eq!(too_long, None, "in {}", step[0]);
            // The empty line before the next step becomes the prompt of --pause.
            assert!(step.len() <= SCREEN.1, "{} lines: {step:#?}", step.len());
        }
    }
}

#[tokio::test]
async fn a_paused_demo_waits_between_a_command_and_its_response() {
    let shop = Shop::new().expect("five ports");
    run(&shop, "start.sh", &["user-service"]).await;
    let (input, mut keyboard) = io::pipe().expect("a pipe");
    let demo = shop.start("demo.sh", &["--step", "2", "--pause"], input);
    let demo = demo.expect("it starts");
    let mut said = String::new();
    let mut read_until = |part: &str, within| {
        while let Some(line) = demo.stdout.next(within) {
            said.push_str(&line);
            said.push('\n');
            if line.contains(part) {
                return Ok(());
            }
        }
        Err(said.clone())
    };
    read_until("        -d '{\"name\"", TIMEOUT).expect("the end of the command");
    let early = read_until("HTTP/1.1", Duration::from_millis(500));
    early.expect_err("a response before Enter");
    keyboard.write_all(b"\n").expect("it reads");
    read_until("What will it answer? Press Enter.", TIMEOUT).expect("the prompt");
    // At the end of its input, it goes on without pauses.
    drop(keyboard);
    read_until("The shop is still running", TIMEOUT).expect("the end");
    let ended = demo.ended_async(TIMEOUT).await.expect("it ends");
    assert_eq!(ended.status, Some(0), "{said}");
    assert!(said.contains("Press Enter.     HTTP/1.1 201"), "{said}");

    // It completed a shop that others use.
    assert!(said.contains("Part of the shop already ran"), "{said}");
    for service in SERVICES {
        let health = raw::get(shop.address(service), "/health").await;
        assert_eq!(health.map(|got| got.status), Ok(200), "{service}");
    }
}

#[tokio::test]
async fn the_log_of_a_request_is_short_lines_in_their_order() {
    let shop = Shop::new().expect("five ports");
    run(&shop, "start.sh", &[]).await;
    run(&shop, "demo.sh", &["--only", "order"]).await;
    let log = fs::read_to_string(shop.run_dir().join("order-service.log")).expect("a log");
    let id = log.split("\"requestId\":\"demo-").nth(1).expect("an id");
    let id = format!("demo-{}", id.split('"').next().unwrap_or_default());
    let shown = run(&shop, "logs.sh", &["--request", &id]).await.said;
    let shown: Vec<&str> = shown.trim().lines().collect();
    assert_eq!(shown.len(), 5, "{shown:?}");
    let last = shown[4];
    assert!(
        last.contains(" order        POST /api/orders 201 "),
        "{last}"
    );
    assert!(last.ends_with(&format!(" ms {id}")), "{last}");

    let all = run(&shop, "logs.sh", &["--once", "order-service"])
        .await
        .said;
    assert!(all.contains("INFO listening address=127.0.0.1"), "{all}");
    assert!(!all.contains("/health"), "polls are at debug: {all}");
    let unknown = shop
        .run("logs.sh", &["--request", "nobody"])
        .await
        .expect("it ends");
    assert!(
        !unknown.worked && unknown.said.contains("No line has"),
        "{}",
        unknown.said
    );
}

#[tokio::test]
async fn tables_fit_a_screen_and_a_curlrc_changes_nothing() {
    let home = env::temp_dir().join(format!("home-{}", process::id()));
    fs::create_dir_all(&home).expect("a directory");
    // Each of these would change what a script reads.
    fs::write(home.join(".curlrc"), "remote-name-all\ninclude\nverbose\n").expect("a file");
    let shop = Shop::new().expect("five ports").with("HOME", &home);
    for (script, words) in [
        ("start.sh", &[][..]),
        ("health.sh", &[]),
        ("demo.sh", &["--only", "user"]),
    ] {
        let ran = run(&shop, script, words).await;
        let long = ran
            .said
            .lines()
            .find(|line| line.chars().count() > SCREEN.0);
        assert_eq!(long, None, "{script}");
        assert!(
            !ran.said.contains("curl -s"),
            "only on request: {}",
            ran.said
        );
    }
    let asked = run(&shop, "health.sh", &["--curl"]).await.said;
    assert_eq!(asked.matches("curl -s -m 2").count(), 6, "{asked}");
    fs::remove_dir_all(home).expect("it is there");
}

#[tokio::test]
async fn a_shop_with_tls_says_how_to_reach_it() {
    let shop = Shop::new().expect("free ports").with("TLS", "self-signed");
    let said = run(&shop, "start.sh", &["gateway"]).await.said;
    let command = said.lines().find_map(|line| line.strip_prefix("HTTPS:"));
    let command = command.unwrap_or_else(|| panic!("no line says how: {said}"));
    let mut curl = Command::new("sh");
    curl.args(["-c", command]).env("no_proxy", "*");
    let ended = harness::process::run_async(&mut curl, TIMEOUT).await;
    let ended = ended.expect("it ends");
    assert_eq!(ended.status, Some(0), "{command}: {}", ended.stderr);
    assert!(
        ended.stdout.contains("\"service\":\"gateway\""),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn a_start_that_takes_too_long_says_so() {
    let shop = || Shop::new().expect("five ports");
    let refused = shop().with("START_TIMEOUT", "soon");
    let refused = refused.run("start.sh", &[]).await.expect("it ends");
    let expected = "START_TIMEOUT is \"soon\", expected whole seconds, 1 to 999";
    assert!(
        !refused.worked && refused.said.contains(expected),
        "{}",
        refused.said
    );

    let slow = shop().with("START_TIMEOUT", "1");
    let programs = slow.run_dir().to_owned();
    write_program(&programs.join("user-service"), "exec sleep 60");
    let slow = slow.with("BIN_DIR", programs);
    let late = slow.run("start.sh", &["user-service"]).await;
    let late = late.expect("it ends");
    assert!(!late.worked, "{}", late.said);
    for part in [
        "user-service was not ready within 1 s",
        "Stopped user-service",
    ] {
        assert!(late.said.contains(part), "{}", late.said);
    }
}

/// The values of variables in a `.env` file, as scripts/lab.sh reads them.
fn settings(env_file: &str, names: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = env::temp_dir().join(format!("settings-{}", process::id()));
    fs::create_dir_all(&folder).expect("a directory");
    fs::write(folder.join(".env"), env_file).expect("a file");
    let read = names.iter().map(|name| {
        let script = ". \"$1/scripts/lib.sh\"; . \"$1/scripts/compose.sh\"; setting \"$2\"";
        let mut command = Command::new("bash");
        command
            .args(["-c", script, "bash"])
            .arg(root.canonicalize().expect("it is there"))
            .arg(name)
            .current_dir(&folder)
            .env("FROM_ENVIRONMENT", "");
        let ended = harness::process::run(&mut command, TIMEOUT).expect("it ends");
        assert_eq!(ended.stderr, "", "{name}");
        ended.stdout
    });
    let read = read.collect();
    fs::remove_dir_all(folder).expect("it is there");
    read
}

#[test]
fn a_env_file_is_read_as_compose_reads_it() {
    let file = "# the ports\r\nFIRST=18001\r\nexport EXPORTED=1\n  SPACED = two words  \n\
        QUOTED=\"18002\" # why\nSINGLE='a # b'\nCOMMENTED=3 # three\nHASH=a#b\nTWICE=1\nTWICE=2\n\
        EMPTY=\n#OFF=1\nFROM_ENVIRONMENT=4\nFIRST_TOO=5\n";
    let names = [
        "FIRST",
        "EXPORTED",
        "SPACED",
        "QUOTED",
        "SINGLE",
        "COMMENTED",
        "HASH",
        "TWICE",
        "EMPTY",
        "OFF",
        "FROM_ENVIRONMENT",
        "ABSENT",
    ];
    let expected = [
        "18001",
        "1",
        "two words",
        "18002",
        "a # b",
        "3",
        "a#b",
        "2",
        "",
        "",
        "",
        "",
    ];
    assert_eq!(settings(file, &names), expected);
}

#[test]
fn a_script_in_another_shell_runs_or_says_that_it_needs_bash() {
    for script in scripts::all().expect("they can be read") {
        let text = fs::read_to_string(&script).expect("text");
        if !text.starts_with("#!/usr/bin/env bash\n") {
            continue;
        }
        // On some systems sh is bash.
        let mut command = Command::new("sh");
        let ended = harness::process::run(command.arg(&script).arg("--help"), TIMEOUT);
        let ended = ended.expect("it ends");
        let refuses = ended.status == Some(2)
            && ended.stderr.lines().count() == 1
            && ended.stderr.contains("needs bash");
        assert!(ended.status == Some(0) || refuses, "{script:?}: {ended:?}");
    }
}

/// A directory with programs that only note their arguments, for `PATH`.
fn noting(programs: &[&str]) -> PathBuf {
    let folder = env::temp_dir().join(format!("noting-{}", process::id()));
    fs::create_dir_all(&folder).expect("a directory");
    for name in programs {
        let program = folder.join(name);
        let noted = folder.join("noted");
        let script = format!("echo \"$*\" >>'{}'\nexit 1", noted.display());
        write_program(&program, &script);
    }
    folder
}

#[tokio::test]
async fn every_script_builds_from_the_same_selection_of_packages() {
    let folder = noting(&["cargo", "wrk", "oha"]);
    let mut path = folder.clone().into_os_string();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let shop = Shop::new()
        .expect("five ports")
        .with("PATH", path)
        .with("BIN_DIR", "");
    let runs: [(&str, &[&str]); 7] = [
        ("start.sh", &["user-service"]),
        ("load.sh", &[]),
        ("scenario.sh", &["list"]),
        ("demo.sh", &[]),
        ("contract.sh", &[]),
        ("compare.sh", &["--smoke"]),
        ("figures.sh", &["--smoke", "lines"]),
    ];
    for (script, words) in runs {
        let ran = shop.run(script, words).await.expect("it ends");
        assert!(!ran.worked, "{script}: {}", ran.said);
        let noted = fs::read_to_string(folder.join("noted"));
        let noted = noted.unwrap_or_else(|_| panic!("{script} calls no cargo: {}", ran.said));
        for command in noted.lines() {
            // A package would be another selection, so another build of the libraries.
            let selects_all = command.contains(" --workspace") && !command.contains(" -p ");
            assert!(selects_all, "{script}: cargo {command}");
        }
        fs::remove_file(folder.join("noted")).expect("it is there");
    }
    fs::remove_dir_all(folder).expect("it is there");

    // The others call the same function, or select all packages too.
    for script in scripts::all().expect("they can be read") {
        let text = fs::read_to_string(&script).expect("text");
        let inside = script
            .parent()
            .is_some_and(|folder| folder.ends_with("scripts"));
        for line in text
            .lines()
            .filter(|line| inside && !line.trim().starts_with('#'))
        {
            let compiles = ["bench", "build", "check", "run", "test"]
                .iter()
                .any(|command| line.contains(&format!("cargo {command}")));
            let selects_all = line.contains(" --workspace") && !line.contains(" -p ");
            assert!(!compiles || selects_all, "{}: {line}", script.display());
        }
    }
}

/// The features of each package in a build of the whole workspace, with these kinds of
/// dependencies.
fn features(edges: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    command
        .args([
            "tree",
            "--workspace",
            "--locked",
            "--offline",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p} {f}", "--edges", edges])
        .current_dir(root);
    let ended = harness::process::run(&mut command, 4 * TIMEOUT).expect("it ends");
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    let lines = ended.stdout.lines();
    let lines = lines.map(|line| line.trim_end_matches(" (*)").trim_end().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// Otherwise `cargo test` and `scripts/contract.sh` compile libraries that `scripts/start.sh` has
/// compiled before, with other features.
#[test]
fn the_tests_need_no_feature_of_a_library_that_the_programs_do_not() {
    let programs = features("no-dev");
    let tests = features("all");
    let name = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let built: BTreeSet<_> = programs.iter().map(|line| name(line)).collect();
    let again: Vec<_> = tests
        .difference(&programs)
        // The crates of this workspace have their path in the line.
        .filter(|line| built.contains(&name(line)) && !line.contains(" (/"))
        .collect();
    assert!(again.is_empty(), "with other features in tests: {again:#?}");
    assert!(programs.len() > 100, "{programs:?}");
}

#[test]
fn an_exercise_can_be_started_put_away_and_passed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let copy = env::temp_dir().join(format!("exercises-{}", process::id()));
    fs::create_dir_all(&copy).expect("a directory");
    for folder in ["scripts", "exercises"] {
        let mut command = Command::new("cp");
        command.arg("-R").arg(root.join(folder)).arg(&copy);
        harness::process::run(&mut command, TIMEOUT).expect("a copy");
    }
    // What a learner has done here is not part of this test.
    for learned in ["src/bin", "put-away"] {
        let _ = fs::remove_dir_all(copy.join("exercises").join(learned));
    }
    for number in 1..=8 {
        let _ = fs::remove_file(copy.join(format!("exercises/.passed-{number}")));
    }
    let exercise = |words: &[&str]| {
        let mut command = Command::new(copy.join("scripts/exercise.sh"));
        command
            .args(words)
            .env("NO_COLOR", "1")
            .env_remove("RUN_DIR");
        let ended = harness::process::run(&mut command, TIMEOUT).expect("it ends");
        assert_eq!(ended.status, Some(0), "{words:?}: {}", ended.stderr);
        ended.stdout
    };
    let list = || {
        let table = exercise(&["list"]);
        let first = table.lines().find(|line| line.starts_with("1 "));
        let state = first
            .and_then(|line| line.split("easy").nth(1))
            .unwrap_or_default();
        let last = table.lines().last().unwrap_or_default().to_owned();
        assert!(table.lines().all(|line| line.len() <= SCREEN.0), "{table}");
        (state.trim().to_owned(), last)
    };
    let told = |state: &str, next: &str| {
        (
            state.to_owned(),
            format!("Next:  scripts/exercise.sh {next}"),
        )
    };
    let file = copy.join("exercises/src/bin/exercise-1.rs");

    assert_eq!(list(), told("-", "start 1"));
    let task = exercise(&["start", "1"]);
    assert!(
        task.lines().all(|line| line.chars().count() <= SCREEN.0),
        "{task}"
    );
    for link in task
        .split('(')
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
    {
        let is_path = link.contains('/') && !link.contains(' ');
        assert!(!is_path || root.join(link).exists(), "{link} in {task}");
    }
    assert!(!task.contains("]("), "{task}");
    assert_eq!(list(), told("started", "check 1"));
    fs::write(&file, "mine").expect("is written");
    exercise(&["put-away", "1"]);
    assert!(!file.exists());
    assert_eq!(list(), told("put away", "start 1"));
    exercise(&["start", "1"]);
    assert_eq!(fs::read_to_string(&file).ok().as_deref(), Some("mine"));
    // What `check` does with a file that passes.
    fs::copy(&file, copy.join("exercises/.passed-1")).expect("a copy");
    assert_eq!(list(), told("passed", "start 2"));
    fs::write(&file, "changed").expect("is written");
    assert_eq!(list(), told("started", "check 1"));
    fs::remove_dir_all(copy).expect("it is there");
}
