//! HTTP/1.1 byte by byte. A client library would mend a path, add a length or
//! hide what follows a HEAD; these tests are about just that.

use std::io;
use std::net::SocketAddr;

use chassis::testkit::Got;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::PATIENCE;

/// A connection to a service.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// A request as bytes. `Host` is added; nothing else is, but for the length of
/// a body where `headers` do not say how it is framed.
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

/// Gets `path` on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> Result<Got, String> {
    exchange(address, &request("GET", path, &[], b"")).await
}

/// Posts `body` as JSON on a connection of its own, with `headers` beside the
/// content type.
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

/// Sends one request on a connection of its own and reads the answer.
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

impl Connection {
    /// Connects to one that listens.
    pub async fn open(address: SocketAddr) -> Self {
        Self::connect(address).await.expect("connects")
    }

    async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    /// Sends all of `bytes`.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes))
            .await
            .unwrap_or_else(|_| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "nobody reads it in time",
                ))
            })
    }

    /// Says that nothing more will be sent.
    pub async fn finish_sending(&mut self) {
        // The other side may have closed already, which is what some tests want.
        let _ = self.stream.shutdown().await;
    }

    /// Reads the answer to a request; `bodiless` if that was a HEAD. An interim
    /// `100 Continue` is passed over.
    pub async fn answer(&mut self, bodiless: bool) -> Result<Got, String> {
        loop {
            let (status, headers) = self.head().await?;
            if status == 100 {
                continue;
            }
            let body = if bodiless || status == 204 || status == 304 {
                Vec::new()
            } else {
                self.body(&headers).await?
            };
            return Ok(Got {
                status,
                headers,
                body,
            });
        }
    }

    /// Waits until the other side has closed; what it sends until then is
    /// returned.
    pub async fn rest(&mut self) -> Result<Vec<u8>, String> {
        while self.more().await? {}
        Ok(std::mem::take(&mut self.received))
    }

    async fn head(&mut self) -> Result<(u16, HeaderMap), String> {
        let end = loop {
            if let Some(at) = find(&self.received, b"\r\n\r\n") {
                break at;
            }
            if !self.more().await? {
                return Err(format!(
                    "the connection was closed after {:?}",
                    String::from_utf8_lossy(&self.received)
                ));
            }
        };
        let head: Vec<u8> = self.received.drain(..end + 4).collect();
        let head = String::from_utf8(head).map_err(|_| "a head that is not UTF-8")?;
        let mut lines = head.trim_end().split("\r\n");
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
                HeaderValue::try_from(value.trim())
                    .map_err(|cause| format!("{value:?}: {cause}"))?,
            );
        }
        Ok((status, headers))
    }

    async fn body(&mut self, headers: &HeaderMap) -> Result<Vec<u8>, String> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if text("transfer-encoding") == Some("chunked") {
            return self.chunks().await;
        }
        let Some(length) = text("content-length") else {
            return self.rest().await;
        };
        let length = length
            .parse()
            .map_err(|_| format!("content-length: {length}"))?;
        self.take(length).await
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = find(&self.received, b"\r\n") {
                    break at;
                }
                if !self.more().await? {
                    return Err("the chunks broke off".to_owned());
                }
            };
            let line: Vec<u8> = self.received.drain(..end + 2).collect();
            let size = String::from_utf8_lossy(&line[..end]).into_owned();
            let size = usize::from_str_radix(&size, 16).map_err(|_| format!("chunk {size:?}"))?;
            let chunk = self.take(size + 2).await?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.received.len() < length {
            if !self.more().await? {
                return Err(format!(
                    "the body broke off after {} of {length} bytes",
                    self.received.len()
                ));
            }
        }
        Ok(self.received.drain(..length).collect())
    }

    /// Reads on; false at the end.
    async fn more(&mut self) -> Result<bool, String> {
        match timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await {
            Ok(Ok(read)) => Ok(read > 0),
            Ok(Err(cause)) => Err(format!("reading the answer: {cause}")),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
