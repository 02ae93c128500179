//! Crowds: many slow clients at once, and what other clients notice of them.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use chassis::testkit::Got;
use harness::TIMEOUT;
use harness::raw::{self, Connection, State, request};
use serde_json::{Value, json};
use shop_tests::faults::{Faults, good};
use shop_tests::program::{PROGRAMS, Program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{AN_HOUR, Subject, creation, each, reading_bodies, send};

/// The largest response that every service has, and the most expensive to copy.
const BUNDLE: &str = "/docs/swagger-ui-bundle.js";

/// How many slow readers there are, and how many slow senders.
const CROWD: usize = 500;

/// How long another client may wait, for a slow one to be disconnected or in a crowd. Without
/// limits the wait is that of `BODY_TIMEOUT_MS`, ten seconds. `.ci/lab_crowd.py` tries the same
/// in the lab's containers.
const PROMPT: Duration = Duration::from_secs(1);

/// The memory of a container of the lab.
const MEMORY_KIB: u64 = 128 * 1024;

#[tokio::test]
async fn slow_readers_and_slow_senders_hold_up_nobody_else() {
    rlimit::increase_nofile_limit(rlimit::INFINITY).expect("a higher limit");
    let mut faults = Faults::default();
    // One service on each framework, one after the other: each alone is a crowd.
    for program in [
        "user-service",
        "product-service",
        "framework-comparison serve --framework poem",
        "notification-service",
        "framework-comparison serve --framework actix-web",
    ] {
        faults.check(
            program,
            stands_a_crowd(Subject::start(program, &[]), PROMPT).await,
        );
    }
    faults.finish();
}

#[tokio::test]
async fn a_crowd_at_the_gateway_holds_up_nobody_else() {
    rlimit::increase_nofile_limit(rlimit::INFINITY).expect("a higher limit");
    let users = Program::start("user-service", &[]);
    let url = users.url();
    // The whole crowd has one address.
    let settings = [("USER_SERVICE_URL", url.as_str()), ("RATE_LIMIT", "off")];
    let subject = Subject {
        service: "user-service",
        program: Program::start("gateway", &settings),
    };
    // Each of the crowd is a client of two programs.
    let stands = stands_a_crowd(subject, 3 * PROMPT).await;
    stands.expect("others are served");
    let kib = peak_memory(users.id()).unwrap_or_default();
    assert!(kib < MEMORY_KIB, "the service used {kib} KiB");
}

/// Whether other clients wait no longer than `patience`.
async fn stands_a_crowd(subject: Subject, patience: Duration) -> Result<(), String> {
    let large = large_page(&subject).await?;
    let (address, service) = (subject.address(), subject.service);
    // In a thread of its own, so that it does not delay what is measured here.
    let (end, ended) = oneshot::channel();
    let crowd = thread::spawn(move || be_a_crowd(address, service, large, ended));
    let until = Instant::now() + Duration::from_secs(4);
    let mut slowest = Duration::ZERO;
    while Instant::now() < until {
        for (what, asking) in [
            ("health", request("GET", "/health", &[], b"")),
            ("a record", request("GET", small_page(service), &[], b"")),
            ("a body", whole_body(service)),
        ] {
            let started = Instant::now();
            let got: Got = raw::exchange(address, &asking)
                .await
                .map_err(|fault| format!("{what}: {fault}"))?;
            slowest = slowest.max(started.elapsed());
            // Without its upstreams, order-service cannot place an order.
            let is_served = got.status < 500 || got.json()["code"] == "dependency_unavailable";
            good(is_served, format!("{what}: {got:?}"))?;
        }
        sleep(Duration::from_millis(20)).await;
    }
    good(slowest <= patience, format!("one waited for {slowest:?}"))?;
    if let Some(kib) = peak_memory(subject.program.id()) {
        good(kib < MEMORY_KIB, format!("it used {kib} KiB"))?;
    }
    drop(end);
    crowd.join().expect("no panic");
    subject.get("/health").await.map(drop)
}

/// Is the crowd until `ended`.
fn be_a_crowd(
    address: SocketAddr,
    service: &'static str,
    large: &'static str,
    ended: oneshot::Receiver<()>,
) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut crowd = JoinSet::new();
        for number in 0..CROWD {
            let page = [BUNDLE, large][usize::from(number % 20 == 0)];
            crowd.spawn(read_slowly(address, page));
            crowd.spawn(send_slowly(address, service));
            // All are there at once, but they do not all connect in the same millisecond: the
            // time for that depends on the machine.
            sleep(Duration::from_millis(1)).await;
        }
        let _ = ended.await;
    });
}

