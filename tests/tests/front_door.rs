//! The front door: each rule about slow, greedy and broken clients, written once
//! and run against all five programs. What a limit is set to is small here, so
//! that the tests are quick; what is not being tested is set to an hour.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chassis::testkit::{Got, Stub};
use futures_util::future::join_all;
use serde_json::{Value, json};
use shop_tests::PATIENCE;
use shop_tests::faults::{Faults, good};
use shop_tests::program::{PROGRAMS, Program, service_in};
use shop_tests::raw::{self, Connection, chunked, request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Longer than any test runs.
const AN_HOUR: &str = "3600000";

/// No service has more neighbours than these.
const NEIGHBOURS: [&str; 4] = [
    "USER_SERVICE_URL",
    "PRODUCT_SERVICE_URL",
    "ORDER_SERVICE_URL",
    "NOTIFICATION_SERVICE_URL",
];

/// A program of the shop, and the service that it is.
struct Door {
    service: &'static str,
    program: Program,
}

/// A route that reads a body: the service, the path and a body that it accepts.
const BODIES: [(&str, &str, &str); 4] = [
    (
        "user-service",
        "/api/users",
        r#"{"name":"Ada","email":"ada@example.com"}"#,
    ),
    (
        "product-service",
        "/api/products",
        r#"{"name":"Kettle","price":1}"#,
    ),
    (
        "order-service",
        "/api/orders",
        r#"{"userId":"1","productId":"1","quantity":1}"#,
    ),
    (
        "notification-service",
        "/api/notifications/send",
        r#"{"userId":"1","message":"Hello"}"#,
    ),
];

impl Door {
    fn open(name: &'static str, variables: &[(&str, &str)]) -> Self {
        Self {
            service: service_in(name),
            program: Program::start(name, variables),
        }
    }

    fn address(&self) -> SocketAddr {
        self.program.address()
    }

    async fn get(&self, path: &str) -> Result<Got, String> {
        raw::get(self.address(), path).await
    }

    /// A request with a body of which `part` has been sent.
    async fn begin_body(&self, path: &str, length: usize, part: &[u8]) -> Connection {
        let length = length.to_string();
        let headers = [
            ("content-type", "application/json"),
            ("content-length", length.as_str()),
        ];
        let mut connection = Connection::open(self.address()).await;
        let sent = send(&mut connection, &request("POST", path, &headers, part)).await;
        sent.expect("sent");
        connection
    }

    /// A number that it reports about itself.
    async fn metric(&self, name: &str) -> Result<u64, String> {
        let got = self.get("/metrics").await?;
        let text = String::from_utf8_lossy(&got.body).into_owned();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.ok_or_else(|| format!("no {name} in {text}"))
    }
}

/// Starts each of `programs` with `variables` and checks all of them at once.
async fn each<F>(
    programs: impl IntoIterator<Item = &'static str>,
    variables: &[(&str, &str)],
    check: impl Fn(Door) -> F,
) where
    F: Future<Output = Result<(), String>>,
{
    let mut faults = Faults::default();
    let checks = programs.into_iter().map(|program| {
        let checking = check(Door::open(program, variables));
        async move { (program, checking.await) }
    });
    for (program, finding) in join_all(checks).await {
        faults.check(program, finding);
    }
    faults.finish();
}

async fn send(connection: &mut Connection, bytes: &[u8]) -> Result<(), String> {
    let sent = connection.send(bytes).await;
    sent.map_err(|cause| format!("it does not listen: {cause}"))
}

/// The other side has closed, and has said nothing.
async fn closed_without_a_word(connection: &mut Connection) -> Result<(), String> {
    let rest = connection.rest().await?;
    good(
        rest.is_empty(),
        format!("it said {:?}", String::from_utf8_lossy(&rest)),
    )
}

#[tokio::test]
async fn a_head_has_to_arrive_in_its_time() {
    let limits = [("HEAD_TIMEOUT_MS", "400"), ("IDLE_TIMEOUT_MS", AN_HOUR)];
    each(PROGRAMS, &limits, async |door| {
        let mut silent = Connection::open(door.address()).await;
        closed_without_a_word(&mut silent)
            .await
            .map_err(|fault| format!("a connection that says nothing: {fault}"))?;

        let half = b"GET /health HTTP/1.1\r\nhost: sh";
        let mut first = Connection::open(door.address()).await;
        send(&mut first, half).await?;
        closed_without_a_word(&mut first)
            .await
            .map_err(|fault| format!("half a first head: {fault}"))?;

        let mut second = Connection::open(door.address()).await;
        send(&mut second, &request("GET", "/health", &[], b"")).await?;
        second.answer(false).await?;
        send(&mut second, half).await?;
        closed_without_a_word(&mut second)
            .await
            .map_err(|fault| format!("half a second head: {fault}"))?;
        door.get("/health").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_head_that_drips_in_gets_no_more_time() {
    let limits = [("HEAD_TIMEOUT_MS", "400"), ("IDLE_TIMEOUT_MS", AN_HOUR)];
    each(PROGRAMS, &limits, async |door| {
        for requests in [0, 1] {
            let mut stream = TcpStream::connect(door.address()).await.expect("connects");
            if requests == 1 {
                let whole = request("GET", "/health", &[], b"");
                stream.write_all(&whole).await.expect("sent");
                stream.read_u8().await.expect("an answer");
            }
            let (mut reading, mut writing) = stream.into_split();
            let drip = async {
                let mut head = b"GET /health HTTP/1.1\r\nx-drip: ".as_slice().iter();
                // Until it is closed, which may break off what is sent.
                while writing
                    .write_u8(*head.next().unwrap_or(&b'x'))
                    .await
                    .is_ok()
                {
                    sleep(Duration::from_millis(50)).await;
                }
            };
            let closed = async {
                let mut rest = Vec::new();
                // The end, or a reset because of a drop that came too late.
                let _ = reading.read_to_end(&mut rest).await;
            };
            let closing = async {
                tokio::select! {
                    () = drip => {}
                    () = closed => {}
                }
            };
            timeout(PATIENCE, closing)
                .await
                .map_err(|_| format!("it still listens, after {requests} requests"))?;
        }
        door.get("/health").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_kept_longer_than_a_head_may_take() {
    let limits = [("HEAD_TIMEOUT_MS", "300"), ("IDLE_TIMEOUT_MS", AN_HOUR)];
    each(PROGRAMS, &limits, async |door| {
        let mut connection = Connection::open(door.address()).await;
        for pause in [0, 1500, 1500] {
            sleep(Duration::from_millis(pause)).await;
            send(&mut connection, &request("GET", "/health", &[], b"")).await?;
            let got = connection.answer(false).await?;
            good(got.status == 200, format!("{got:?}"))?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let limits = [("HEAD_TIMEOUT_MS", AN_HOUR), ("IDLE_TIMEOUT_MS", "2000")];
    each(PROGRAMS, &limits, async |door| {
        let mut connection = Connection::open(door.address()).await;
        // Longer than an idle connection is kept, but never idle for so long.
        let busy_until = Instant::now() + Duration::from_millis(2600);
        while Instant::now() < busy_until {
            send(&mut connection, &request("GET", "/health", &[], b"")).await?;
            connection.answer(false).await?;
            sleep(Duration::from_millis(100)).await;
        }
        closed_without_a_word(&mut connection).await
    })
    .await;
}

#[tokio::test]
async fn a_body_has_to_arrive_in_its_time() {
    each(
        reading_bodies(),
        &[("BODY_TIMEOUT_MS", "500")],
        async |door| {
            let (path, _) = creation(door.service);
            for (drips, reason) in [(false, "it stalls"), (true, "it trickles in")] {
                let mut connection = door.begin_body(path, 10_000, b"{").await;
                if drips {
                    // A second of it; it may be over before.
                    for _ in 0..20 {
                        if connection.send(b" ").await.is_err() {
                            break;
                        }
                        sleep(Duration::from_millis(50)).await;
                    }
                }
                let got = connection
                    .answer(false)
                    .await
                    .map_err(|fault| format!("{reason}: {fault}"))?;
                good(got.header("connection") == "close", "it stays open")?;
                let sentence = got.expect_error(408, "request_timeout");
                good(sentence.contains("0.5 s"), sentence)?;
                closed_without_a_word(&mut connection).await?;
            }
            door.get("/health").await.map(drop)
        },
    )
    .await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_no_harm() {
    let limits = [("HEAD_TIMEOUT_MS", "500"), ("IDLE_TIMEOUT_MS", "500")];
    each(PROGRAMS, &limits, async |door| {
        let endless = [("transfer-encoding", "chunked")];
        for (headers, body, reason) in [
            (&[][..], b"{}".to_vec(), "a whole one"),
            (&endless[..], chunked(b"{}", 1), "a whole one in chunks"),
            (
                &[("content-length", "100000000")][..],
                b"{".to_vec(),
                "one that never comes",
            ),
            (&endless[..], b"5\r\nabc".to_vec(), "half a chunk"),
        ] {
            let mut connection = Connection::open(door.address()).await;
            send(&mut connection, &request("GET", "/health", headers, &body)).await?;
            let got = connection.answer(false).await;
            let got = got.map_err(|fault| format!("{reason}: {fault}"))?;
            good(got.status == 200, format!("{reason}: {got:?}"))?;
            let closed = closed_without_a_word(&mut connection).await;
            closed.map_err(|fault| format!("{reason}: {fault}"))?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_waited_for() {
    let limits = [
        ("BODY_TIMEOUT_MS", "500"),
        ("HEAD_TIMEOUT_MS", AN_HOUR),
        ("IDLE_TIMEOUT_MS", AN_HOUR),
    ];
    each(PROGRAMS, &limits, async |door| {
        let mut stream = TcpStream::connect(door.address()).await.expect("connects");
        // Some hundred megabytes: more than the system keeps for a reader.
        let large = request("GET", "/docs/swagger-ui-bundle.js", &[], b"").repeat(100);
        let closed = async {
            // A connection that was given up is reset, and that is met in writing.
            if stream.write_all(&large).await.is_ok() {
                while stream.write_all(b"\r\n").await.is_ok() {
                    sleep(Duration::from_millis(50)).await;
                }
            }
        };
        timeout(PATIENCE, closed)
            .await
            .map_err(|_| "it is still waited for".to_owned())?;
        door.get("/health").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    each(PROGRAMS, &[], async |door| {
        let long = |bytes| "x".repeat(bytes);
        for (target, header, headers, fits, reason) in [
            (0, 1000, 60, true, "60 KB in many headers"),
            (0, 60_000, 1, true, "60 KB in one header"),
            (60_000, 0, 0, true, "60 KB in its target"),
            (0, 1000, 68, false, "68 KB in many headers"),
            (0, 68_000, 1, false, "68 KB in one header"),
            (68_000, 0, 0, false, "68 KB in its target"),
            (34_000, 34_000, 1, false, "68 KB in both"),
            (0, 100_000, 1, false, "100 KB in one header"),
        ] {
            let target = format!("/health?{}", long(target));
            let value = long(header);
            let headers = vec![("x-long", value.as_str()); headers];
            let got = raw::exchange(door.address(), &request("GET", &target, &headers, b"")).await;
            let got = got.map_err(|fault| format!("{reason}: {fault}"))?;
            let as_it_should = if fits {
                got.status == 200
            } else {
                matches!(got.status, 400 | 414 | 431)
            };
            good(as_it_should, format!("{reason}: {}", got.status))?;
        }
        // One without an end, of which the system may lose the answer.
        let mut endless = Connection::open(door.address()).await;
        let mut sent = endless.send(b"GET /health HTTP/1.1\r\nx-long: ").await;
        for _ in 0..1000 {
            if sent.is_ok() {
                sent = endless.send(&[b'x'; 1000]).await;
            }
        }
        match endless.rest().await {
            Ok(rest) if rest.starts_with(b"HTTP/1.1 431") || rest.is_empty() => {}
            Err(reset) if reset.contains("reset") => {}
            other => return Err(format!("a megabyte: {other:?}")),
        }
        door.get("/health").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn fifteen_hundred_idle_connections_keep_nobody_out() {
    // What most systems give a process. The services inherit it from here.
    let (_, most) = rlimit::Resource::NOFILE.get().expect("a limit");
    let usual = |soft| rlimit::Resource::NOFILE.set(soft, most);
    usual(1024).expect("a lower limit");
    let doors = PROGRAMS.map(|program| Door::open(program, &[("HEAD_TIMEOUT_MS", AN_HOUR)]));
    usual(most.min(100_000)).expect("a higher limit");
    assert!(
        most > 2000,
        "the system lets a process have only {most} files"
    );
    for door in doors {
        let mut idle = Vec::new();
        for number in 0..1500 {
            let mut connection = Connection::open(door.address()).await;
            // Half of them have asked something before.
            if number % 2 == 0 {
                let sent = send(&mut connection, &request("GET", "/health", &[], b"")).await;
                sent.expect("sent");
                let got = connection.answer(false).await;
                assert!(got.is_ok(), "{}, {number}: {got:?}", door.service);
            }
            idle.push(connection);
        }
        let got = door.get("/health/ready").await;
        assert!(got.is_ok(), "{}: {got:?}", door.service);
    }
}

#[tokio::test]
async fn one_request_too_many_is_refused_and_health_is_not() {
    each(reading_bodies(), &[("MAX_IN_FLIGHT", "2")], async |door| {
        let (path, body) = creation(door.service);
        let (begun, rest) = body.as_bytes().split_at(1);
        let mut at_work = [
            door.begin_body(path, body.len(), begun).await,
            door.begin_body(path, body.len(), begun).await,
        ];
        refused_in_time(&door, path).await?;
        // One that has yet to send its body is refused before.
        let mut third = door.begin_body(path, body.len(), begun).await;
        third.answer(false).await?.expect_error(503, "overloaded");
        health_answers(&door).await?;

        for connection in &mut at_work {
            send(connection, rest).await?;
            let got = connection.answer(false).await?;
            let code = if got.body.is_empty() {
                Value::Null
            } else {
                got.json()["code"].clone()
            };
            good(code != "overloaded", "one that was at work was refused")?;
        }
        let got = door.get(path).await?;
        good(
            got.status == 200 || got.status == 405,
            format!("after: {got:?}"),
        )
    })
    .await;
}

/// analytics-service has no bodies to wait for, but neighbours.
#[tokio::test]
async fn a_service_that_waits_for_its_neighbours_refuses_too() {
    let hung = Stub::hanging().await;
    let url = hung.url();
    let mut variables = NEIGHBOURS.map(|name| (name, url.as_str())).to_vec();
    // Or it would soon know better than to wait.
    variables.extend([("RESILIENCE", "off"), ("MAX_IN_FLIGHT", "2")]);
    each(["analytics-service"], &variables, async |door| {
        let path = "/api/analytics/summary";
        let busy = (0..4).map(async |_| {
            loop {
                // Which of them are refused does not matter.
                let _ = door.get(path).await;
                sleep(Duration::from_millis(10)).await;
            }
        });
        tokio::select! {
            refused = refused_in_time(&door, path) => refused?,
            _ = join_all(busy) => {}
        }
        health_answers(&door).await?;

        // The slow ones end, and there is room again.
        let deadline = Instant::now() + PATIENCE;
        while door.get(path).await?.status != 200 {
            good(Instant::now() < deadline, "there is no room any more")?;
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    })
    .await;
}

/// Waits until a request is refused because too many are at work.
async fn refused_in_time(door: &Door, path: &str) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let got = door.get(path).await?;
        if got.status == 503 {
            good(got.header("retry-after") == "1", "no Retry-After")?;
            got.expect_error(503, "overloaded");
            return Ok(());
        }
        good(Instant::now() < deadline, "nothing is ever refused")?;
        sleep(Duration::from_millis(10)).await;
    }
}

async fn health_answers(door: &Door) -> Result<(), String> {
    for path in ["/health", "/health/ready", "/metrics"] {
        let got = door.get(path).await?;
        let overloaded = String::from_utf8_lossy(&got.body).contains("\"overloaded\"");
        good(!overloaded, format!("{path} is refused"))?;
        // A dependency that is down is no reason to refuse.
        good(
            got.status == 200 || path == "/health/ready",
            format!("{path}: {got:?}"),
        )?;
    }
    Ok(())
}

/// The programs that read bodies.
fn reading_bodies() -> impl Iterator<Item = &'static str> {
    let reads =
        |program: &&'static str| BODIES.iter().any(|(name, ..)| *name == service_in(program));
    PROGRAMS.into_iter().filter(reads)
}

/// A path where the service reads a body, and one that it accepts.
fn creation(service: &str) -> (&'static str, &'static str) {
    let found = BODIES.iter().find(|(name, ..)| *name == service);
    let (_, path, body) = found.expect("a service with bodies");
    (path, body)
}

#[tokio::test]
async fn a_full_store_says_so_and_takes_more_when_there_is_room() {
    let storing = reading_bodies().filter(|program| *program != "order-service");
    each(storing, &[("MAX_RECORDS", "2")], async |door| {
        let (path, records) = match door.service {
            "user-service" => ("/api/users", "/api/users"),
            "product-service" => ("/api/products", "/api/products"),
            _ => ("/api/notifications/send", "/api/notifications"),
        };
        let create = async |number| {
            let body = json!({
                "name": "Ada", "email": format!("{number}@example.com"),
                "price": 1, "userId": "1", "message": "Hello",
            });
            raw::post(door.address(), path, &[], &body).await
        };
        for number in [1, 2] {
            let status = create(number).await?.status;
            good(status == 201, format!("record {number}: {status}"))?;
        }
        let sentence = create(3).await?.expect_error(507, "store_full");
        good(
            sentence.contains('2') && sentence.contains("MAX_RECORDS"),
            sentence,
        )?;
        let (records_now, limit) = (
            door.metric("store_records").await?,
            door.metric("store_records_limit").await?,
        );
        good(
            (records_now, limit) == (2, 2),
            format!("{records_now} of {limit}"),
        )?;

        let gone = request("DELETE", &format!("{records}/1"), &[], b"");
        let status = raw::exchange(door.address(), &gone).await?.status;
        good(status == 200, format!("delete: {status}"))?;
        good(door.metric("store_records").await? == 1, "not counted")?;
        let status = create(4).await?.status;
        good(status == 201, format!("with room again: {status}"))
    })
    .await;
}

#[tokio::test]
async fn a_full_store_of_orders_takes_no_stock() {
    let users = Door::open("user-service", &[]);
    let products = Door::open("product-service", &[]);
    let notifications = Door::open("notification-service", &[]);
    let url = |door: &Door| door.program.url();
    let orders = Door::open(
        "order-service",
        &[
            ("USER_SERVICE_URL", &url(&users)),
            ("PRODUCT_SERVICE_URL", &url(&products)),
            ("NOTIFICATION_SERVICE_URL", &url(&notifications)),
            ("MAX_RECORDS", "3"),
        ],
    );
    let post = async |door: &Door, path: &str, body: Value| {
        let got = raw::post(door.address(), path, &[], &body).await;
        got.expect("an answer")
    };
    let ada = json!({"name": "Ada", "email": "ada@example.com"});
    post(&users, "/api/users", ada).await.expect(201);
    let kettle = json!({"name": "Kettle", "price": 1, "stock": 100});
    post(&products, "/api/products", kettle).await.expect(201);
    let order = json!({"userId": "1", "productId": "1", "quantity": 2});

    // All at once: some find room, take stock and then find none.
    let placing = (0..16).map(|_| post(&orders, "/api/orders", order.clone()));
    let mut statuses = BTreeMap::new();
    for got in join_all(placing).await {
        *statuses.entry(got.status).or_insert(0) += 1;
        if got.status == 507 {
            got.expect_error(507, "store_full");
        }
    }
    assert_eq!(statuses, BTreeMap::from([(201, 3), (507, 13)]));
    let sentence = post(&orders, "/api/orders", order).await;
    let sentence = sentence.expect_error(507, "store_full");
    assert!(sentence.contains("MAX_RECORDS"), "{sentence}");

    let product = products.get("/api/products/1").await.expect("an answer");
    assert_eq!(product.expect(200)["stock"], 100 - 3 * 2);
    assert_eq!(orders.metric("store_records").await, Ok(3));
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_half_a_head() {
    each(PROGRAMS, &[], async |mut door| {
        let mut waiting = Vec::new();
        for (first, then, reason) in [
            ("", "", "silent"),
            ("", "GET /health HTTP/1.1\r\nhost: sh", "half a first head"),
            ("GET /health HTTP/1.1\r\nhost: s\r\n\r\n", "", "idle"),
            (
                "POST /health HTTP/1.1\r\nhost: s\r\ncontent-length: 2\r\n\r\n{}",
                "",
                "idle after a body",
            ),
            (
                "GET /health HTTP/1.1\r\nhost: s\r\n\r\n",
                "GET /hea",
                "half a second head",
            ),
        ] {
            let mut connection = Connection::open(door.address()).await;
            if !first.is_empty() {
                connection.send(first.as_bytes()).await.expect("sent");
                connection.answer(false).await?;
            }
            connection.send(then.as_bytes()).await.expect("sent");
            waiting.push((connection, reason));
        }
        // Time for what was sent to be read.
        sleep(Duration::from_millis(200)).await;
        door.program.signal("TERM");
        for (connection, reason) in &mut waiting {
            let closed = closed_without_a_word(connection).await;
            // What arrived too late to be read is answered with a reset.
            if let Err(fault) = closed
                && !fault.contains("reset")
            {
                return Err(format!("{reason}: {fault}"));
            }
        }
        // Half a head gets a second; the grace, which it does not get, is 10 s.
        let ended = door.program.ended(Duration::from_secs(4));
        good(ended.status == Some(0), format!("{ended:?}"))
    })
    .await;
}

#[tokio::test]
async fn under_load_a_shutdown_leaves_every_answer_whole_or_none() {
    each(PROGRAMS, &[], async |mut door| {
        let address = door.address();
        let answers = Arc::new(AtomicUsize::new(0));
        let clients = (0..16).map(|client| {
            let answers = Arc::clone(&answers);
            tokio::spawn(ask_until_refused(address, client, answers))
        });
        let clients: Vec<_> = clients.collect();
        let deadline = Instant::now() + PATIENCE;
        while answers.load(Ordering::Relaxed) <= 100 {
            good(Instant::now() < deadline, "not even a hundred answers")?;
            sleep(Duration::from_millis(10)).await;
        }
        door.program.signal("TERM");
        for client in clients {
            let asked = timeout(PATIENCE, client).await;
            let asked = asked.map_err(|_| "a client hangs")?;
            asked.expect("no panic")?;
        }
        let ended = door.program.ended(PATIENCE);
        good(
            ended.status == Some(0) && ended.stderr.is_empty(),
            format!("{ended:?}"),
        )
    })
    .await;
}

/// Asks for one thing after the other, on new and on kept connections, until
/// nobody listens any more, and counts the answers. Says which one was not whole.
async fn ask_until_refused(
    address: SocketAddr,
    client: usize,
    all: Arc<AtomicUsize>,
) -> Result<(), String> {
    let mut answers = 0;
    while let Ok(mut stream) = TcpStream::connect(address).await {
        loop {
            let path = ["/openapi.json", "/health", "/metrics"][(client + answers) % 3];
            let sent = stream.write_all(&request("GET", path, &[], b"")).await;
            let mut answer = Vec::new();
            if sent.is_ok() {
                while !is_whole(&answer) {
                    match stream.read_buf(&mut answer).await {
                        Ok(0) | Err(_) => break,
                        Ok(_) => {}
                    }
                }
            }
            if answer.is_empty() {
                break;
            }
            if !is_whole(&answer) {
                return Err(format!("{path} broke off after {} bytes", answer.len()));
            }
            answers += 1;
            all.fetch_add(1, Ordering::Relaxed);
            if answers % 50 == client {
                break;
            }
        }
    }
    Ok(())
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}
