//! Probes: the same requests to the smallest server on each framework, and to the lab's adapter
//! on it.
//!
//! Each server is a separate process, so that panics and signals are real. Probes that wait run
//! concurrently on all servers, for [`TIMEOUT`] at most.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bench::A_WHILE;
use chassis::serve::run::RunError;
use futures_util::future::join_all;
use harness::process::{Process, address_in, piped};
use harness::raw::{self, Request};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use Show::{Answer, Count, Length, Origin};

use crate::Framework;
use crate::conversation::{Conversation, worded};

/// The cell of a probe that does not apply: no route of the lab panics. The conformance tests of
/// its adapters have one that does.
pub(crate) const NOT_ASKED: &str = "-";

/// How long a probe waits for a server to react to an inactive client.
pub const TIMEOUT: Duration = Duration::from_secs(12);

/// A probe, and the reaction of each server.
#[derive(Debug)]
pub struct Finding {
    /// The group of the probe.
    pub group: &'static str,
    /// The name of the probe.
    pub probe: &'static str,
    /// The reactions of the smallest servers, in the order of the frameworks.
    pub defaults: Vec<String>,
    /// The reactions of the lab's adapters.
    pub lab: Vec<String>,
}

/// The paths of a server for the probes, and a body that it accepts.
#[derive(Clone, Copy)]
struct Paths {
    list: &'static str,
    record: &'static str,
    /// A body for the list: a [`NAME`], and one more required field.
    body: &'static str,
    /// A route that panics, if any.
    panic: Option<&'static str>,
    /// A request that takes [`A_WHILE`].
    slow: fn() -> Vec<u8>,
}

const DEFAULTS: Paths = Paths {
    list: "/items",
    record: "/items/1",
    body: r#"{"name":"Teapot","email":"teapot@example.com"}"#,
    panic: Some("/panic"),
    slow: || request("GET /slow", "", ""),
};

const LAB: Paths = Paths {
    list: "/api/products",
    record: "/api/products/1",
    body: r#"{"name":"Teapot","price":19.99}"#,
    panic: None,
    // It calls a slow user-service.
    slow: || {
        let body = r#"{"name":"Teapot","price":1,"sellerId":"1"}"#;
        request("POST /api/products", JSON, body)
    },
};

const JSON: &str = "content-type: application/json\r\n";

/// The name in a body, as JSON.
const NAME: &str = r#""Teapot""#;

const ROUTING: &str = "Routing";
const BODIES: &str = "JSON in";
const HTTP: &str = "HTTP";
const TROUBLE: &str = "Trouble";

/// The part of an answer that a probe shows.
#[derive(Clone, Copy)]
enum Show {
    /// The status and the kind of body.
    Answer,
    /// The status, and whether there is a length of the body.
    Length,
    /// The status and the allowed origins.
    Origin,
    /// The number of answers.
    Count,
}

/// A request, and the part of its answer to show.
struct Probe {
    group: &'static str,
    name: &'static str,
    bytes: Vec<u8>,
    show: Show,
}

/// A request with a host, and a length if there is a body. Each of `headers` ends in a line break.
fn request(line: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    format!("{line} HTTP/1.1\r\nhost: localhost\r\n{headers}{length}\r\n{body}").into_bytes()
}

fn ask(method: &str, path: &str) -> Vec<u8> {
    request(&format!("{method} {path}"), "", "")
}

