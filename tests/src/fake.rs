//! A neighbour that the test answers for, and that remembers what it was asked.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use chassis::upstream::url::UpstreamUrl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A neighbour whose answers are made by the test. Dropped, it is stopped.
#[derive(Debug)]
pub struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path and the query, as they were on the wire.
    pub target: String,
    headers: Vec<(String, String)>,
    bytes: Vec<u8>,
}

impl Seen {
    /// A header, or the empty string.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    }

    /// The body.
    pub fn body(&self) -> String {
        String::from_utf8_lossy(self.body_bytes()).into_owned()
    }

    /// The body, byte by byte.
    pub fn body_bytes(&self) -> &[u8] {
        &self.bytes[find_head_end(&self.bytes).unwrap_or_default()..]
    }

    /// Lets the real service at `address` answer.
    pub async fn pass_on(&self, address: SocketAddr) -> Vec<u8> {
        let mut answer = Vec::new();
        let Ok(mut stream) = TcpStream::connect(address).await else {
            return answer;
        };
        // One request a connection, so that the answer ends with it.
        let head_end = find_head_end(&self.bytes).unwrap_or_default();
        let mut request = self.bytes[..head_end - 2].to_vec();
        request.extend_from_slice(b"connection: close\r\n\r\n");
        request.extend_from_slice(&self.bytes[head_end..]);
        // What breaks here breaks for whoever asked, which is what it tests.
        let _ = stream.write_all(&request).await;
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }
}

/// An answer in JSON, as bytes.
pub fn json(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}").into_bytes()
}

impl Fake {
    /// Starts one that answers a request with the bytes that `answer` makes of
    /// it, and then closes the connection.
    pub async fn start<F>(answer: impl Fn(Seen) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = Vec<u8>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let record = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (record, answer) = (Arc::clone(&record), answer.clone());
                let conversation = async move {
                    let Some(request) = read(&mut stream).await else {
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
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = find_head_end(&bytes) {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let length: usize = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen {
        method,
        target,
        headers,
        bytes,
    })
}

fn find_head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
}
