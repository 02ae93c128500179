//! HTTP/1.1 byte by byte. A client library would correct a path, add a length or hide what
//! follows a HEAD; these clients send what they are given. Every wait has a time-out.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::{Got, TIMEOUT};

/// A request as bytes. Adds only `Host`, and the length of a body if `headers` do not frame it.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nhost: shop.test\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    let framed = headers.iter().any(|(name, _)| {
        name.eq_ignore_ascii_case("content-length")
            || name.eq_ignore_ascii_case("transfer-encoding")
    });
    if !body.is_empty() && !framed {
        bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// `body` in chunks of at most `size` bytes, as `transfer-encoding: chunked`
/// frames it.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 64);
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// Gets `path` on a new connection.
pub async fn get(address: SocketAddr, path: &str) -> Result<Got, String> {
    exchange(address, &request("GET", path, &[], b"")).await
}

/// Posts `body` as JSON on a new connection, with `headers` besides the content type.
pub async fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Result<Got, String> {
    let headers = [&[("content-type", "application/json")], headers].concat();
    let body = body.to_string();
    exchange(address, &request("POST", path, &headers, body.as_bytes())).await
}

/// Sends a request on a new connection and reads the response.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> Result<Got, String> {
    let connected = Connection::connect(address).await;
    let mut connection = connected.map_err(|cause| format!("no connection: {cause}"))?;
    connection
        .send(request)
        .await
        .map_err(|cause| format!("the request could not be sent: {cause}"))?;
    let bodiless = request.starts_with(b"HEAD ");
    connection.answer(bodiless).await
}

/// Sends bytes on a new connection. Returns everything that the other side sends until it closes.
pub async fn exchange_bytes(address: SocketAddr, bytes: &[u8]) -> Result<String, String> {
    let connected = Connection::connect(address).await;
    let mut connection = connected.map_err(|cause| format!("no connection: {cause}"))?;
    connection
        .send(bytes)
        .await
        .map_err(|cause| format!("the bytes could not be sent: {cause}"))?;
    let answer = connection.rest().await?;
    String::from_utf8(answer).map_err(|cause| format!("the answer: {cause}"))
}

/// Waits until this address refuses connections. Returns whether it does in time.
pub async fn refuses(address: SocketAddr, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while TcpStream::connect(address).await.is_ok() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(5)).await;
    }
    true
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    state: State,
}

/// Whether the other side has closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not closed.
    Open,
    /// It has closed.
    Closed,
    /// It has closed with unread bytes.
    Reset,
}

impl Connection {
    /// Connects to a server that must be there.
    pub async fn open(address: SocketAddr) -> Self {
        Self::connect(address).await.expect("connects")
    }

