//! The servers that are compared: started as processes, or found by their URL.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, RequestBuilder};
use serde_json::Value;

use crate::Failed;
use crate::load::{PRODUCT, PRODUCTS, Target};
use crate::machine::{self, Running};
use crate::results::{Kind, Server};

/// The frameworks, as everywhere in this project.
pub(crate) const FRAMEWORKS: [&str; 5] = ["axum", "rocket", "poem", "warp", "actix-web"];

/// How many products each has, so that a page of a hundred is full.
const PRODUCTS_EACH: u64 = 1000;

/// How long a server may take to be ready, and an answer to come.
const PATIENCE: Duration = Duration::from_secs(20);

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
    let mut all = vec![one("hyper", Kind::Floor, "bare", vec!["floor"])?];
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

/// A server that was started, and runs.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: Running,
    pub(crate) address: SocketAddr,
    /// From its start to its first 200 of `GET /health`.
    pub(crate) ready_after: Duration,
}

impl Started {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Starts a server on a free port and waits until it is ready. What it says on
/// standard error goes to `errors`.
pub(crate) fn start(
    launch: &Launch,
    processors: Option<&[usize]>,
    errors: &Path,
) -> Result<Started, Failed> {
    let name = launch.arguments.join(" ");
    let mut command = machine::pinned(&launch.program, processors);
    command
        .args(&launch.arguments)
        .env_clear()
        .envs(ENVIRONMENT)
        // To find taskset.
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(errors)?);
    let began = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", launch.program.display()))?;
    let stdout = child.stdout.take();
    let process = Running::keep(child);
    let (send, lines) = channel();
    // A thread, because a full pipe would stop the server.
    thread::spawn(move || {
        let lines = stdout
            .into_iter()
            .flat_map(|pipe| BufReader::new(pipe).lines());
        for line in lines.map_while(Result::ok) {
            // Only the first is of use to anybody.
            let _ = send.send(line);
        }
    });
    let first = lines.recv_timeout(PATIENCE);
    let address = first.ok().and_then(|line| address_in(&line));
    let Some(address) = address else {
        let said = std::fs::read_to_string(errors).unwrap_or_default();
        return Err(format!("{name} did not say where it listens: {}", said.trim()).into());
    };
    while !is_alive(address) {
        if began.elapsed() > PATIENCE {
            return Err(format!("{name} was not ready within {PATIENCE:?}").into());
        }
        thread::sleep(Duration::from_micros(200));
    }
    Ok(Started {
        process,
        address,
        ready_after: began.elapsed(),
    })
}

/// Where a server listens, by its first line: `listening on http://…` of a bare one,
/// a line of JSON with the `port` of a service.
fn address_in(line: &str) -> Option<SocketAddr> {
    if let Some(address) = line.strip_prefix("listening on http://") {
        return address.parse().ok();
    }
    let line: Value = serde_json::from_str(line).ok()?;
    let port = u16::try_from(line["port"].as_u64()?).ok()?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: shop\r\n\r\n";

fn is_alive(address: SocketAddr) -> bool {
    ask_health(address).is_ok_and(|(_, answer)| answer.starts_with(b"HTTP/1.1 200"))
}

/// Asks `GET /health` on a connection of its own, which stays open.
fn ask_health(address: SocketAddr) -> std::io::Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(HEALTH)?;
    let mut answer = vec![0; 2048];
    let length = stream.read(&mut answer)?;
    answer.truncate(length);
    Ok((stream, answer))
}

/// Opens so many connections, each of which has had one answer and is kept.
pub(crate) fn open_idle(address: SocketAddr, count: u32) -> Result<Vec<TcpStream>, Failed> {
    let open = |_| ask_health(address).map(|(stream, _)| stream);
    let streams: std::io::Result<Vec<_>> = (0..count).map(open).collect();
    streams.map_err(|error| {
        format!("{count} connections to {address} cannot be opened at once: {error}").into()
    })
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

/// The JSON of an answer that must have this status.
fn answered(request: RequestBuilder, expected: u16) -> Result<Value, Failed> {
    let answer = request.send().map_err(|error| plain(&error))?;
    let (url, status) = (answer.url().clone(), answer.status().as_u16());
    let body = answer.bytes().map_err(|error| plain(&error))?;
    if status != expected {
        return Err(format!("{url} answered {status}, expected {expected}").into());
    }
    serde_json::from_slice(&body).map_err(|error| format!("{url} is not JSON: {error}").into())
}

/// An error with what caused it, which reqwest leaves to be asked for.
fn plain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_where_it_listens_in_its_first_line() {
        let address = |text: &str| Some(text.parse().expect("an address"));
        for (line, expected) in [
            (
                "listening on http://127.0.0.1:4000",
                address("127.0.0.1:4000"),
            ),
            (
                r#"{"timestamp":"…","message":"listening","address":"127.0.0.1:4001","port":4001}"#,
                address("127.0.0.1:4001"),
            ),
            (r#"{"port":70000}"#, None),
            ("started", None),
        ] {
            assert_eq!(address_in(line), expected, "{line}");
        }
    }
}
