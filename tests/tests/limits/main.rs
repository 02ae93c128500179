//! Time-outs and limits: the rules about slow, greedy and broken clients, tested on all five
//! programs. The tested limits are small, so that the tests are quick; all others are an hour.

mod capacity;
mod crowds;
mod shutdown;
mod timeouts;

use std::future::Future;
use std::net::SocketAddr;

use chassis::testkit::Got;
use futures_util::future::join_all;
use harness::raw::{self, Connection, request};
use shop_tests::faults::{Faults, good};
use shop_tests::program::{PROGRAMS, Program, service_in};

/// Longer than any test runs.
const AN_HOUR: &str = "3600000";

/// The variables of all upstreams.
const UPSTREAMS: [&str; 4] = [
    "USER_SERVICE_URL",
    "PRODUCT_SERVICE_URL",
    "ORDER_SERVICE_URL",
    "NOTIFICATION_SERVICE_URL",
];

/// A program of the shop, and its service.
struct Subject {
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

impl Subject {
    fn start(name: &'static str, variables: &[(&str, &str)]) -> Self {
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

    /// The value of one of its metrics.
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
    check: impl Fn(Subject) -> F,
) where
    F: Future<Output = Result<(), String>>,
{
    let mut faults = Faults::default();
    let checks = programs.into_iter().map(|program| {
        let checking = check(Subject::start(program, variables));
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

/// Checks that the other side closes without an answer.
async fn closed_without_a_word(connection: &mut Connection) -> Result<(), String> {
    let rest = connection.rest().await?;
    good(
        rest.is_empty(),
        format!("it said {:?}", String::from_utf8_lossy(&rest)),
    )
}

async fn health_answers(subject: &Subject) -> Result<(), String> {
    for path in ["/health", "/health/ready", "/metrics"] {
        let got = subject.get(path).await?;
        let overloaded = String::from_utf8_lossy(&got.body).contains("\"overloaded\"");
        good(!overloaded, format!("{path} is refused"))?;
        // A dependency that is down is not a reason to refuse.
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