    /// Connects to a server.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let connecting = timeout(TIMEOUT, TcpStream::connect(address));
        let stream = connecting.await.map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::new(),
            state: State::Open,
        })
    }

    /// Sends all of `bytes`.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(TIMEOUT, self.stream.write_all(bytes))
            .await
            .unwrap_or_else(|_| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the other side does not read in time",
                ))
            })
    }

    /// Closes the sending side.
    pub async fn finish_sending(&mut self) {
        // The other side may have closed already, as some tests intend.
        let _ = self.stream.shutdown().await;
    }

    /// Whether the other side has closed, as far as was read.
    pub fn state(&self) -> State {
        self.state
    }

    /// Reads the response to a request; `bodiless` if that was a HEAD. An interim
    /// `100 Continue` is skipped.
    pub async fn answer(&mut self, bodiless: bool) -> Result<Got, String> {
        loop {
            match self.take_answer(bodiless)? {
                Some(got) if got.status == 100 => {}
                Some(got) => return Ok(got),
                None if self.state == State::Open => self.read().await?,
                None => {
                    return Err(format!(
                        "the connection broke off after {:?}",
                        String::from_utf8_lossy(&self.received)
                    ));
                }
            }
        }
    }

    /// Sends `bytes`, and reads at the same time: the responses, until there are as many
    /// as are wanted, not counting interim ones, the other side closes, or the time is over.
    pub async fn answers(&mut self, bytes: &[u8], wanted: usize, within: Duration) -> Vec<Got> {
        let deadline = Instant::now() + within;
        let bodiless = bytes.starts_with(b"HEAD ");
        let mut answers: Vec<Got> = Vec::new();
        let mut unsent = bytes;
        loop {
            while let Ok(Some(answer)) = self.take_answer(bodiless) {
                answers.push(answer);
            }
            let there = answers.iter().filter(|one| one.status >= 200).count();
            if there >= wanted || self.state != State::Open {
                return answers;
            }
            let (mut reading, mut writing) = self.stream.split();
            tokio::select! {
                written = writing.write(unsent), if !unsent.is_empty() => {
                    // If it cannot be sent, reading shows why.
                    unsent = &unsent[written.unwrap_or(unsent.len())..];
                }
                read = reading.read_buf(&mut self.received) => self.state = State::after(&read),
                () = sleep_until(deadline) => return answers,
            }
        }
    }

    /// Sends `bytes` one at a time, each after a pause, and then one `x` after the other,
    /// until the other side closes or the time is over.
    pub async fn drip(&mut self, bytes: &[u8], pause: Duration, within: Duration) -> State {
        let deadline = Instant::now() + within;
        for byte in bytes.iter().chain(std::iter::repeat(&b'x')) {
            // If it cannot be sent, reading shows why.
            let _ = self.send(&[*byte]).await;
            let next = deadline.min(Instant::now() + pause);
            if self.until_closed(next - Instant::now()).await != State::Open
                || Instant::now() >= deadline
            {
                break;
            }
        }
        self.state
    }

    /// Reads until the other side closes or the time is over.
    pub async fn until_closed(&mut self, within: Duration) -> State {
        let deadline = Instant::now() + within;
        while self.state == State::Open {
            let reading = self.stream.read_buf(&mut self.received);
            match timeout_at(deadline, reading).await {
                Ok(read) => self.state = State::after(&read),
                Err(_) => break,
            }
        }
        self.state
    }

    /// Reads until what was received has `wanted` in it, and returns all of that.
    pub async fn until(&mut self, wanted: &str) -> Result<String, String> {
        while find(&self.received, wanted.as_bytes()).is_none() {
            if self.state != State::Open {
                let received = String::from_utf8_lossy(&self.received);
                return Err(format!("it closed before {wanted:?}, after {received:?}"));
            }
            self.read().await?;
        }
        Ok(String::from_utf8_lossy(&mem::take(&mut self.received)).into_owned())
    }

    /// Waits until the other side has closed; returns what it sends until then. A reset is
    /// an error.
    pub async fn rest(&mut self) -> Result<Vec<u8>, String> {
        while self.state == State::Open {
            self.read().await?;
        }
        Ok(mem::take(&mut self.received))
    }

    /// The next of the responses that were received, if all of it is there.
    pub fn take_answer(&mut self, bodiless: bool) -> Result<Option<Got>, String> {
        let is_open = self.state == State::Open;
        let Some((got, length)) = parse(&self.received, bodiless, is_open)? else {
            return Ok(None);
        };
        self.received.drain(..length);
        Ok(Some(got))
    }

    /// Reads some bytes, or the end.
    async fn read(&mut self) -> Result<(), String> {
        let reading = self.stream.read_buf(&mut self.received);
        let read = timeout(TIMEOUT, reading).await;
        let read = read.map_err(|_| format!("no answer within {TIMEOUT:?}"))?;
        self.state = State::after(&read);
        read.map(drop)
            .map_err(|cause| format!("reading the answer: {cause}"))
    }
}

impl State {
    fn after(read: &io::Result<usize>) -> Self {
        match read {
            Ok(0) => Self::Closed,
            Ok(_) => Self::Open,
            Err(_) => Self::Reset,
        }
    }
}

