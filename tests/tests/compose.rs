//! The files of the lab in containers, without a container engine: `docker-compose.yml` matches the
//! diagram of the README, each service is locked down and limited, and `.env.example` has all
//! variables. `.ci/run` shows that they work.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use chassis::serve::shutdown::GRACE;
use regex_lite::Regex;
use shop_tests::program::{CALLS, SERVICES};
use yaml_serde::Value;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

fn parse(path: &str) -> Value {
    let mut value: Value = yaml_serde::from_str(&read(path)).expect("YAML");
    // Each pass resolves one level of anchors.
    for _ in 0..3 {
        value.apply_merge().expect("anchors that are there");
    }
    value
}

/// The containers of `docker-compose.yml` by name, with anchors resolved.
fn containers() -> BTreeMap<String, Value> {
    let services = parse("docker-compose.yml")["services"].clone();
    yaml_serde::from_value(services).expect("services by name")
}

fn texts(value: &Value) -> BTreeSet<&str> {
    let list = value.as_sequence().into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}

fn port(service: &str) -> usize {
    let place = SERVICES.iter().position(|known| *known == service);
    place.map_or(8000, |place| 8001 + place)
}

/// The five and the gateway.
fn programs() -> impl Iterator<Item = &'static str> {
    SERVICES.into_iter().chain(["gateway"])
}

/// Those that a program calls: the gateway calls all five.
fn callees(program: &str) -> BTreeSet<&'static str> {
    if program == "gateway" {
        return BTreeSet::from(SERVICES);
    }
    let callees = CALLS.iter().filter(|(caller, _)| *caller == program);
    callees.map(|(_, callee)| *callee).collect()
}

/// `USER_SERVICE` of `user-service`.
fn in_capitals(service: &str) -> String {
    service.to_uppercase().replace('-', "_")
}

#[test]
fn a_service_has_the_urls_of_its_upstreams_and_starts_after_them() {
    let containers = containers();
    for service in programs() {
        let callees = callees(service);
        let container = &containers[service];

        let environment = container["environment"].as_mapping().expect("a map");
        let urls = environment.iter().filter_map(|(name, value)| {
            let url = value.as_str().map(ToOwned::to_owned);
            let name = name.as_str().filter(|name| name.ends_with("_URL"))?;
            Some((name.to_owned(), url))
        });
        let mut expected: BTreeMap<_, _> = callees
            .iter()
            .map(|callee| {
                // The one that can have several containers.
                let is_scaled = service == "gateway" && *callee == "analytics-service";
                let dns = if is_scaled { "dns+" } else { "" };
                let url = format!("{dns}http://{callee}:{}", port(callee));
                (format!("{}_URL", in_capitals(callee)), Some(url))
            })
            .collect();
        if service == "analytics-service" {
            // It asks the gateway for its spans, and does not wait for it: the gateway starts last.
            let url = format!("http://gateway:{}", port("gateway"));
            expected.insert("GATEWAY_URL".to_owned(), Some(url));
        }
        assert_eq!(urls.collect::<BTreeMap<_, _>>(), expected, "{service}");

        let after = container.get("depends_on").and_then(Value::as_mapping);
        let after: BTreeSet<_> = after
            .into_iter()
            .flatten()
            .map(|(name, how)| {
                assert_eq!(how["condition"], "service_healthy", "{service}: {name:?}");
                name.as_str().expect("a name")
            })
            .collect();
        assert_eq!(after, callees, "{service} starts after those it calls");
    }
}

#[test]
fn ports_are_those_of_the_contract_and_open_only_to_this_machine() {
    let containers = containers();
    for service in programs() {
        let port = port(service);
        let published = format!(
            "127.0.0.1:${{{}_PORT:-{port}}}:{port}",
            in_capitals(service)
        );
        let mut expected = BTreeSet::from([published.as_str()]);
        if service == "gateway" {
            expected.insert("127.0.0.1:${GATEWAY_TLS_PORT:-8443}:8443");
        }
        assert_eq!(texts(&containers[service]["ports"]), expected, "{service}");
    }
    for (name, container) in &containers {
        for port in texts(container.get("ports").unwrap_or(&Value::Null)) {
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port}");
        }
    }
}

