//! `scripts/break.sh` and `scripts/lab.sh` break with the same verbs. A program in the place of
//! `docker` says that the services of a shop are containers, and stops and starts them.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::TIMEOUT;
use harness::raw::{self, refuses};
use serde_json::Value;
use shop_tests::program::SERVICES;
use shop_tests::scripts::{Ran, Shop};

/// A `docker` whose containers are the services of the shop in `$SHOP`, with their names for ids.
const DOCKER: &str = r#"#!/usr/bin/env bash
scripts=$SCRIPTS
export RUN_DIR=$SHOP
unset DOCKER_HOST
state() { if [ -e "$RUN_DIR/$1.pid" ]; then echo running 0 healthy; else echo exited 0 -; fi; }
case $1 in
    (version) echo 20.10.0 ;;
    (compose) ;;
    (ps) case "$*" in (*analytics-replica*) ;; (*) printf '%s\n' $CONTAINERS ;; esac ;;
    (inspect)
        port=$BASE_PORT
        for service in $CONTAINERS; do
            [ "$service" = gateway ] && port=$((BASE_PORT - 1))
            echo "$service $service $(state "$service") $port"
            port=$((port + 1))
        done
        ;;
    (stop) "$scripts/stop.sh" "${!#}" ;;
    (start) "$scripts/start.sh" "${!#}" ;;
    (*) echo "docker $*: not expected" >&2; exit 1 ;;
esac
"#;

/// Runs a script that has another `RUN_DIR` than the shop, so that it sees containers only.
async fn run(shop: &Shop, script: &str, words: &[&str]) -> Ran {
    let folder = shop.run_dir().join("docker");
    let containers: Vec<_> = SERVICES.into_iter().chain(["gateway"]).collect();
    let mut path = folder.clone().into_os_string();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let variables = [
        ("PATH", path),
        ("SHOP", shop.run_dir().into()),
        ("SCRIPTS", scripts.into()),
        ("CONTAINERS", containers.join(" ").into()),
        ("RUN_DIR", folder.join("run").into()),
    ];
    let ran = shop.run_with(script, words, &variables).await;
    ran.expect("it ends")
}

async fn ask(shop: &Shop, service: &str, path: &str) -> Result<(u16, Value), String> {
    let got = raw::get(shop.address(service), path).await?;
    let body = serde_json::from_slice(&got.body).unwrap_or_default();
    Ok((got.status, body))
}

#[tokio::test]
async fn both_break_and_mend_with_the_same_verbs() {
    let shop = Shop::new().expect("five ports");
    let folder = shop.run_dir().join("docker");
    fs::create_dir_all(&folder).expect("a directory");
    fs::write(folder.join("docker"), DOCKER).expect("a program");
    fs::set_permissions(folder.join("docker"), fs::Permissions::from_mode(0o755))
        .expect("its mode");
    let started = shop.run("start.sh", &[]).await.expect("it ends");
    assert!(started.worked, "{}", started.said);

    for script in ["lab.sh", "break.sh"] {
        let broken: &[&str] = if script == "lab.sh" { &["break"] } else { &[] };
        for (verb, kind) in [
            (&["delay", "5ms"][..], "latency"),
            (&["errors", "30%"], "status"),
            (&["hang"], "hang"),
            (&["close"], "close"),
            (&["garbage"], "garbage"),
        ] {
            let ran = run(&shop, script, &[broken, &["user-service"], verb].concat()).await;
            assert!(ran.worked, "{script} {verb:?}: {}", ran.said);
            let mend = format!("scripts/{script} mend repairs it.");
            assert!(ran.said.contains(&mend), "{}", ran.said);
            let (_, faults) = ask(&shop, "user-service", "/lab/faults")
                .await
                .expect("an answer");
            assert_eq!(faults[0]["kind"], kind, "{script} {verb:?}");
            assert_eq!(
                faults.as_array().map(Vec::len),
                Some(1),
                "it replaces the one before"
            );
        }
        let down = run(
            &shop,
            script,
            &[broken, &["notification-service", "down"]].concat(),
        )
        .await;
        assert!(down.worked, "{}", down.said);
        assert!(refuses(shop.address("notification-service"), TIMEOUT).await);
        let again = run(
            &shop,
            script,
            &[broken, &["notification-service", "down"]].concat(),
        )
        .await;
        assert!(!again.worked, "{}", again.said);
        assert!(again.said.contains("it is exited (0)"), "{}", again.said);

        let mended = run(&shop, script, &["mend"]).await;
        assert!(mended.worked, "{}", mended.said);
        for part in [
            "Started: notification-service; what it had in memory is gone.",
            "No faults any more: user-service.",
            "All six are healthy, and ready.",
        ] {
            assert!(mended.said.contains(part), "{}", mended.said);
        }
        let users = ask(&shop, "user-service", "/api/users").await;
        assert_eq!(users.map(|(status, _)| status), Ok(200));
        let nothing = run(&shop, script, &["mend"]).await;
        assert_eq!(nothing.said.trim(), "Nothing is broken.", "{script}");

        for words in [
            &["user-service"][..],
            &["user-service", "explode"],
            &["user-service", "delay"],
            &["user-service", "errors", "101%"],
            &["user-service", "hang", "5"],
            &["user-service", "down", "5"],
            &["user-service", "delay", "5ms", "5ms"],
            &["nobody", "down"],
        ] {
            let misused = run(&shop, script, &[broken, words].concat()).await;
            assert!(!misused.worked, "{script} {words:?}: {}", misused.said);
            assert_eq!(misused.said.trim().lines().count(), 1, "{}", misused.said);
        }
    }

    // One service alone, and the rest of what acts on a running shop.
    for words in [&["user-service", "close"], &["product-service", "close"]] {
        assert!(run(&shop, "break.sh", words).await.worked);
    }
    let one = run(&shop, "break.sh", &["mend", "user-service"]).await;
    assert!(one.worked, "{}", one.said);
    let users = ask(&shop, "user-service", "/api/users").await;
    assert_eq!(users.map(|(status, _)| status), Ok(200));
    assert!(
        ask(&shop, "product-service", "/api/products")
            .await
            .is_err()
    );
    assert!(
        run(&shop, "reset.sh", &[]).await.worked,
        "it ends faults too"
    );
    assert!(run(&shop, "seed.sh", &[]).await.worked);
    let products = ask(&shop, "product-service", "/api/products").await;
    let (status, products) = products.expect("an answer");
    assert_eq!((status, products.as_array().map(Vec::len)), (200, Some(3)));
}
