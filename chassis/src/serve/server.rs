//! The accept loop under four of the five frameworks.
//!
//! hyper speaks HTTP/1.1 for axum, Rocket, poem and warp; they differ in how they handle a
//! request. Their own servers never exit while a client keeps a connection half open, and
//! Rocket's accepts no listener. actix-web has its own server, over the same [`Requests`].

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::serve::connection::{Connection, MAX_HEAD, Transport};
use crate::serve::guarded::Guarded;
use crate::serve::requests::Requests;
use crate::serve::service;
use crate::values::path::decode_unreserved;

/// The pause after the system could not accept a connection, for lack of file descriptors:
/// trying again at once would be a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The connections that may wait to be accepted, unless the system allows fewer. The usual 128
/// are too few for a crowd: the system drops what is over, and a client tries again only after
/// a second.
const BACKLOG: u32 = 4096;

/// How long an idle connection stays open after a shutdown was requested. A request may be on its
/// way: closing the connection at once would lose it, and its client could not know whether it
/// was handled.
const LAST_REQUEST: Duration = Duration::from_millis(200);

/// Listens on `address`. Port 0 means any free port.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = bind_to(address, "PORT")?;
    let address = listener.local_addr()?;
    tracing::info!(%address, port = address.port(), "listening");
    Ok(listener)
}

/// The same without a line in the log, for a port that comes from `variable`.
pub fn bind_to(address: SocketAddr, variable: &str) -> io::Result<TcpListener> {
    listen(address).map_err(|cause| {
        let advice = match cause.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "another program uses that port; stop it, or set {variable} to another port"
                )
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address; check HOST".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 need root; set {variable} to a higher port")
            }
            _ => format!("check HOST and {variable}"),
        };
        io::Error::new(
            cause.kind(),
            format!("cannot listen on {address}: {cause}; {advice}"),
        )
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // So that a service can be restarted while the system still remembers its connections. On
    // Windows it would let two services have the same port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections and passes their requests to `http`, within the limits of `service`.
/// Returns when the service has shut down: when a shutdown was requested and the requests in
/// flight are finished.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use chassis::serve::service::Service;
/// use std::convert::Infallible;
///
/// use chassis::serve::server;
/// use hyper::Response;
/// use hyper::service::service_fn;
///
/// # async fn example(service: &Arc<Service>) -> std::io::Result<()> {
/// let http = service_fn(async |_request| {
///     Ok::<_, Infallible>(Response::new("Hello".to_owned()))
/// });
/// let listener = server::bind(([127, 0, 0, 1], 8006).into()).await?;
/// server::serve(listener, http, service).await;
/// # Ok(())
/// # }
/// ```
pub async fn serve<S, B>(listener: TcpListener, http: S, service: &Arc<service::Service>)
where
    S: Service<Request<Incoming>, Response = hyper::Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let http = service_fn(move |mut request| {
        normalise(&mut request);
        http.call(request)
    });
    serve_as_sent(listener, http, service).await;
}

/// The same for a program that passes requests on: their paths are as the client has sent them.
pub async fn serve_as_sent<S, B>(listener: TcpListener, http: S, service: &Arc<service::Service>)
where
    S: Service<Request<Incoming>, Response = hyper::Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let begin = |connection| {
        let serving = serve_http1(connection, http.clone(), Arc::clone(service));
        service.shutdown().spawn(serving);
    };
    accept(listener, begin, service).await;
}

/// Accepts connections within the limits of `service`, and passes them to `begin`. Returns when the
/// service has shut down.
pub async fn accept(
    listener: TcpListener,
    begin: impl Fn(Connection),
    service: &Arc<service::Service>,
) {
    let shutdown = service.shutdown();
    let begin = |stream| begin(Connection::new(stream, service));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.requested() => break,
        };
        match accepted {
            Ok((stream, _)) => begin(stream),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // For their clients, those that wait are connected.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        begin(stream);
    }
    drop(listener);
    shutdown.drained().await;
}

/// Serves HTTP/1.1 on one connection.
pub async fn serve_http1<T, S, B>(transport: T, http: S, service: Arc<service::Service>)
where
    T: Transport,
    S: Service<Request<Incoming>, Response = hyper::Response<B>, Error = Infallible>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static,
{
    let stream = Requests::new(transport, &service);
    let shutdown = service.shutdown().clone();
    let (phase, stops) = (stream.phase(), shutdown.clone());
    let http = service_fn(move |request: Request<Incoming>| {
        let has_body = !request.body().is_end_stream();
        let (phase, mut turn) = (Arc::clone(&phase), phase.begin(has_body));
        let (answering, is_last) = (phase.scope(http.call(request)), stops.is_requested());
        async move {
            let mut response = answering.await?;
            if has_body && !phase.is_whole() {
                // Perhaps nobody has read the body to its end. Let hyper see that before it
                // writes the head: it reads what has arrived, and if the body is not complete
                // then, it closes the connection, and the head says so.
                yield_now().await;
            }
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                turn.upgrade();
            } else if is_last {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(response.map(|body| Guarded::new(body, turn)))
        }
    });
    // hyper's own time-outs stay off: they treat an idle connection like one with half a head.
    let connection = http1::Builder::new()
        .max_header_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), http)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let last_request = async {
        shutdown.requested().await;
        sleep(LAST_REQUEST).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = last_request => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // The client closed the connection or sent invalid HTTP. hyper has sent the response,
        // if there can be one.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Decodes unreserved characters in the path, so that `/%68ealth` matches `/health`.
fn normalise<B>(request: &mut Request<B>) {
    let uri = request.uri();
    let Cow::Owned(path) = decode_unreserved(uri.path()) else {
        return;
    };
    let path = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::from_maybe_shared(path.into_bytes()).ok();
    if let Ok(uri) = hyper::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::future::try_join_all;
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    /// Only Linux lets so many wait without configuration.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_crowd_can_connect_before_the_first_is_accepted() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let crowd = try_join_all((0..500).map(|_| TcpStream::connect(address)));
        let connected = timeout(Duration::from_millis(900), crowd).await;
        let connected = connected.expect("none has to try again");
        assert_eq!(connected.expect("connections").len(), 500);
    }
}