#[test]
fn every_service_is_locked_down_bounded_and_stopped_gracefully() {
    let containers = containers();
    for service in programs().chain(["analytics-replica"]) {
        let container = &containers[service];
        assert_eq!(container["read_only"], true, "{service}");
        assert_eq!(texts(&container["cap_drop"]), BTreeSet::from(["ALL"]));
        assert!(container.get("cap_add").is_none(), "{service}");
        assert!(container.get("privileged").is_none(), "{service}");
        assert!(container.get("volumes").is_none(), "{service}");
        assert!(
            texts(&container["security_opt"]).contains("no-new-privileges:true"),
            "{service}"
        );
        for bound in ["mem_limit", "cpus", "pids_limit"] {
            assert!(!container[bound].is_null(), "{service} has no {bound}");
        }
        let log = &container["logging"]["options"];
        assert!(log["max-size"].is_string() && log["max-file"].is_string());

        let check = &container["healthcheck"]["test"];
        let check: Vec<_> = check.as_sequence().expect("a list").iter().collect();
        assert_eq!(check, ["CMD", "/service", "healthcheck"], "{service}");
        let grace = container["stop_grace_period"].as_str().expect("a time");
        let grace: u64 = grace.trim_end_matches('s').parse().expect("seconds");
        assert!(grace > GRACE.as_secs() + 1, "{service} is killed too soon");
        assert_eq!(container["restart"], "on-failure:5", "{service}");
    }
}

#[test]
fn an_image_has_the_version_and_the_toolchain_of_the_workspace() {
    let version = env!("CARGO_PKG_VERSION");
    for service in programs() {
        let container = &containers()[service];
        assert_eq!(
            container["image"],
            format!("microservices-lab/{service}:{version}").as_str()
        );
        assert_eq!(container["build"]["args"]["SERVICE"], service);
    }
    let dockerfile = read("Dockerfile");
    assert!(dockerfile.contains(&format!("org.opencontainers.image.version=\"{version}\"")));
    let from = Regex::new("FROM rust:([0-9.]+)-").expect("a pattern");
    let image = from.captures(&dockerfile).expect("a toolchain");
    let channel = format!("channel = \"{}.", &image[1]);
    assert!(read("rust-toolchain.toml").contains(&channel), "{channel}");
}

#[test]
fn the_images_are_built_with_every_member_of_the_workspace() {
    let (dockerfile, let_in) = (read("Dockerfile"), read(".dockerignore"));
    let root = read("Cargo.toml");
    let members = root.split("members = [").nth(1).expect("members");
    let members = members.split(']').next().unwrap_or_default();
    let members: Vec<_> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.len() > SERVICES.len(), "{members:?}");
    for member in members {
        // Without its manifest cargo builds nothing at all.
        let copied = format!("COPY {member}/Cargo.toml {member}/\n");
        assert!(dockerfile.contains(&copied), "Dockerfile lacks {copied}");
        let lines: BTreeSet<_> = let_in.lines().collect();
        let (whole, manifest) = (format!("!{member}"), format!("!{member}/Cargo.toml"));
        assert!(
            lines.contains(whole.as_str()) || lines.contains(manifest.as_str()),
            ".dockerignore keeps {member} out"
        );
    }
}

#[test]
fn every_variable_is_in_the_example_with_its_default() {
    let used = Regex::new(r"\$\{([A-Z_]+):-([^}]*)\}").expect("a pattern");
    let file = read("docker-compose.yml");
    let variables = used.captures_iter(&file);
    let variables: BTreeMap<_, _> = variables
        .map(|one| (one[1].to_owned(), one[2].to_owned()))
        .collect();
    assert_eq!(
        file.matches("${").count(),
        used.find_iter(&file).count(),
        "each has a default"
    );

    let example = read(".env.example");
    let lines = example.lines().filter(|line| !line.starts_with('#'));
    let settings = lines.filter_map(|line| line.split_once('='));
    let settings: BTreeMap<_, _> = settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(settings, variables);
    assert!(settings.len() > 10, "{settings:?}");
}

#[test]
fn prometheus_scrapes_the_lab_like_the_shop_on_this_machine() {
    let mut here = read("deploy/prometheus/prometheus.yml");
    for service in SERVICES.into_iter().chain(["gateway"]) {
        let port = port(service);
        here = here.replace(&format!("127.0.0.1:{port}"), &format!("{service}:{port}"));
    }
    let here: Value = yaml_serde::from_str(&here).expect("YAML");
    assert_eq!(parse("deploy/prometheus/lab.yml"), here);
}
