//! A neighbour that the test answers for, and that remembers what it was asked.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use chassis::upstream::url::UpstreamUrl;
use harness::raw::Request;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A neighbour whose answers are made by the test. Dropped, it is stopped.
#[derive(Debug)]
pub struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Fake {
    /// Starts one that answers a request with the bytes that `answer` makes of
    /// it, and then closes the connection.
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
                    record.lock().expect("no panic").push(request.clone());
                    let bytes = answer(request).await;
                    // Whoever asked may have gone away; that is its affair.
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

    /// Where it is found.
    pub fn url(&self) -> UpstreamUrl {
        UpstreamUrl::of(self.address)
    }

    /// What it was asked so far, in the order it arrived.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}
