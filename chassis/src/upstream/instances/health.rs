//! Asking an instance whether it is ready.
//!
//! An instance is asked for `/health/ready` on a connection that carries nothing else. So the
//! requests of others do not delay it, and an instance that shuts down shows it at once: it
//! closes this connection and accepts no other.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::upstream::client::is_mistaken_for;
use crate::upstream::instances::instance::{Health, Instance};

/// How long an answer may take, with the connection.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The unanswered questions in a row after which an instance counts as silent.
const MISSES: u32 = 3;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// The fields of `/health/ready` that are needed.
#[derive(Deserialize)]
struct Readiness {
    status: String,
    service: String,
}

/// A connection for questions only.
struct Line {
    requests: SendRequest<Empty<Bytes>>,
    /// Ends when the connection is closed.
    driver: AbortOnDropHandle<()>,
}

/// Why a question has no answer.
enum Miss {
    NoConnection,
    NoAnswer,
}

/// What an instance says, and its connection if that stays open.
type Said = (Health, Option<Line>);

impl Line {
    async fn open(instance: &Instance) -> io::Result<Self> {
        let stream = TcpStream::connect(instance.url().host_and_port()).await?;
        let (requests, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // The next question shows that it is closed.
            let _ = connection.await;
        }));
        Ok(Self { requests, driver })
    }
}

/// Asks an instance of `service` every `interval`, and sets its health. Never returns.
pub(super) async fn watch(instance: Arc<Instance>, service: &'static str, interval: Duration) {
    let (mut line, mut misses, mut was_closed) = (None, 0, false);
    loop {
        let said = timeout(TIMEOUT, ask(&instance, service, &mut line)).await;
        let health = match said.unwrap_or(Err(Miss::NoAnswer)) {
            Ok((health, kept)) => {
                (line, misses) = (kept, 0);
                health
            }
            Err(Miss::NoConnection) if was_closed => Health::Gone,
            Err(_) => {
                misses += 1;
                if misses >= MISSES && instance.health() != Health::Gone {
                    Health::Silent
                } else {
                    instance.health()
                }
            }
        };
        tell(&instance, service, health);
        let closed = async {
            match &mut line {
                // One question ahead of time, or a server that closes each connection would be
                // asked all the time.
                Some(line) if !was_closed => drop((&mut line.driver).await),
                _ => std::future::pending().await,
            }
        };
        was_closed = tokio::select! {
            () = sleep(interval) => false,
            () = closed => true,
        };
    }
}

/// Asks on `line`, or on a new connection if there is none or if it is closed.
async fn ask(
    instance: &Instance,
    service: &'static str,
    line: &mut Option<Line>,
) -> Result<Said, Miss> {
    let line = line.take().filter(|line| !line.requests.is_closed());
    let mut line = match line {
        Some(line) => line,
        None => Line::open(instance).await.map_err(|_| Miss::NoConnection)?,
    };
    let question = Request::get("/health/ready")
        .header(HOST, instance.url().authority())
        .body(Empty::new())
        .map_err(|_| Miss::NoAnswer)?;
    let answer = line.requests.send_request(question).await;
    let (head, body) = answer.map_err(|_| Miss::NoAnswer)?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map_err(|_| Miss::NoAnswer)?.to_bytes();
    let readiness = serde_json::from_slice::<Readiness>(&body).ok();
    let closes = head
        .headers
        .get(CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    let health = match readiness {
        // Its address is wrong, so it is of no use.
        Some(readiness) if is_mistaken_for(&readiness.service, service) => Health::Silent,
        _ if head.status.is_success() => Health::Ready,
        // The last answer before a shutdown closes the connection.
        Some(readiness) if readiness.status == "unavailable" && closes => Health::Draining,
        Some(readiness) if readiness.status == "unavailable" => Health::Unavailable,
        _ => return Err(Miss::NoAnswer),
    };
    Ok((health, (!closes).then_some(line)))
}

/// Sets the health, and logs what changes.
fn tell(instance: &Instance, upstream: &'static str, health: Health) {
    let before = instance.set_health(health);
    let url = instance.url().as_str();
    if before == health {
        return;
    }
    match health {
        Health::Ready => tracing::info!(upstream, url, "the instance is ready again"),
        Health::Unavailable => {
            tracing::warn!(upstream, url, "the instance says that it is unavailable");
        }
        Health::Silent => tracing::warn!(
            upstream,
            url,
            "the instance does not answer as this service"
        ),
        Health::Gone => {
            tracing::warn!(
                upstream,
                url,
                "the instance has stopped, or is about to stop"
            );
        }
        Health::Draining => tracing::info!(upstream, url, "the instance shuts down"),
    }
}
