//! The servers that are compared: started as processes, or found by their URL.

use std::path::{Path, PathBuf};

use bench::Failed;
use bench::measure::load::Load;
use bench::measure::server::{self, Started, answered, plain};
use reqwest::blocking::Client;

use crate::results::{Kind, Request, Server};

/// The product that is created.
const PRODUCT: &str = r#"{"name":"Desk lamp","price":19.99,"stock":100}"#;
const PRODUCTS: &str = "/api/products";

/// The frameworks, as everywhere in this project.
pub(crate) const FRAMEWORKS: [&str; 5] = ["axum", "rocket", "poem", "warp", "actix-web"];

/// How many products each has, so that a page of a hundred is full.
const PRODUCTS_EACH: u64 = 1000;

/// What a service is told. All else in this environment is kept from it.
///
/// Of its log, only the line that has the port: what a log line costs is the same on
/// every framework, and would only make them more alike than they are. Spans are
/// sent nowhere.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("HOST", "127.0.0.1"),
    ("PORT", "0"),
    ("RUST_LOG", "warn,chassis::serve::server=info"),
    // As many as a fast machine creates in a round.
    ("MAX_RECORDS", "100000000"),
];

/// A server as it is started: the program, and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    program: PathBuf,
    arguments: Vec<&'static str>,
}

/// Who is compared, and how each of them comes to run.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) server: Server,
    /// None for a peer, which runs already.
    pub(crate) launch: Option<Launch>,
}

/// The floor and the five, which are in the folder `programs`.
pub(crate) fn ours(programs: &Path) -> Result<Vec<Contender>, Failed> {
    let one = |name: &str, kind, program: &str, arguments: Vec<&'static str>| {
        let path = programs.join(program);
        if !path.is_file() {
            let path = path.display();
            return Err(format!("there is no {path}; scripts/compare.sh builds it"));
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

/// A server that runs already, named by the framework that it says it is on, or by
/// its address where that is somebody's name already.
pub(crate) fn peer(url: &str, http: &Client, others: &[Contender]) -> Result<Contender, Failed> {
    let url = url.trim_end_matches('/');
    let health = answered(http.get(format!("{url}/health")), 200)
        .map_err(|error| format!("there is no peer to measure at {url}: {error}"))?;
    let address = url.split_once("://").map_or(url, |(_, rest)| rest);
    let taken = |name: &str| others.iter().any(|other| other.server.name == name);
    let name = match health["framework"].as_str().map(str::trim) {
        None | Some("") => address.to_owned(),
        Some(name) if taken(name) => format!("{name} at {address}"),
        Some(name) => name.to_owned(),
    };
    if taken(&name) {
        return Err(format!("the peer {url} is named twice").into());
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

/// Starts a server on a free port and waits until it is ready. What it says on
/// standard error goes to `errors`.
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

/// Fills a server up to a thousand products, and makes sure that it answers what it
/// is about to be asked as the contract says.
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
        return Err(format!("{list} gave {length} products, 100 were expected").into());
    };
    let target = Target {
        url: url.to_owned(),
        product: id.to_owned(),
    };
    let product = answered(http.get(format!("{url}{PRODUCTS}/{id}")), 200)?;
    if Some(&product) != hundredth {
        return Err(format!("{url}{PRODUCTS}/{id} is not the product that the list has").into());
    }
    Ok(target)
}

/// How many products there are.
fn count(http: &Client, list: &str) -> Result<u64, Failed> {
    let answer = http.get(list).send().map_err(|error| plain(&error))?;
    let total = answer.headers().get("x-total-count");
    let total = total.and_then(|total| total.to_str().ok()?.parse().ok());
    total.ok_or_else(|| format!("{list} has no X-Total-Count: is it a product-service?").into())
}