/// The response that `bytes` begin with, and its length, if all of it is there.
fn parse(bytes: &[u8], bodiless: bool, is_open: bool) -> Result<Option<(Got, usize)>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is not UTF-8")?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| status_line.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or_else(|| format!("no status line: {status_line:?}"))?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a header without a colon")?;
        headers.append(
            HeaderName::try_from(name).map_err(|cause| format!("{name:?}: {cause}"))?,
            HeaderValue::try_from(value.trim()).map_err(|cause| format!("{value:?}: {cause}"))?,
        );
    }
    let rest = &bytes[end + 4..];
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let body = if bodiless || status < 200 || status == 204 || status == 304 {
        Some((Vec::new(), 0))
    } else if text("transfer-encoding") == Some("chunked") {
        unchunked(rest)?
    } else if let Some(length) = text("content-length") {
        let length = length.parse();
        let length: usize = length.map_err(|cause| format!("content-length: {cause}"))?;
        rest.get(..length).map(|body| (body.to_vec(), length))
    } else if is_open {
        // All that comes until it is closed.
        None
    } else {
        Some((rest.to_vec(), rest.len()))
    };
    Ok(body.map(|(body, length)| {
        let got = Got {
            status,
            headers,
            body,
        };
        (got, end + 4 + length)
    }))
}

/// The body whose chunks `bytes` begin with, and their length, if all of them are there.
fn unchunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    while let Some(end) = find(&bytes[at..], b"\r\n") {
        let size = String::from_utf8_lossy(&bytes[at..at + end]);
        let size = usize::from_str_radix(&size, 16).map_err(|_| format!("chunk {size:?}"))?;
        let begin = at + end + 2;
        let Some(chunk) = bytes.get(begin..).and_then(|rest| rest.get(..size + 2)) else {
            break;
        };
        at = begin + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
        body.extend_from_slice(&chunk[..size]);
    }
    Ok(None)
}

/// A request as it arrived at a server.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path and the query, as they were sent.
    pub target: String,
    headers: Vec<(String, String)>,
    bytes: Vec<u8>,
    /// Where the body begins.
    body: usize,
}

