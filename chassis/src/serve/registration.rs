//! A service registers itself, so that others find it at the address on which it really listens.
//!
//! ```text
//! start ──▶ PUT, again every 2 s ──▶ a signal ──▶ DELETE ──▶ shutdown
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::serve::config::ServiceConfig;
use crate::serve::shutdown::Shutdown;
use crate::upstream::line::Line;
use crate::upstream::registry::{PATH, Pause, Registry, run_id};

/// How long the registry may take to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How long it may take at the end: the shutdown waits for it.
const LAST_TIMEOUT: Duration = Duration::from_millis(500);

/// Registers the instance that listens on `listener`, if the configuration says where, and renews
/// that until a shutdown is announced. Then it deregisters it, and the shutdown waits for that.
pub fn begin(
    config: &ServiceConfig,
    listener: &TcpListener,
    shutdown: &Shutdown,
) -> io::Result<()> {
    if config.registry.url().is_none() {
        return Ok(());
    }
    let registration = Registration {
        registry: config.registry.clone(),
        path: format!("{PATH}/{}/{}", config.service, run_id()),
        listen: listener.local_addr()?,
        line: None,
    };
    shutdown.spawn_before(registration.keep(shutdown.clone()));
    Ok(())
}

/// One instance.
struct Registration {
    registry: Registry,
    path: String,
    listen: SocketAddr,
    line: Option<Line>,
}

/// How the registry has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answered {
    Registered,
    /// Somebody has deregistered the instance.
    Removed,
    Failed(String),
}

impl Registration {
    async fn keep(mut self, shutdown: Shutdown) {
        let (mut pause, mut last) = (Pause::default(), None);
        // Whether the registry may know it.
        let mut is_known = false;
        loop {
            let answered = tokio::select! {
                answered = self.renew() => answered,
                () = shutdown.announced() => {
                    // It is on its way, and does not revive what is deregistered after it.
                    is_known = true;
                    break;
                }
            };
            is_known |= answered == Answered::Registered;
            if last.as_ref() != Some(&answered) {
                self.tell(&answered);
            }
            if answered == Answered::Removed {
                return;
            }
            let pause = pause.after(answered == Answered::Registered);
            last = Some(answered);
            tokio::select! {
                () = sleep(pause) => {}
                () = shutdown.announced() => break,
            }
        }
        if !is_known {
            return;
        }
        let sent = timeout(LAST_TIMEOUT, self.send(Method::DELETE)).await;
        if !matches!(sent, Ok(Ok((StatusCode::NO_CONTENT, _)))) {
            let path = self.path.as_str();
            tracing::warn!(path, "not deregistered, the registry will forget it");
        }
    }

    async fn renew(&mut self) -> Answered {
        let sent = timeout(TIMEOUT, self.send(Method::PUT)).await;
        match sent {
            Ok(Ok((status, _))) if status.is_success() => Answered::Registered,
            Ok(Ok((StatusCode::GONE, _))) => Answered::Removed,
            Ok(Ok((_, sentence))) => Answered::Failed(sentence),
            Ok(Err(error)) => Answered::Failed(error.to_string()),
            Err(_) => Answered::Failed(format!("no answer within {TIMEOUT:?}")),
        }
    }

    async fn send(&mut self, method: Method) -> io::Result<(StatusCode, String)> {
        let (listen, is_put) = (self.listen, method == Method::PUT);
        let body = |local: IpAddr| {
            let ip = if listen.ip().is_unspecified() {
                local
            } else {
                listen.ip()
            };
            let address = SocketAddr::new(ip, listen.port());
            is_put.then(|| json!({ "address": address }).to_string().into_bytes())
        };
        let (line, from) = (&mut self.line, listen.ip());
        let sent = self.registry.send(line, from, method, &self.path, body);
        let answer = sent.await?;
        Ok((answer.status, answer.sentence()))
    }

    fn tell(&self, answered: &Answered) {
        let path = self.path.as_str();
        match answered {
            Answered::Registered => tracing::info!(path, "registered"),
            Answered::Removed => tracing::warn!(
                path,
                "somebody has deregistered this instance; restart it to register it again"
            ),
            Answered::Failed(error) => {
                tracing::warn!(path, error, "not registered, it is tried again and again");
            }
        }
    }
}
