//! The servers of the comparison: started as processes, or given by their URL.

use std::path::{Path, PathBuf};

use bench::Failed;
use bench::measure::load::Load;
use bench::measure::server::{self, Started, answered, plain};
use reqwest::blocking::Client;

use crate::results::{Kind, Request, Server};

/// The product that requests create.
const PRODUCT: &str = r#"{"name":"Desk lamp","price":19.99,"stock":100}"#;
const PRODUCTS: &str = "/api/products";

/// The frameworks, in the order of the services.
pub(crate) const FRAMEWORKS: [&str; 5] = ["axum", "rocket", "poem", "warp", "actix-web"];

/// The number of products of each server, so that a page of a hundred is full.
const PRODUCTS_EACH: u64 = 1000;

/// The environment of a service. It inherits no other variable.
///
/// The log has only the line with the port: a log line costs the same on every framework, so it
/// would hide their differences. No spans are exported.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("HOST", "127.0.0.1"),
    ("PORT", "0"),
    ("RUST_LOG", "warn,chassis::serve::server=info"),
    // More than a fast machine creates in a round.
    ("MAX_RECORDS", "100000000"),
];

/// The program of a server, and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    program: PathBuf,
    arguments: Vec<&'static str>,
}

/// A server of the comparison, and how to start it.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) server: Server,
    /// None for a peer, which already runs.
    pub(crate) launch: Option<Launch>,
}

/// The floor and the five, from the folder `programs`.
pub(crate) fn ours(programs: &Path) -> Result<Vec<Contender>, Failed> {
    let one = |name: &str, kind, program: &str, arguments: Vec<&'static str>| {
        let path = programs.join(program);
        if !path.is_file() {
            let path = path.display();
            return Err(format!(
                "{path} does not exist; scripts/compare.sh builds it"
            ));
        }
        Ok(Contender {
            server: Server {
                name: name.to_owned(),
                kind,
                what: format!("{program} {}", arguments.join(" ")),
            },
            launch: Some(Launch {
                program: path,
                arguments,
            }),
        })
    };
    let mut all = vec![
        one("hyper", Kind::Floor, "bare", vec!["floor"])?,
        one(
            "rocket, own server",
            Kind::OwnServer,
            "bare",
            vec!["floor-on-rocket"],
        )?,
    ];
    for name in FRAMEWORKS {
        let arguments = vec!["serve", "--framework", name];
        all.push(one(
            name,
            Kind::Framework,
            "framework-comparison",
            arguments,
        )?);
    }
    Ok(all)
}

/// A server that already runs. Its name is the framework that it reports, or its address if that
/// name is taken.
pub(crate) fn peer(url: &str, http: &Client, others: &[Contender]) -> Result<Contender, Failed> {
    let url = url.trim_end_matches('/');
    let health = answered(http.get(format!("{url}/health")), 200)
        .map_err(|error| format!("the peer {url} cannot be measured: {error}"))?;
    let address = url.split_once("://").map_or(url, |(_, rest)| rest);
    let taken = |name: &str| others.iter().any(|other| other.server.name == name);
    let name = match health["framework"].as_str().map(str::trim) {
        None | Some("") => address.to_owned(),
        Some(name) if taken(name) => format!("{name} at {address}"),
        Some(name) => name.to_owned(),
    };
    if taken(&name) {
        return Err(format!("the peer {url} is given twice").into());
    }
    Ok(Contender {
        server: Server {
            name,
            kind: Kind::Peer,
            what: url.to_owned(),
        },
        launch: None,
    })
}

/// Starts a server on a free port and waits until it is ready. Its standard error goes to
/// `errors`.
pub(crate) fn start(
    launch: &Launch,
    processors: Option<&[usize]>,
    errors: &Path,
) -> Result<Started, Failed> {
    let mut command = server::command(&launch.program, processors);
    command.args(&launch.arguments).envs(ENVIRONMENT);
    server::start(command, errors)
}

/// A server under load: its URL, without a path, and the id of a product it has.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    url: String,
    product: String,
}

impl Target {
    pub(crate) fn load(&self, request: Request) -> Load {
        let Self { url, product } = self;
        match request {
            Request::Health => Load::get(format!("{url}/health")),
            Request::Page => Load::get(format!("{url}{PRODUCTS}?limit=100")),
            Request::Create => Load::post(format!("{url}{PRODUCTS}"), PRODUCT),
            Request::OneProduct => Load::get(format!("{url}{PRODUCTS}/{product}")),
            Request::Mix => Load {
                script: "mix.lua",
                ..Load::post(format!("{url}{PRODUCTS}/{product}"), PRODUCT)
            },
        }
    }
}

/// Creates products until there are a thousand, and checks that the server follows the contract
/// for the measured requests.
pub(crate) fn prepare(url: &str, http: &Client) -> Result<Target, Failed> {
    let list = format!("{url}{PRODUCTS}?limit=100");
    let post = || {
        let request = http.post(format!("{url}{PRODUCTS}")).body(PRODUCT);
        answered(request.header("content-type", "application/json"), 201)
    };
    for _ in count(http, &list)?..PRODUCTS_EACH {
        post()?;
    }
    answered(http.get(format!("{url}/health")), 200)?;
    let page = answered(http.get(&list), 200)?;
    let products = page.as_array().map(Vec::as_slice).unwrap_or_default();
    let hundredth = products.last().filter(|_| products.len() == 100);
    let id = hundredth.and_then(|product| product["id"].as_str());
    let Some(id) = id else {
        let length = products.len();
        return Err(format!("{list} returned {length} products, expected 100").into());
    };
    let target = Target {
        url: url.to_owned(),
        product: id.to_owned(),
    };
    let product = answered(http.get(format!("{url}{PRODUCTS}/{id}")), 200)?;
    if Some(&product) != hundredth {
        return Err(format!("{url}{PRODUCTS}/{id} is not the product from the list").into());
    }
    Ok(target)
}

/// The number of products.
fn count(http: &Client, list: &str) -> Result<u64, Failed> {
    let answer = http.get(list).send().map_err(|error| plain(&error))?;
    let total = answer.headers().get("x-total-count");
    let total = total.and_then(|total| total.to_str().ok()?.parse().ok());
    total.ok_or_else(|| format!("{list} has no X-Total-Count: is it a product-service?").into())
}
