//! An upstream whose answers the test provides, and that records its requests. It is always ready:
//! the questions for its health are not among them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use chassis::upstream::url::UpstreamUrl;
use harness::raw::{self, Request};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// An upstream whose answers the test provides. It stops when it is dropped.
#[derive(Debug)]
pub struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Fake {
    /// Starts a fake that answers a request with the bytes that `answer` returns for it, and then
    /// closes the connection.
    pub async fn start<F>(answer: impl Fn(Request) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = Vec<u8>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let record = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (record, answer) = (Arc::clone(&record), answer.clone());
                let conversation = async move {
                    let Some(request) = Request::read(&mut stream).await else {
                        return;
                    };
                    let bytes = if request.target == "/health/ready" {
                        raw::json("200 OK", "", r#"{"status":"ready","service":"fake"}"#)
                    } else {
                        record.lock().expect("no panic").push(request.clone());
                        answer(request).await
                    };
                    // The caller may have closed the connection.
                    let _ = stream.write_all(&bytes).await;
                    let _ = stream.shutdown().await;
                };
                tokio::spawn(conversation);
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    /// Its base URL.
    pub fn url(&self) -> UpstreamUrl {
        UpstreamUrl::of(self.address)
    }

    /// The requests so far, in the order of arrival.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}
