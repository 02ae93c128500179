//! What editors read: each request of `shop.http` has the status that its comment names, and
//! `.devcontainer` has the toolchain and the ports of the shop.

use std::fs;
use std::path::Path;

use harness::raw;
use serde_json::Value;
use shop_tests::faults::Faults;
use shop_tests::program::SERVICES;
use shop_tests::scripts::Shop;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

/// One request of a `.http` file.
#[derive(Debug, PartialEq)]
struct Request {
    title: String,
    /// The status that the comment names.
    status: Option<u16>,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// The requests of a `.http` file, with its variables replaced.
fn requests(file: &str) -> Vec<Request> {
    let mut text = file.to_owned();
    for line in file.lines().filter_map(|line| line.strip_prefix('@')) {
        let (name, value) = line.split_once(" = ").expect("a variable and its value");
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    let blocks = text.split("\n### ").skip(1);
    blocks
        .map(|block| {
            let (head, body) = block.split_once("\n\n").unwrap_or((block, ""));
            let mut lines = head.lines();
            let title = lines.next().unwrap_or_default().to_owned();
            let (comments, lines): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('#'));
            let status = comments
                .iter()
                .find_map(|line| line.strip_prefix("# Status: "));
            let mut lines = lines.into_iter();
            let first = lines.next().unwrap_or_default();
            let (method, url) = first.split_once(' ').expect("a method and a URL");
            let headers = lines.map(|line| line.split_once(": ").expect("a header"));
            Request {
                title,
                status: status.and_then(|status| status.parse().ok()),
                method: method.to_owned(),
                url: url.to_owned(),
                headers: headers
                    .map(|(name, value)| (name.into(), value.into()))
                    .collect(),
                body: body.trim().to_owned(),
            }
        })
        .collect()
}

#[tokio::test]
async fn each_request_of_the_http_file_has_the_status_that_it_names() {
    let shop = Shop::new().expect("five ports");
    let started = shop.run("start.sh", &[]).await.expect("it ends");
    assert!(started.worked, "{}", started.said);
    let requests = requests(&read("shop.http"));
    assert!(requests.len() > 20, "{requests:?}");
    let mut faults = Faults::default();
    for request in requests {
        let (host, target) = request
            .url
            .strip_prefix("http://")
            .and_then(|url| {
                let start = url.find('/')?;
                Some(url.split_at(start))
            })
            .expect("an address and a path");
        let service = match host {
            "localhost:8000" => "gateway",
            "localhost:8003" => "order-service",
            _ => panic!("{} is no service of the file", request.url),
        };
        let headers: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let bytes = raw::request(&request.method, target, &headers, request.body.as_bytes());
        let got = raw::exchange(shop.address(service), &bytes).await;
        let got = got.map(|got| got.status);
        let expected = request.status.ok_or_else(|| "no status".to_owned());
        faults.expect(&request.title, got, expected);
    }
    faults.finish();
}

#[test]
fn the_http_file_begins_with_the_requests_of_the_tour() {
    let bodies: Vec<Value> = requests(&read("shop.http"))
        .iter()
        .filter_map(|request| serde_json::from_str(&request.body).ok())
        .collect();
    let tour = read("docs/tour.md");
    let sent = tour
        .split("-d '")
        .skip(1)
        .filter_map(|rest| rest.split('\'').next());
    let mut checked = 0;
    for body in sent.map(|body| serde_json::from_str::<Value>(body).expect("JSON")) {
        // Not the quantity: how much is left depends on what was ordered before.
        if body["quantity"] == 9 {
            continue;
        }
        assert!(bodies.contains(&body), "shop.http does not send {body}");
        checked += 1;
    }
    assert!(checked > 4, "only {checked} bodies in the tour");
}

#[test]
fn the_dev_container_has_the_toolchain_and_the_ports_of_the_shop() {
    let container: Value =
        serde_json::from_str(&read(".devcontainer/devcontainer.json")).expect("JSON");
    let image = container["image"].as_str().expect("an image");
    let version = image
        .strip_prefix("rust:")
        .and_then(|tag| tag.split('-').next());
    let channel = format!("channel = \"{}\"", version.expect("a version"));
    assert!(read("rust-toolchain.toml").contains(&channel), "{image}");

    let programs = ["gateway"].into_iter().chain(SERVICES);
    let ports: Vec<_> = (8000..).zip(programs).collect();
    let forwarded: Vec<_> = ports.iter().map(|(port, _)| Value::from(*port)).collect();
    assert_eq!(container["forwardPorts"], Value::from(forwarded));
    let labels = container["portsAttributes"].as_object().expect("an object");
    assert_eq!(labels.len(), ports.len());
    for (port, name) in ports {
        assert_eq!(labels[&port.to_string()]["label"], name);
    }
}
