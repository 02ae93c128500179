//! The accept loop under four of the five frameworks.
//!
//! hyper speaks HTTP/1.1 for axum, rocket, poem and warp alike; what differs is
//! what they do with a request. Their own servers never exit while a client
//! holds a connection half open, and Rocket's takes no listener. actix-web has a
//! server of its own, which is given the same [`Connection`] to talk over.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::TryFutureExt;
use hyper::body::{Body, Incoming};
use hyper::http::uri::PathAndQuery;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::serve::connection::{Connection, MAX_HEAD};
use crate::serve::guarded::Guarded;
use crate::serve::service;
use crate::serve::shutdown::Shutdown;
use crate::values::path::decode_unreserved;

/// How long to wait after the system refused a connection for lack of file
/// descriptors: trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on `address`; port 0 is any free one.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.map_err(|cause| {
        let advice = match cause.kind() {
            io::ErrorKind::AddrInUse => {
                "another program has that port; stop it, or set PORT to another one"
            }
            io::ErrorKind::AddrNotAvailable => "this machine has no such address; check HOST",
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need root; set PORT to a higher one"
            }
            _ => "check HOST and PORT",
        };
        io::Error::new(
            cause.kind(),
            format!("cannot listen on {address}: {cause}; {advice}"),
        )
    })?;
    let address = listener.local_addr()?;
    tracing::info!(%address, port = address.port(), "listening");
    Ok(listener)
}

/// Answers every connection with what `http` makes of its requests, within the
/// limits of `service`, until its shutdown is asked for and what was in flight is
/// finished.
pub async fn serve<S, B>(listener: TcpListener, http: S, service: &service::Service)
where
    S: Service<Request<Incoming>, Response = hyper::Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let shutdown = service.shutdown();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.requested() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let stream = Connection::new(stream, service);
                shutdown.spawn(converse(stream, http.clone(), shutdown.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    shutdown.drained().await;
}

async fn converse<S, B>(stream: Connection, http: S, shutdown: Shutdown)
where
    S: Service<Request<Incoming>, Response = hyper::Response<B>, Error = Infallible>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static,
{
    let phase = stream.phase();
    let http = service_fn(move |mut request: Request<Incoming>| {
        let mut turn = phase.begin(!request.body().is_end_stream());
        normalise(&mut request);
        http.call(request).map_ok(|response| {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                turn.upgrade();
            }
            response.map(|body| Guarded::new(body, turn))
        })
    });
    // No time-outs of hyper's own: it takes a connection without a request for
    // one with half a head.
    let conversation = http1::Builder::new()
        .max_header_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), http)
        .with_upgrades();
    let mut conversation = std::pin::pin!(conversation);
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        () = shutdown.requested() => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(error) = ended {
        // The other side broke off or sent what is not HTTP; hyper has answered
        // what can be answered.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Makes `/%68ealth` the `/health` that every router knows.
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