/// The name of a probe, its request, and the part of the answer to show.
type Asked = (&'static str, Vec<u8>, Show);

/// The probes of a server with these paths, in order.
fn probes(paths: Paths) -> Vec<Probe> {
    let panic = paths.panic.map(|path| ask("GET", path));
    let panics = ("a panic in the handler", panic.unwrap_or_default(), Answer);
    let groups = [
        (ROUTING, routing(paths)),
        (BODIES, bodies(paths)),
        (HTTP, http(paths)),
        (TROUBLE, vec![panics]),
    ];
    let probes = groups.into_iter().flat_map(|(group, asked)| {
        let probe = move |(name, bytes, show)| Probe {
            group,
            name,
            bytes,
            show,
        };
        asked.into_iter().map(probe)
    });
    probes.collect()
}

fn routing(Paths { list, record, .. }: Paths) -> Vec<Asked> {
    // The last letter of a path, percent-encoded.
    let encoded = |path: &str| {
        let (start, last) = path.split_at(path.len() - 1);
        ask("GET", &format!("{start}%{:02x}", last.as_bytes()[0]))
    };
    let preflight = "origin: http://a.example\r\naccess-control-request-method: POST\r\n";
    let preflight = request(&format!("OPTIONS {list}"), preflight, "");
    let get = |path: String| ask("GET", &path);
    vec![
        ("unknown route", ask("GET", "/nothing"), Answer),
        ("wrong method", ask("DELETE", list), Answer),
        ("unknown method", ask("BREW", list), Answer),
        ("HEAD of a GET route", ask("HEAD", record), Length),
        ("OPTIONS by hand", ask("OPTIONS", list), Answer),
        ("preflight from another origin", preflight, Origin),
        ("trailing slash", get(format!("{list}/")), Answer),
        ("double slash", get(format!("/{list}")), Answer),
        ("a letter percent-encoded", encoded(list), Answer),
        ("an id percent-encoded", encoded(record), Answer),
        ("an id that is none", get(format!("{list}/abc")), Answer),
        (
            "a path that is not UTF-8",
            get(format!("{list}/%ff")),
            Answer,
        ),
        (
            "a query that does not parse",
            get(format!("{list}?limit=ten")),
            Answer,
        ),
    ]
}

fn bodies(Paths { list, body, .. }: Paths) -> Vec<Asked> {
    let post = |headers: &str, body: &str| request(&format!("POST {list}"), headers, body);
    let json = |body: &str| post(JSON, body);
    let text = "content-type: text/plain\r\n";
    let named = |name: &str| json(&body.replace(NAME, name));
    let large = format!(r#""{}""#, "x".repeat(10 << 20));
    vec![
        ("malformed JSON", json("{"), Answer),
        ("a missing field", json(r#"{"name":"Teapot"}"#), Answer),
        ("a field of the wrong type", named("1"), Answer),
        ("no body", json(""), Answer),
        ("another content type", post(text, body), Answer),
        ("no content type", post("", body), Answer),
        (
            "a header twice: Content-Type",
            post(&[JSON, text].concat(), body),
            Answer,
        ),
        ("a body of 10 MiB", named(&large), Answer),
    ]
}

fn http(paths: Paths) -> Vec<Asked> {
    let (list, record, body) = (paths.list, paths.record, paths.body);
    let get = |headers: &str| request(&format!("GET {record}"), headers, "");
    let old = format!("GET {record} HTTP/1.0\r\n\r\n").into_bytes();
    let homeless = format!("GET {record} HTTP/1.1\r\n\r\n").into_bytes();
    let line = format!("POST {list}");
    let expecting = request(&line, &format!("{JSON}expect: 100-continue\r\n"), body);
    let lengths = request(&line, &format!("{JSON}content-length: 4\r\n"), body);
    let same = format!("{JSON}content-length: {}\r\n", body.len());
    let zipped = format!("{JSON}transfer-encoding: gzip, chunked\r\n");
    let zipped = format!("{line} HTTP/1.1\r\nhost: a\r\n{zipped}\r\n").into_bytes();
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let smuggled = format!("{JSON}transfer-encoding: chunked\r\n");
    let smuggled = request(&line, &smuggled, &chunks);
    let long = ask("GET", &format!("{record}?{}", "x".repeat(64 << 10)));
    let large = |bytes| get(&format!("x-large: {}\r\n", "x".repeat(bytes)));
    vec![
        ("HTTP/1.0", old, Answer),
        ("no Host", homeless, Answer),
        ("two Hosts", get("host: localhost\r\n"), Answer),
        ("a path that is not encoded", ask("GET", "/ü"), Answer),
        ("97 headers", get(&"x: y\r\n".repeat(96)), Answer),
        ("101 headers", get(&"x: y\r\n".repeat(100)), Answer),
        ("two requests at once", get("").repeat(2), Count),
        ("Expect: 100-continue", expecting, Count),
        ("Content-Length and chunks", smuggled, Answer),
        ("two Content-Lengths", lengths, Answer),
        (
            "the same Content-Length twice",
            request(&line, &same, body),
            Answer,
        ),
        (
            "Transfer-Encoding: gzip, chunked",
            [zipped, chunks.clone().into_bytes()].concat(),
            Answer,
        ),
        (
            "the preface of HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            Answer,
        ),
        ("an upgrade, and a request", get(upgrade).repeat(2), Count),
        ("a URI of 64 KiB", long, Answer),
        ("a header of 70 KB", large(70_000), Answer),
        ("a header of 300 KB", large(300_000), Answer),
    ]
}

/// The probes that wait, in the order of [`waiting`].
const WAITING: [&str; 5] = [
    "a connection without a word",
    "half a head",
    "a head that drips",
    "a body that stalls",
    "an idle connection",
];

/// The probes that end the server.
const ENDING: [&str; 2] = ["SIGTERM, a request in flight", "SIGTERM, half a head open"];

/// The names of all probes, each with its group, in the order of the table.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let asked = probes(LAB).into_iter();
    let asked = asked.map(|probe| (probe.group, probe.name));
    let waited = WAITING.into_iter().chain(ENDING);
    asked.chain(waited.map(|name| (TROUBLE, name)))
}

/// Runs the probes on all frameworks and the lab's adapters. `program` is this program.
pub async fn run(program: &Path, frameworks: &[Framework]) -> Result<Vec<Finding>, RunError> {
    let users = slow_users().await?;
    let all = frameworks.iter().flat_map(|framework| {
        [
            (framework.name, "default-server", DEFAULTS),
            (framework.name, "serve", LAB),
        ]
    });
    let all = all.map(|(framework, command, paths)| {
        probe(
            Start {
                program,
                command,
                framework,
                users,
            },
            paths,
        )
    });
    let mut columns = Vec::new();
    for column in join_all(all).await {
        columns.push(column?.into_iter());
    }

    let mut findings = Vec::new();
    for (group, probe) in names() {
        let mut cells = columns
            .iter_mut()
            .map(|column| column.next().unwrap_or_default());
        let (mut defaults, mut lab) = (Vec::new(), Vec::new());
        while let (Some(one), Some(other)) = (cells.next(), cells.next()) {
            defaults.push(one);
            lab.push(other);
        }
        findings.push(Finding {
            group,
            probe,
            defaults,
            lab,
        });
    }
    Ok(findings)
}

/// The reactions of one server, in the order of the probes.
async fn probe(start: Start<'_>, paths: Paths) -> Result<Vec<String>, RunError> {
    let server = start.start().await?;
    // Create record 1.
    let teapot = request(&format!("POST {}", paths.list), JSON, paths.body);
    let mut conversation = Conversation::open(server.port).await?;
    conversation.ask(&teapot, 1, TIMEOUT).await;
    let mut cells = Vec::new();
    for probe in probes(paths) {
        cells.push(asked(server.port, &probe).await?);
    }
    let (waited, in_flight, half_a_head) = tokio::join!(
        waiting(server.port, paths),
        stopped(start, (paths.slow)()),
        stopped(start, b"GET /items HTTP/1.1\r\nhost: local".to_vec()),
    );
    cells.extend(waited?);
    cells.extend([in_flight?, half_a_head?]);
    Ok(cells)
}

async fn asked(port: u16, probe: &Probe) -> Result<String, RunError> {
    if probe.bytes.is_empty() {
        return Ok(NOT_ASKED.to_owned());
    }
    let mut conversation = Conversation::open(port).await?;
    let (wanted, limit) = match probe.show {
        // The second answer may never arrive.
        Count => (2, A_WHILE * 5),
        _ => (1, TIMEOUT),
    };
    let answers = conversation.ask(&probe.bytes, wanted, limit).await;
    let Some(last) = answers.last() else {
        return Ok(conversation.silence().to_owned());
    };
    Ok(match probe.show {
        Answer => worded(last),
        Length if last.status != 200 => last.status.to_string(),
        Length => match last.header("content-length") {
            "" => format!("{}, no length", last.status),
            _ => format!("{}, length", last.status),
        },
        Origin => match last.header("access-control-allow-origin") {
            "" => format!("{}, no CORS", last.status),
            origin => format!("{}, {origin}", last.status),
        },
        Count => {
            let statuses: Vec<_> = answers.iter().map(|one| one.status.to_string()).collect();
            statuses.join(", ")
        }
    })
}

/// The reactions to clients that keep a server waiting, concurrently.
async fn waiting(port: u16, paths: Paths) -> Result<[String; 5], RunError> {
    let half = b"GET /items HTTP/1.1\r\nhost: local";
    let get = request(&format!("GET {}", paths.record), "", "");
    let begun = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: 100\r\n\r\n{{",
        paths.list
    );
    let [mut silent, mut first, mut drip, mut body, mut idle] = [
        Conversation::open(port).await?,
        Conversation::open(port).await?,
        Conversation::open(port).await?,
        Conversation::open(port).await?,
        Conversation::open(port).await?,
    ];
    first.send(half).await;
    body.send(begun.as_bytes()).await;
    idle.ask(&get, 1, TIMEOUT).await;
    let (silent, first, drip, body, idle) = tokio::join!(
        silent.wait(TIMEOUT),
        first.wait(TIMEOUT),
        drip.drip(half, TIMEOUT),
        body.wait(TIMEOUT),
        idle.wait(TIMEOUT),
    );
    Ok([silent, first, drip, body, idle])
}

/// The reaction of a new server to SIGTERM during this request.
async fn stopped(start: Start<'_>, request: Vec<u8>) -> Result<String, RunError> {
    let server = start.start().await?;
    let mut conversation = Conversation::open(server.port).await?;
    conversation.send(&request).await;
    sleep(A_WHILE / 4).await;
    let signalled = Instant::now();
    server.process.signal("TERM").map_err(RunError::Start)?;
    let answers = conversation.ask(b"", 1, TIMEOUT).await;
    let left = TIMEOUT.saturating_sub(signalled.elapsed());
    let ended = server.process.wait_async(left).await.is_ok();
    let took = signalled.elapsed();
    let answer = match answers.first() {
        Some(answer) => answer.status.to_string(),
        None => "no answer".to_owned(),
    };
    Ok(match ended {
        true if took < A_WHILE * 4 => format!("{answer}, exits"),
        true => format!("{answer}, exits in {:.0} s", took.as_secs_f64()),
        false => format!("{answer}, does not exit"),
    })
}

/// A slow user-service that knows every user.
async fn slow_users() -> Result<u16, RunError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if Request::read(&mut stream).await.is_some() {
                    sleep(A_WHILE).await;
                    let user = raw::json("200 OK", "", r#"{"id":"1"}"#);
                    // The server may have ended meanwhile.
                    let _ = stream.write_all(&user).await;
                }
            });
        }
    });
    Ok(port)
}

/// How a server is started.
#[derive(Clone, Copy)]
struct Start<'a> {
    program: &'a Path,
    command: &'static str,
    framework: &'static str,
    users: u16,
}

/// A server in a separate process. It is killed when it is dropped.
struct Server {
    process: Process,
    port: u16,
}

impl Start<'_> {
    async fn start(self) -> Result<Server, RunError> {
        let name = format!("{} --framework {}", self.command, self.framework);
        let mut command = Command::new(self.program);
        command
            .args([self.command, "--framework", self.framework])
            .env_clear()
            .env("PORT", "0")
            .env(
                "USER_SERVICE_URL",
                format!("http://127.0.0.1:{}", self.users),
            );
        let start = move || {
            let process = Process::start(piped(&mut command))?;
            let port = process.wait_for(address_in, TIMEOUT)?.port();
            Ok(Server { process, port })
        };
        let started = spawn_blocking(start).await;
        let started = started.unwrap_or_else(|panic| Err(panic.to_string()));
        started.map_err(|fault: String| RunError::Start(format!("{name}: {fault}")))
    }
}