impl Request {
    /// Reads a request that has a length, or no body. None if the client closes before.
    pub async fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        loop {
            if let Some(request) = Self::parse(&bytes) {
                return Some(request);
            }
            let reading = timeout(TIMEOUT, stream.read_buf(&mut bytes)).await;
            if reading.ok()?.ok()? == 0 {
                return None;
            }
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = find(bytes, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        let request = Self {
            method,
            target,
            headers: headers.collect(),
            bytes: bytes.to_vec(),
            body: end + 4,
        };
        let length: usize = request.header("content-length").parse().unwrap_or(0);
        (request.body_bytes().len() >= length).then_some(request)
    }

    /// A header, or the empty string.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    }

    /// The whole request as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body as text.
    pub fn body(&self) -> String {
        String::from_utf8_lossy(self.body_bytes()).into_owned()
    }

    /// The body, byte by byte.
    pub fn body_bytes(&self) -> &[u8] {
        &self.bytes[self.body..]
    }

    /// Sends it to the server at `address`; returns all that comes back, which is nothing
    /// if the server is not there.
    pub async fn pass_on(&self, address: SocketAddr) -> Vec<u8> {
        let Ok(mut connection) = Connection::connect(address).await else {
            return Vec::new();
        };
        // One request a connection, so that the response ends with it.
        let mut request = self.bytes[..self.body - 2].to_vec();
        request.extend_from_slice(b"connection: close\r\n\r\n");
        request.extend_from_slice(self.body_bytes());
        // If this breaks off, it does so for the client too.
        let _ = connection.send(&request).await;
        connection.until_closed(TIMEOUT).await;
        connection.received
    }
}

/// A response in JSON, after which the connection closes. `headers` end in a line break,
/// each.
pub fn json(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}").into_bytes()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn parsed(text: &str, bodiless: bool, is_open: bool) -> Option<(u16, String, usize)> {
        let parsed = parse(text.as_bytes(), bodiless, is_open).expect("HTTP");
        parsed.map(|(got, length)| {
            let body = String::from_utf8(got.body).expect("UTF-8");
            (got.status, body, text.len() - length)
        })
    }

    #[test]
    fn a_response_is_taken_when_all_of_it_is_there() {
        let whole = |status, body: &str, rest| Some((status, body.to_owned(), rest));
        for (text, expected, reason) in [
            ("HTTP/1.1 200 OK\r\n", None, "half a head"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na",
                None,
                "half a body",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc",
                whole(200, "a", 2),
                "and the next one",
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP",
                whole(100, "", 4),
                "interim",
            ),
            (
                "HTTP/1.1 204 No Content\r\n\r\n",
                whole(204, "", 0),
                "empty",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc",
                None,
                "half a chunk",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
                whole(200, "abc", 0),
                "chunks",
            ),
            ("HTTP/1.0 200 OK\r\n\r\nabc", None, "until it closes"),
        ] {
            assert_eq!(parsed(text, false, true), expected, "{reason}");
        }
        let text = "HTTP/1.0 200 OK\r\n\r\nabc";
        assert_eq!(parsed(text, false, false), whole(200, "abc", 0), "closed");
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(parsed(text, true, true), whole(200, "", 0), "of a HEAD");
        assert!(parse(b"SSH-2.0\r\n\r\n", false, true).is_err());
    }

    /// A server that reads one request, and then does as the test says.
    async fn server<F>(
        then: impl FnOnce(TcpStream, Option<Request>) -> F + Send + 'static,
    ) -> SocketAddr
    where
        F: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let request = Request::read(&mut stream).await;
            then(stream, request).await;
        });
        address
    }

    #[tokio::test]
    async fn a_request_arrives_as_it_was_sent() {
        let address = server(|mut stream, request| async move {
            let request = request.expect("a whole request");
            let told = format!("{} {}", request.method, request.body());
            assert_eq!(request.header("Host"), "shop.test");
            let answer = json("200 OK", "x-a: 1\r\n", &told);
            stream.write_all(&answer).await.expect("it is read");
        })
        .await;
        let got = exchange(address, &request("POST", "/a", &[], b"body")).await;
        let got = got.expect("an answer");
        assert_eq!((got.status, got.header("x-a")), (200, "1"));
        assert_eq!(got.body, b"POST body");
    }

    #[tokio::test]
    async fn closed_reset_and_open_are_different_states() {
        let get = request("GET", "/", &[], b"");
        let close = |stream: TcpStream, _| async { drop(stream) };
        let mut connection = Connection::open(server(close).await).await;
        connection.send(&get).await.expect("sent");
        assert_eq!(connection.until_closed(TIMEOUT).await, State::Closed);
        let fault = connection.answer(false).await.expect_err("none");
        assert!(fault.contains("broke off"), "{fault}");

        let reset = |stream: TcpStream, _| async move {
            // More arrives, and is not read.
            stream.readable().await.expect("more");
        };
        let mut connection = Connection::open(server(reset).await).await;
        connection.send(&get).await.expect("sent");
        assert_eq!(
            connection.until_closed(Duration::from_millis(50)).await,
            State::Open
        );
        let pause = Duration::from_millis(10);
        assert_eq!(connection.drip(b"GET", pause, TIMEOUT).await, State::Reset);
    }

    #[tokio::test]
    async fn an_unread_body_does_not_hide_the_response() {
        let refuse = |mut stream: TcpStream, _| async move {
            let answer = json("413 Payload Too Large", "", "{}");
            stream.write_all(&answer).await.expect("it is read");
            std::future::pending::<()>().await;
        };
        let mut connection = Connection::open(server(refuse).await).await;
        let mut bytes = request("POST", "/", &[("content-length", "0")], b"");
        bytes.resize(64 << 20, b' ');
        let answers = connection.answers(&bytes, 1, TIMEOUT).await;
        assert_eq!(answers.first().map(|got| got.status), Some(413));
    }
}
