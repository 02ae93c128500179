//! A connection for the small requests of one task, one after the other. It carries nothing else,
//! so the requests of others do not delay them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::response::Parts;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_util::task::AbortOnDropHandle;

/// The longest body of a response that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// An open connection. Nothing here has a time-out; the caller has one.
#[derive(Debug)]
pub(crate) struct Line {
    requests: SendRequest<Full<Bytes>>,
    local: SocketAddr,
    /// Ends when the connection is closed.
    driver: AbortOnDropHandle<()>,
}

impl Line {
    /// Connects to a host and port.
    pub(crate) async fn open(to: (&str, u16)) -> io::Result<Self> {
        Self::over(TcpStream::connect(to).await?).await
    }

    /// Connects from `from`, one of this machine's own addresses, so that the other side sees it.
    /// If it stands for all addresses, the system selects one of the same kind.
    pub(crate) async fn open_from(from: IpAddr, to: (&str, u16)) -> io::Result<Self> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        for to in lookup_host(to).await? {
            match connect(from, to).await {
                Ok(stream) => return Self::over(stream).await,
                Err(cause) => failed = cause,
            }
        }
        Err(failed)
    }

    async fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let (requests, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // The next request shows that it is closed.
            let _ = connection.await;
        }));
        Ok(Self {
            requests,
            local,
            driver,
        })
    }

    /// The address of this end.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Waits until it is closed.
    pub(crate) async fn closed(&mut self) {
        let _ = (&mut self.driver).await;
    }

    /// Sends a request and reads the response, whose body may have up to 256 KiB.
    pub(crate) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> io::Result<(Parts, Bytes)> {
        let answer = self.requests.send_request(request).await;
        let (head, body) = answer.map_err(io::Error::other)?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        Ok((head, body.map_err(io::Error::other)?.to_bytes()))
    }
}

async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    if from == Ipv4Addr::UNSPECIFIED && to.is_ipv6() {
        let text = format!("{to} cannot be reached from an address of IPv4");
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
    }
    // All addresses of IPv6 are usually those of IPv4, too.
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if !from.is_unspecified() {
        socket.bind((from, 0).into())?;
    }
    socket.connect(to).await
}

/// Whether the server closes the connection after this response.
pub(crate) fn closes(head: &Parts) -> bool {
    let connection = head.headers.get(CONNECTION);
    let connection = connection.map(HeaderValue::as_bytes);
    connection.is_some_and(|value| value.eq_ignore_ascii_case(b"close"))
}
