//! A small HTTP client: every request has a time-out, every body a bound, and every error is
//! a sentence.

use std::fmt::{self, Display};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long an idle connection is kept: less than the services keep theirs.
const IDLE: Duration = Duration::from_secs(15);

/// The most bytes of a response: more than the longest page of a list.
const LARGEST: usize = 16 << 20;

/// A client, with its own pool of connections. Cheap to clone; clones share the pool.
#[derive(Clone, Debug)]
pub struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    timeout: Duration,
}

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoResponse {
    /// This is no URL of plain HTTP.
    NoUrl(String),
    /// Nobody listens at this address, or it cannot be reached.
    NotReached(String),
    /// It took longer than this.
    TimedOut(Duration),
    /// The connection ended before the response was complete, or what came was no HTTP.
    CutOff,
    /// The response has more bytes than the client reads.
    TooLong,
}

impl Client {
    /// A client whose requests take at most `timeout`, from connecting to the last byte.
    pub fn new(timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Self { http, timeout }
    }

    /// The same client, with the same connections and another time-out.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            http: self.http.clone(),
            timeout,
        }
    }

    /// A GET of `url`.
    pub async fn get(&self, url: &str) -> Result<Response, NoResponse> {
        self.send(request(Method::GET, url)?).await
    }

    /// A request with `method` to `url`, with `body` as JSON.
    pub async fn send_json(
        &self,
        method: Method,
        url: &str,
        body: &impl Serialize,
    ) -> Result<Response, NoResponse> {
        let json = serde_json::to_vec(body).expect("values of the lab become JSON");
        let mut request = request(method, url)?;
        *request.body_mut() = Full::from(json);
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        self.send(request).await
    }

    /// Sends `request`, and reads the whole response.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response, NoResponse> {
        let origin = request.uri().authority().map(ToString::to_string);
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| {
                if error.is_connect() {
                    NoResponse::NotReached(origin.unwrap_or_default())
                } else {
                    NoResponse::CutOff
                }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LARGEST).collect().await;
            let body = body.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    NoResponse::TooLong
                } else {
                    NoResponse::CutOff
                }
            })?;
            Ok(Response {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        let answered = tokio::time::timeout(self.timeout, exchange).await;
        answered.unwrap_or(Err(NoResponse::TimedOut(self.timeout)))
    }
}

/// A request without a body.
pub fn request(method: Method, url: &str) -> Result<Request<Full<Bytes>>, NoResponse> {
    let mut request = Request::new(Full::default());
    *request.method_mut() = method;
    let uri: hyper::Uri = url.parse().map_err(|_| NoResponse::NoUrl(url.to_owned()))?;
    if uri.scheme_str() != Some("http") {
        return Err(NoResponse::NoUrl(url.to_owned()));
    }
    *request.uri_mut() = uri;
    Ok(request)
}

impl Response {
    /// Its body as JSON of type `T`. The error says what does not fit.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// The text of a header; `None` if it is missing or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The `error` of a body that has one: what the services say when they refuse a request.
    pub fn error(&self) -> Option<String> {
        let body: serde_json::Value = self.json().ok()?;
        Some(body.get("error")?.as_str()?.to_owned())
    }
}

impl Display for NoResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUrl(url) => write!(f, "{url:?} is no URL such as http://127.0.0.1:8001/"),
            Self::NotReached(address) => write!(f, "nothing answers at {address}"),
            Self::TimedOut(limit) => write!(f, "no response within {} ms", limit.as_millis()),
            Self::CutOff => f.write_str("the connection ended before the response was complete"),
            Self::TooLong => write!(f, "the response has more than {LARGEST} bytes"),
        }
    }
}

impl std::error::Error for NoResponse {}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers each connection with `answer` and then closes it, or that never
    /// answers.
    async fn server(answer: Option<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let _ = client.read(&mut head).await;
                match &answer {
                    Some(answer) => drop(client.write_all(answer).await),
                    None => std::future::pending().await,
                }
            }
        });
        format!("http://{address}/x")
    }

    fn client() -> Client {
        Client::new(Duration::from_secs(10))
    }

    #[tokio::test]
    async fn a_response_is_read_whole() {
        let answer =
            b"HTTP/1.1 409 Conflict\r\nX-One: 1\r\nContent-Length: 14\r\n\r\n{\"error\":\"no\"}";
        let url = server(Some(answer.to_vec())).await;
        let response = client().get(&url).await.expect("a response");
        assert_eq!(response.status, StatusCode::CONFLICT);
        assert_eq!(response.header("x-one"), Some("1"));
        assert_eq!(response.error().as_deref(), Some("no"));
    }

    #[tokio::test]
    async fn each_failure_is_named() {
        let short = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec();
        let url = server(Some(short)).await;
        assert_eq!(client().get(&url).await.err(), Some(NoResponse::CutOff));

        let url = server(Some(b"nonsense\r\n\r\n".to_vec())).await;
        assert_eq!(client().get(&url).await.err(), Some(NoResponse::CutOff));

        let mut long = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        long.resize(LARGEST + 100, b'x');
        let url = server(Some(long)).await;
        assert_eq!(client().get(&url).await.err(), Some(NoResponse::TooLong));

        let url = server(None).await;
        let limit = Duration::from_millis(50);
        let impatient = client().with_timeout(limit);
        let timed_out = NoResponse::TimedOut(limit);
        assert_eq!(impatient.get(&url).await.err(), Some(timed_out));

        for bad in ["nonsense", "https://127.0.0.1/", "/path"] {
            let error = client().get(bad).await.err();
            assert_eq!(error, Some(NoResponse::NoUrl(bad.to_owned())));
        }

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let error = client().get(&format!("http://{address}/")).await.err();
        assert_eq!(error, Some(NoResponse::NotReached(address.to_string())));
    }
}
