//! hyper without a framework: the other servers cannot be faster.

use std::convert::Infallible;
use std::net::SocketAddr;

use bench::Failed;
use bench::data::{Health, Items};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpListener;

pub(crate) type Answer = Response<Full<Bytes>>;

/// Serves the routes of the other bare servers that are measured.
#[tokio::main]
pub(crate) async fn serve_items(address: SocketAddr) -> Result<(), Failed> {
    let items = Items::default();
    serve(address, move |request| {
        let path = request.uri().path();
        match (request.method(), path.strip_prefix("/items")) {
            (&Method::GET, None) if path == "/health" => json(200, &Health::of("hyper")),
            (&Method::POST, Some("")) => match serde_json::from_slice(request.body()) {
                Ok(new) => json(201, &items.create(new)),
                Err(_) => empty(StatusCode::BAD_REQUEST),
            },
            (&Method::GET, Some(id)) => {
                let id = id.strip_prefix('/').and_then(|id| id.parse().ok());
                match id.and_then(|id| items.find(id)) {
                    Some(item) => json(200, &item),
                    None => empty(StatusCode::NOT_FOUND),
                }
            }
            _ => empty(StatusCode::NOT_FOUND),
        }
    })
    .await
}

/// Answers every request with 200 and no body.
#[tokio::main]
pub(crate) async fn serve_sink(address: SocketAddr) -> Result<(), Failed> {
    serve(address, |_| Answer::default()).await
}

/// Reads each request to its end and answers it with the result of `answer`.
pub(crate) async fn serve(
    address: SocketAddr,
    answer: impl Fn(Request<Bytes>) -> Answer + Clone + Send + 'static,
) -> Result<(), Failed> {
    let listener = TcpListener::bind(address).await?;
    bench::listening(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        let http = service_fn(move |request: Request<Incoming>| {
            let answer = answer.clone();
            async move {
                let (head, body) = request.into_parts();
                let Ok(body) = body.collect().await else {
                    return Ok::<_, Infallible>(empty(StatusCode::BAD_REQUEST));
                };
                Ok(answer(Request::from_parts(head, body.to_bytes())))
            }
        });
        // An error means that the client disconnected; ignore it.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), http));
    }
}

fn json(status: u16, value: &impl Serialize) -> Answer {
    let Ok(body) = serde_json::to_vec(value) else {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}
