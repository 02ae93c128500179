//! Asking an instance whether it is ready.
//!
//! An instance is asked for `/health/ready` on a connection that carries nothing else. So the
//! requests of others do not delay it, and an instance that shuts down shows it at once: it
//! closes this connection and accepts no other.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::HOST;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use crate::upstream::client::is_mistaken_for;
use crate::upstream::instances::Settings;
use crate::upstream::instances::instance::{Health, Instance};
use crate::upstream::line::{Line, closes};

/// The unanswered questions in a row after which an instance counts as silent.
const MISSES: u32 = 3;

/// The fields of `/health/ready` that are needed.
#[derive(Deserialize)]
struct Readiness {
    status: String,
    service: String,
}

/// Why a question has no answer.
enum Miss {
    NoConnection,
    NoAnswer,
}

/// What an instance says, and its connection if that stays open.
type Said = (Health, Option<Line>);

/// Asks an instance of `service` again and again, and sets its health. Never returns.
pub(super) async fn watch(instance: Arc<Instance>, service: &'static str, settings: Settings) {
    let (mut line, mut misses, mut was_hurried) = (None, 0, false);
    loop {
        let said = timeout(settings.answer_within, ask(&instance, service, &mut line)).await;
        let before = instance.health();
        let health = match said.unwrap_or(Err(Miss::NoAnswer)) {
            Ok((health, kept)) => {
                (line, misses) = (kept, 0);
                health
            }
            // Something else has shown that it may be gone, or it was not known to be there.
            Err(Miss::NoConnection) if was_hurried || before != Health::Ready => Health::Gone,
            Err(_) => {
                misses += 1;
                if misses >= MISSES && before != Health::Gone {
                    Health::Silent
                } else {
                    before
                }
            }
        };
        tell(&instance, service, health);
        let is_missed = misses > 0 || matches!(health, Health::Gone | Health::Draining);
        let pause = if is_missed {
            settings.ask_again
        } else {
            settings.ask_every
        };
        let closed = async {
            match &mut line {
                // One question ahead of time, or a server that closes each connection would be
                // asked all the time.
                Some(line) if !was_hurried => line.closed().await,
                _ => std::future::pending().await,
            }
        };
        let doubted = async {
            if was_hurried {
                sleep(settings.ask_again).await;
            }
            instance.doubted().await;
        };
        was_hurried = tokio::select! {
            () = sleep(pause) => false,
            () = closed => true,
            () = doubted => true,
        };
    }
}

/// Asks on `line`, or on a new connection if there is none or if it is closed.
async fn ask(
    instance: &Instance,
    service: &'static str,
    line: &mut Option<Line>,
) -> Result<Said, Miss> {
    let open = line.take().filter(|line| !line.is_closed());
    let mut line = if let Some(open) = open {
        open
    } else {
        let opened = Line::open(instance.url().host_and_port()).await;
        opened.map_err(|_| Miss::NoConnection)?
    };
    let question = Request::get("/health/ready")
        .header(HOST, instance.url().authority())
        .body(Full::<Bytes>::default())
        .map_err(|_| Miss::NoAnswer)?;
    let (head, body) = line.ask(question).await.map_err(|_| Miss::NoAnswer)?;
    let readiness = serde_json::from_slice::<Readiness>(&body).ok();
    let closes = closes(&head);
    let health = match readiness {
        Some(readiness) if is_mistaken_for(&readiness.service, service) => Health::Mistaken,
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
    let is_no_news = before == health
        || matches!(
            (before, health),
            (Health::Unasked, Health::Ready) | (Health::Draining | Health::Silent, Health::Gone)
        );
    if is_no_news {
        return;
    }
    match health {
        Health::Unasked => {}
        Health::Ready => tracing::info!(upstream, url, "the instance is ready again"),
        Health::Unavailable => {
            tracing::warn!(upstream, url, "the instance says that it is unavailable");
        }
        Health::Silent => tracing::warn!(upstream, url, "the instance does not answer"),
        Health::Mistaken => tracing::warn!(
            upstream,
            url,
            "another service answers at the address of the instance"
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
