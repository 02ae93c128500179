//! Clients with TLS: real ones, and one that sends frames of HTTP/2 as a test gives them.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis::testkit::Server;
use chassis::upstream::url::UpstreamUrl;
use harness::{Got, TIMEOUT};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use shop_tests::shop;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig, RootCertStore, SupportedProtocolVersion};

/// A gateway with TLS.
#[derive(Debug)]
pub(crate) struct Secure {
    pub(crate) server: Server,
    pub(crate) port: Port,
}

/// A port with TLS, and the file of a certificate to trust.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: PathBuf,
}

/// A gateway with a self-signed certificate, whose user-service is at `users`.
pub(crate) async fn secure(users: &UpstreamUrl, settings: &[(&'static str, &str)]) -> Secure {
    let settings = [&[("TLS", "self-signed"), ("TLS_PORT", "0")], settings].concat();
    let down = UpstreamUrl::local(1);
    let services = [users, &down, &down, &down, &down];
    let (server, port) = shop::gateway_and_tls(services, &settings).await;
    let (address, certificate) = port.expect("TLS");
    let port = Port {
        address,
        certificate,
    };
    Secure { server, port }
}

impl Port {
    /// Connects with any version of TLS, for HTTP/2.
    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        self.try_connect(ALL_VERSIONS, &["h2"]).await.expect("TLS")
    }

    /// Connects with these versions of TLS, and offers these protocols.
    pub(crate) async fn try_connect(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let connector = connector(&self.certificate, versions, protocols);
        let name = ServerName::from(self.address.ip());
        let connecting = timeout(TIMEOUT, connector.connect(name, stream));
        connecting.await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// A client with a connection of HTTP/2.
    pub(crate) async fn client(&self) -> Client {
        let stream = self.connect().await;
        let shaken = handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = shaken.await.expect("HTTP/2");
        tokio::spawn(connection);
        Client { sender }
    }

    /// A port without TLS: what is sent there goes on to this one, within TLS, as HTTP/1.1. So
    /// clients without TLS can use it.
    pub(crate) async fn tunnel(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let port = self.clone();
        tokio::spawn(async move {
            while let Ok((mut plain, _)) = listener.accept().await {
                let port = port.clone();
                tokio::spawn(async move {
                    let connected = port.try_connect(ALL_VERSIONS, &["http/1.1"]).await;
                    if let Ok(mut encrypted) = connected {
                        // Either side may break off.
                        let _ = copy_bidirectional(&mut plain, &mut encrypted).await;
                    }
                });
            }
        });
        address
    }
}

fn connector(
    certificate: &Path,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> TlsConnector {
    let pem = fs::read(certificate).expect("a certificate");
    let mut roots = RootCertStore::empty();
    for trusted in CertificateDer::pem_slice_iter(&pem) {
        let trusted = trusted.expect("PEM");
        roots.add(trusted).expect("a certificate");
    }
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|one| one.as_bytes().to_vec())
        .collect();
    TlsConnector::from(Arc::new(config))
}

/// A client with a connection of HTTP/2.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
}

/// A request. `Host` is part of the URL on HTTP/2.
pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Request<Full<Bytes>> {
    let uri = format!("https://shop.test{path}");
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::from(body.to_owned()));
    request.body(body).expect("a request")
}

impl Client {
    /// Sends a request. Returns the head of the response, and its body as it arrives.
    pub(crate) async fn begin(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<hyper::Response<Incoming>> {
        self.sender.ready().await?;
        let sending = self.sender.send_request(request);
        timeout(TIMEOUT, sending).await.expect("an answer in time")
    }

    /// Sends a request, and reads the whole response.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Got> {
        let (head, body) = self.begin(request).await?.into_parts();
        let body = timeout(TIMEOUT, body.collect()).await;
        Ok(Got {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.expect("in time")?.to_bytes().to_vec(),
        })
    }

    /// Gets `path`.
    pub(crate) async fn get(&mut self, path: &str) -> Got {
        let got = self.send(request("GET", path, &[], "")).await;
        got.unwrap_or_else(|cause| panic!("{path}: {cause}"))
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

// The types of frames, and their flags.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACK: u8 = 1;

/// A frame of HTTP/2.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error that a frame of this type has, if it has one.
    pub(crate) fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let bytes = self.payload[at..at + 4].try_into().expect("four bytes");
        u32::from_be_bytes(bytes)
    }
}

/// A frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("few bytes");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of headers, each literally.
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    fn text(block: &mut Vec<u8>, text: &str) {
        // An integer with a prefix of seven bits.
        let mut length = text.len();
        if length < 127 {
            block.push(u8::try_from(length).expect("small"));
        } else {
            block.push(127);
            length -= 127;
            while length >= 128 {
                block.push(u8::try_from(length % 128 + 128).expect("a byte"));
                length /= 128;
            }
            block.push(u8::try_from(length).expect("small"));
        }
        block.extend(text.as_bytes());
    }
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// The headers that every request has, and these.
pub(crate) fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "https"),
        (":authority", "shop.test"),
        (":path", path),
    ];
    block(&[&pseudo, headers].concat())
}

/// A connection of HTTP/2, frame by frame.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TlsStream<TcpStream>,
    received: Vec<u8>,
}

impl Raw {
    /// Connects, with these settings: numbers and values.
    pub(crate) async fn open(port: &Port, settings: &[(u16, u32)]) -> Self {
        let mut raw = Self {
            stream: port.connect().await,
            received: Vec::new(),
        };
        let mut payload = Vec::new();
        for (number, value) in settings {
            payload.extend(number.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &payload));
        raw.send(&bytes).await.expect("sent");
        raw
    }

    /// Sends bytes, flushed.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        let sent = timeout(TIMEOUT, sending).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Sends a request without a body.
    pub(crate) async fn get(&mut self, stream: u32, path: &str) {
        let block = head("GET", path, &[]);
        let bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
        self.send(&bytes).await.expect("sent");
    }

    /// The next frame; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        self.next_within(TIMEOUT).await
    }

    /// The next frame; none at the end, or if there is none in time.
    pub(crate) async fn next_within(&mut self, within: Duration) -> Option<Frame> {
        let reading = async {
            loop {
                if let Some(frame) = self.take() {
                    return Some(frame);
                }
                let read = self.stream.read_buf(&mut self.received).await;
                if !matches!(read, Ok(1..)) {
                    return None;
                }
            }
        };
        timeout(within, reading).await.ok().flatten()
    }

    /// The next frame of this type.
    pub(crate) async fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await;
            let frame = frame.unwrap_or_else(|| panic!("it ended before a frame of type {kind}"));
            if frame.kind == kind && (kind != SETTINGS || frame.flags == 0) {
                return frame;
            }
        }
    }

    /// All frames until the end.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    fn take(&mut self) -> Option<Frame> {
        let [high, middle, low, kind, flags, a, b, c, d] = *self.received.first_chunk()?;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let payload = self.received.get(9..9 + length)?.to_vec();
        self.received.drain(..9 + length);
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([a, b, c, d]),
            payload,
        })
    }
}
