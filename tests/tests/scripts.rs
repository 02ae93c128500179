//! The scripts: run from elsewhere they delete nothing, the demo runs the steps that it is
//! asked for, and a swap outlives the service.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use harness::PATIENCE;
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

/// Kills all five at once, as a machine does that runs out of memory.
async fn crash(shop: &Shop) {
    for service in SERVICES {
        let noted = fs::read_to_string(shop.run_dir().join(format!("{service}.pid")));
        let process = noted.expect("a process id").trim().parse();
        signal(process.expect("a number"), "KILL").expect("it runs");
    }
    for service in SERVICES {
        let is_gone = refuses(shop.address(service), PATIENCE).await;
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
    let script = format!("#!/bin/sh\nexec '{comparison}' serve --framework axum\n");
    fs::write(&own, script).expect("is written");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).expect("can be run");
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

#[tokio::test]
async fn each_step_of_the_demo_runs_alone_after_those_it_needs() {
    let shop = Shop::new().expect("five ports");
    run(&shop, "start.sh", &[]).await;
    let list = run(&shop, "demo.sh", &["--list"]).await;
    let steps: Vec<_> = list
        .said
        .lines()
        .filter_map(|line| line.split_whitespace().next())
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
        "1/7  Do all services run?",
        "checks passed in 7 steps",
        "- The customer orders two: skipped as asked",
        "- Proof: the stock is down: needs the step \"order\"",
        "- An order while notification-service is down: skipped as asked",
    ] {
        assert!(ran.said.contains(part), "{part}: {}", ran.said);
    }
    for (words, refusal) in [
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
        let ended = running.ended_async(PATIENCE).await;
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