/// A path with records that fills the most memory, after the store was filled with such records.
async fn large_page(subject: &Subject) -> Result<&'static str, String> {
    let (path, page) = match subject.service {
        "user-service" => ("/api/users", "/api/users?limit=1000"),
        "product-service" => ("/api/products", "/api/products?limit=1000"),
        "notification-service" => ("/api/notifications/send", "/api/notifications?limit=1000"),
        // These have no records of their own.
        _ => return Ok(BUNDLE),
    };
    let mut connection = Connection::open(subject.address()).await;
    let long = |characters| "😀".repeat(characters);
    for number in 0..1000 {
        let body = match subject.service {
            "user-service" => {
                json!({"name": long(100), "email": format!("{number}@example.com")})
            }
            "product-service" => json!({"name": long(200), "price": 1}),
            _ => json!({"userId": "1", "message": long(1000)}),
        };
        let got = post_on(&mut connection, path, &body).await?;
        good(got.status == 201, format!("{got:?}"))?;
    }
    Ok(page)
}

async fn post_on(connection: &mut Connection, path: &str, body: &Value) -> Result<Got, String> {
    let headers = [("content-type", "application/json")];
    let body = body.to_string();
    send(
        connection,
        &request("POST", path, &headers, body.as_bytes()),
    )
    .await?;
    connection.answer(false).await
}

fn small_page(service: &str) -> &'static str {
    match service {
        "user-service" => "/api/users?limit=1",
        "product-service" => "/api/products?limit=1",
        "notification-service" => "/api/notifications?limit=1",
        "order-service" => "/api/orders?limit=1",
        _ => "/openapi.json",
    }
}

/// A request whose body arrives with its head.
fn whole_body(service: &str) -> Vec<u8> {
    // A 400 or a 409 shows as well as a 201 that the body was read.
    let (path, body) = if service == "analytics-service" {
        ("/api/analytics/summary", "{}")
    } else {
        creation(service)
    };
    let headers = [("content-type", "application/json")];
    request("POST", path, &headers, body.as_bytes())
}

/// Asks for `path` and reads a byte a second, as long as the service lets it.
async fn read_slowly(address: SocketAddr, path: &'static str) {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return;
    };
    let asked = stream
        .write_all(&request("GET", path, &[], b""))
        .await
        .is_ok();
    while asked && stream.read_u8().await.is_ok() {
        sleep(Duration::from_secs(1)).await;
    }
}

/// Sends most of a body, and then a byte a second, as long as the service lets it.
async fn send_slowly(address: SocketAddr, service: &'static str) {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return;
    };
    let path = if service == "analytics-service" {
        "/api/analytics/summary"
    } else {
        creation(service).0
    };
    let headers = [
        ("content-type", "application/json"),
        ("content-length", "65000"),
    ];
    let half = vec![b' '; 60_000];
    let mut bytes = request("POST", path, &headers, &half);
    while stream.write_all(&bytes).await.is_ok() {
        bytes = b" ".to_vec();
        sleep(Duration::from_secs(1)).await;
    }
}

/// The most memory that the process has used so far, where there is a `/proc` to read it from.
fn peak_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse().ok()
}

#[tokio::test]
async fn a_response_is_in_flight_until_its_last_byte_is_written() {
    let limits = [("MAX_IN_FLIGHT", "1"), ("BODY_TIMEOUT_MS", AN_HOUR)];
    each(PROGRAMS, &limits, async |subject| {
        let mut reader = TcpStream::connect(subject.address()).await;
        let reader = reader.as_mut().map_err(|cause| cause.to_string())?;
        let asked = reader.write_all(&request("GET", BUNDLE, &[], b"")).await;
        asked.map_err(|cause| cause.to_string())?;
        // Time for the service to write what the system takes.
        sleep(Duration::from_millis(100)).await;

        let started = Instant::now();
        let got = subject.get("/openapi.json").await?;
        let waited = started.elapsed();
        // The reader is disconnected first, after it has not read for a quarter of a second.
        good(got.status == 200, format!("{got:?}"))?;
        good(
            waited > Duration::from_millis(50),
            format!("the permit was free within {waited:?}"),
        )?;
        good(waited < PROMPT, format!("it took {waited:?}"))?;
        let mut rest = Vec::new();
        let read = reader.read_to_end(&mut rest).await;
        good(read.is_err(), format!("it got all {} bytes", rest.len()))
    })
    .await;
}

