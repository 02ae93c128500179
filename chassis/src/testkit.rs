//! For tests: a real server on a free port, a client that reads answers whole,
//! and stand-ins for other services that misbehave on demand.

pub mod conformance;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

pub use harness::Got;
use harness::PATIENCE;
use harness::raw::{self, Request};
use reqwest::Method;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::env::Env;
use crate::serve::run::RunError;
use crate::serve::shutdown::Shutdown;
use crate::upstream::client::{Upstream, connections};
use crate::upstream::resilience::Resilience;
use crate::upstream::url::UpstreamUrl;

/// A running service. Dropped, it is stopped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    http: reqwest::Client,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), RunError>>,
}

impl Server {
    /// Starts what `serve` makes of a listener on a free port.
    pub async fn start<F>(serve: impl FnOnce(TcpListener, Shutdown) -> F) -> Self
    where
        F: Future<Output = Result<(), RunError>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let shutdown = Shutdown::default();
        let task = tokio::spawn(serve(listener, shutdown.clone()));
        Self {
            address,
            http: connections().expect("a client"),
            shutdown,
            task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where another service finds it.
    pub fn upstream_url(&self) -> UpstreamUrl {
        UpstreamUrl::of(self.address)
    }

    /// A request to it.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.address))
            .timeout(PATIENCE)
    }

    /// Gets `path`.
    pub async fn get(&self, path: &str) -> Got {
        Got::from(self.request(Method::GET, path)).await
    }

    /// Sends `method` with `body` as JSON.
    pub async fn send(&self, method: &str, path: &str, body: Value) -> Got {
        Got::from(
            self.request(method.parse().expect("a method"), path)
                .json(&body),
        )
        .await
    }

    /// Posts `body` as JSON.
    pub async fn post(&self, path: &str, body: Value) -> Got {
        self.send("POST", path, body).await
    }

    /// Asks it to stop, without waiting.
    pub fn request_shutdown(&self) {
        self.shutdown.request();
    }

    /// Stops it, and waits until it has.
    pub async fn stop(mut self) {
        self.shutdown.request();
        let stopped = tokio::time::timeout(PATIENCE, &mut self.task)
            .await
            .expect("stops in time");
        stopped.expect("does not panic").expect("stops cleanly");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

/// An environment in which nothing is set but `variables`.
pub fn env<'a>(variables: &'a [(&'a str, String)]) -> Env<'a> {
    Env::new(|name| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.clone())
    })
}

/// A stand-in for another service, as an upstream of its caller.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
    // The port of one that refuses: let go, it could be another stub's.
    _held: Option<TcpSocket>,
}

impl Stub {
    /// One that gives this answer to every request.
    pub async fn answering(status: &'static str, body: &str) -> Self {
        let body = body.to_owned();
        Self::replying(move |_| (status, body.clone())).await
    }

    /// One that answers with the status line and the JSON that `reply` makes of
    /// a request, which it is given as text, body and all.
    pub async fn replying(
        reply: impl Fn(&str) -> (&'static str, String) + Send + Sync + 'static,
    ) -> Self {
        Self::accepting_requests(move |request| {
            let (status, body) = reply(request);
            raw::json(status, "", &body)
        })
        .await
    }

    /// One that sends the bytes that `reply` makes of a request, HTTP or not, and
    /// closes the connection.
    pub async fn sending(reply: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::accepting_requests(move |request| reply(request).into_bytes()).await
    }

    async fn accepting_requests(reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let reply = Arc::new(reply);
        Self::accepting(move |mut stream| {
            let reply = Arc::clone(&reply);
            async move {
                // Whoever calls may go away at any moment; that is its affair.
                if let Some(request) = Request::read(&mut stream).await {
                    let _ = stream.write_all(&reply(&request.text())).await;
                    let _ = stream.shutdown().await;
                }
            }
        })
        .await
    }

    /// One that takes requests and never answers.
    pub async fn hanging() -> Self {
        Self::accepting(|stream| async move {
            let _held = stream;
            std::future::pending::<()>().await;
        })
        .await
    }

    async fn accepting<F>(talk: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let accepting = tokio::spawn(async move {
            // Dropped with the stub, the set ends its conversations.
            let mut conversations = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                conversations.spawn(talk(stream));
            }
        });
        Self {
            address,
            task: Some(accepting),
            _held: None,
        }
    }

    /// One that is not there: its port refuses connections.
    pub async fn refusing() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a free port");
        Self {
            address: socket.local_addr().expect("a bound address"),
            task: None,
            _held: Some(socket),
        }
    }

    /// Where it is found.
    pub fn url(&self) -> UpstreamUrl {
        UpstreamUrl::of(self.address)
    }

    /// As an upstream to call.
    pub fn upstream(&self) -> Upstream {
        self.upstream_with(Resilience::default())
    }

    /// As an upstream to call in this way.
    pub fn upstream_with(&self, resilience: Resilience) -> Upstream {
        let http = connections().expect("a client");
        Upstream::new("stub-service", &self.url(), http, resilience)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
