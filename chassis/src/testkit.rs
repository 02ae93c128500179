//! For tests: a real server on a free port, a client that reads whole responses, and stubs of
//! other services, which can fail in many ways.

pub mod conformance;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

pub use harness::Got;
use harness::TIMEOUT;
use harness::raw::{self, Request};
use reqwest::Method;
use reqwest::redirect::Policy;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::env::Env;
use crate::serve::run::RunError;
use crate::serve::shutdown::Shutdown;
use crate::upstream::client::{Connections, Upstream};
use crate::upstream::resilience::Resilience;
use crate::upstream::url::UpstreamUrl;

/// A running service. It stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    http: reqwest::Client,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), RunError>>,
}

impl Server {
    /// Runs `serve` with a listener on a free port.
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
            http: client(),
            shutdown,
            task,
        }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, for another service.
    pub fn upstream_url(&self) -> UpstreamUrl {
        UpstreamUrl::of(self.address)
    }

    /// A request to it.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.address))
            .timeout(TIMEOUT)
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

    /// Requests its shutdown, without waiting for it.
    pub fn request_shutdown(&self) {
        self.shutdown.request();
    }

    /// Shuts it down, and waits until it has stopped.
    pub async fn stop(mut self) {
        self.shutdown.request();
        let stopped = tokio::time::timeout(TIMEOUT, &mut self.task)
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

/// An environment in which only `variables` are set.
pub fn env<'a>(variables: &'a [(&'a str, String)]) -> Env<'a> {
    Env::new(|name| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.clone())
    })
}

/// A client that sends what a test says: no proxy, no redirects.
fn client() -> reqwest::Client {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none());
    client.build().expect("a client without TLS")
}

/// A stub of another service.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
    // The port of a refusing stub, held so that no other stub gets it.
    _held: Option<TcpSocket>,
}

impl Stub {
    /// A stub that answers every request with this status and body.
    pub async fn answering(status: &'static str, body: &str) -> Self {
        let body = body.to_owned();
        Self::replying(move |_| (status, body.clone())).await
    }

    /// The same at this address.
    pub async fn answering_at(address: SocketAddr, status: &'static str, body: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free address");
        let body = body.to_owned();
        Self::on(listener, move |mut stream| {
            let answer = raw::json(status, "", &body);
            async move {
                if Request::read(&mut stream).await.is_some() {
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                }
            }
        })
    }

    /// A stub that answers with the status line and the JSON that `reply` returns for the text
    /// of a request, body included.
    pub async fn replying(
        reply: impl Fn(&str) -> (&'static str, String) + Send + Sync + 'static,
    ) -> Self {
        Self::accepting_requests(move |request| {
            let (status, body) = reply(request);
            raw::json(status, "", &body)
        })
        .await
    }

    /// A stub that sends the bytes that `reply` returns for a request, HTTP or not, and closes
    /// the connection.
    pub async fn sending(reply: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::accepting_requests(move |request| reply(request).into_bytes()).await
    }

    async fn accepting_requests(reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let reply = Arc::new(reply);
        Self::accepting(move |mut stream| {
            let reply = Arc::clone(&reply);
            async move {
                // The caller may close the connection at any moment.
                if let Some(request) = Request::read(&mut stream).await {
                    let _ = stream.write_all(&reply(&request.text())).await;
                    let _ = stream.shutdown().await;
                }
            }
        })
        .await
    }

    /// A stub that accepts requests and never answers.
    pub async fn hanging() -> Self {
        Self::accepting(|stream| async move {
            let _held = stream;
            std::future::pending::<()>().await;
        })
        .await
    }

    async fn accepting<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::on(listener, handle)
    }

    fn on<F>(listener: TcpListener, handle: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().expect("a bound address");
        let accepting = tokio::spawn(async move {
            // Dropped with the stub, the set cancels its tasks.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(handle(stream));
            }
        });
        Self {
            address,
            task: Some(accepting),
            _held: None,
        }
    }

    /// A stub that is down: its port refuses connections.
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

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    pub fn url(&self) -> UpstreamUrl {
        UpstreamUrl::of(self.address)
    }

    /// An upstream that calls it.
    pub fn upstream(&self) -> Upstream {
        self.upstream_with(Resilience::default())
    }

    /// An upstream that calls it with `resilience`.
    pub fn upstream_with(&self, resilience: Resilience) -> Upstream {
        let source = self.url().into();
        Upstream::new("stub-service", &source, Connections::new(), resilience)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