#[tokio::test]
async fn a_response_must_be_read_within_its_time_out() {
    let limits = [("RESPONSE_TIMEOUT_MS", "1500")];
    each(PROGRAMS, &limits, async |subject| {
        let mut reader = TcpStream::connect(subject.address()).await;
        let reader = reader.as_mut().map_err(|cause| cause.to_string())?;
        let asked = reader.write_all(&request("GET", BUNDLE, &[], b"")).await;
        asked.map_err(|cause| cause.to_string())?;
        // Steadily, but it would take seven seconds.
        let deadline = Instant::now() + TIMEOUT;
        let (mut part, mut bytes) = (vec![0; 40_000], 0);
        while reader.read_exact(&mut part).await.is_ok() {
            bytes += part.len();
            let is_cut = bytes < 1_200_000 && Instant::now() < deadline;
            good(is_cut, "it is never disconnected")?;
            sleep(Duration::from_millis(200)).await;
        }
        subject.get("/health").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn bodies_that_are_still_arriving_have_a_limit_of_their_own() {
    let limits = [
        ("MAX_ARRIVING_BODIES", "2"),
        ("MAX_IN_FLIGHT", "1"),
        ("BODY_TIMEOUT_MS", AN_HOUR),
    ];
    each(reading_bodies(), &limits, async |subject| {
        let (path, body) = creation(subject.service);
        let (begun, rest) = body.as_bytes().split_at(1);
        let mut arriving = Vec::new();
        for _ in 0..3 {
            arriving.push(subject.begin_body(path, body.len(), begun).await);
            // They are not in flight, except for the moment in which the body may still arrive
            // with its head.
            let got = subject.get("/openapi.json").await?;
            good(got.status == 200, format!("{got:?}"))?;
        }
        let sentence = arriving[0].answer(false).await?;
        let sentence = sentence.expect_error(408, "request_timeout");
        good(sentence.contains("limit of 2 bodies"), sentence)?;
        good(
            arriving[0].until_closed(TIMEOUT).await == State::Closed,
            "it stays open",
        )?;
        for (number, connection) in arriving.iter_mut().enumerate().skip(1) {
            send(connection, rest).await?;
            let got = connection.answer(false).await?;
            let was_read = got.status < 500 || got.json()["code"] == "dependency_unavailable";
            good(was_read, format!("body {number}: {got:?}"))?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn for_one_connection_too_many_the_oldest_idle_one_is_closed() {
    let limits = [
        ("MAX_CONNECTIONS", "4"),
        ("CLIENT_SHARE_PERCENT", "100"),
        ("IDLE_TIMEOUT_MS", AN_HOUR),
        ("HEAD_TIMEOUT_MS", AN_HOUR),
    ];
    each(PROGRAMS, &limits, async |subject| {
        let mut open = Vec::new();
        for _ in 0..4 {
            let mut connection = Connection::open(subject.address()).await;
            asks(&mut connection).await?;
            open.push(connection);
            // The clock of a connection counts milliseconds.
            sleep(Duration::from_millis(10)).await;
        }
        // The first is idle for the shortest time, so the second is the oldest.
        asks(&mut open[0]).await?;
        let mut fifth = Connection::open(subject.address()).await;
        asks(&mut fifth).await?;
        let closed = open[1].until_closed(TIMEOUT).await;
        good(closed == State::Closed, format!("the second is {closed:?}"))?;
        for number in [0, 2, 3] {
            let asked = asks(&mut open[number]).await;
            asked.map_err(|fault| format!("connection {number}: {fault}"))?;
        }
        Ok(())
    })
    .await;
}

async fn asks(connection: &mut Connection) -> Result<(), String> {
    send(connection, &request("GET", "/health", &[], b"")).await?;
    let got = connection.answer(false).await?;
    good(got.status == 200, format!("{got:?}"))
}

/// Only Linux has more than one address without configuration.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn one_address_gets_a_share_of_the_connections() {
    let limits = [("MAX_CONNECTIONS", "4"), ("CLIENT_SHARE_PERCENT", "50")];
    each(PROGRAMS, &limits, async |subject| {
        // They stay open while another address takes all that it gets.
        let mut modest = Vec::new();
        for _ in 0..2 {
            let socket = TcpSocket::new_v4().map_err(|cause| cause.to_string())?;
            let source = SocketAddr::from(([127, 0, 0, 2], 0));
            socket.bind(source).map_err(|cause| cause.to_string())?;
            let connected = socket.connect(subject.address()).await;
            let mut stream = connected.map_err(|cause| cause.to_string())?;
            is_alive(&mut stream).await?;
            modest.push(stream);
        }
        let mut greedy = Vec::new();
        for _ in 0..4 {
            let mut connection = Connection::open(subject.address()).await;
            asks(&mut connection).await?;
            greedy.push(connection);
        }
        for stream in &mut modest {
            is_alive(stream).await?;
        }
        let closed = greedy[0].until_closed(TIMEOUT).await;
        good(
            closed == State::Closed,
            "the greedy one keeps all of its own",
        )
    })
    .await;
}

async fn is_alive(stream: &mut TcpStream) -> Result<(), String> {
    let asked = stream.write_all(&request("GET", "/health", &[], b"")).await;
    asked.map_err(|cause| cause.to_string())?;
    let mut part = [0; 4096];
    let read = stream.read(&mut part).await;
    let read = read.map_err(|cause| cause.to_string())?;
    good(part[..read].starts_with(b"HTTP/1.1 200"), "no answer")
}
