//! HTTP/2 on one connection: many requests at a time, each with the limits that a request has on a
//! connection of its own.
//!
//! hyper speaks the protocol, and the crate `h2` below it refuses what is malformed. Here each
//! request gets
//!
//! - the same checks of its head as on HTTP/1.1, and the same refusals;
//! - a holder of its own, for its permit and the memory of its response;
//! - a time-out for a client that does not read its response. It leaves the other requests of the
//!   connection alone.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::contract::error::ApiError;
use crate::contract::reply;
use crate::serve::connection::{MAX_HEAD, Phase, QUIET, Transport};
use crate::serve::connections::{Holder, Waiting};
use crate::serve::exchange::{Exchange, STANDARD_HEADERS};
use crate::serve::frames::Frames;
use crate::serve::head;
use crate::serve::pace::Pace;
use crate::serve::service;
use crate::values::headers::REQUEST_ID;

/// The most concurrent requests of a connection.
const MAX_STREAMS: u32 = 100;

/// How many bytes of bodies a client may send ahead, for a request and for all of a connection. It is
/// the least that HTTP/2 allows for a connection, and nearly all of the largest body.
const WINDOW: u32 = 65_535;

/// The largest head of a request, as HTTP/2 counts it: with 32 bytes more for each header.
#[allow(clippy::cast_possible_truncation, reason = "it is small")]
const HEAD_LIST: u32 = MAX_HEAD as u32;

/// The most bytes of a response that wait to be written, and the most that are passed on at once.
const UNSENT: usize = 16 * 1024;

/// Serves HTTP/2 on one connection, on which TLS has agreed on it.
pub async fn serve<T, S, B>(transport: T, http: S, service: Arc<service::Service>)
where
    T: Transport,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let mut transport = transport;
    let phase = transport.connection().phase();
    let shutdown = service.shutdown().clone();
    let streams = Streams {
        phase: Arc::clone(&phase),
        service,
    };
    let answering = streams.clone();
    let http = service_fn(move |request| answer(http.clone(), request, answering.clone()));
    let connection = http2::Builder::new(streams)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(UNSENT)
        .max_header_list_size(HEAD_LIST)
        .serve_connection(TokioIo::new(Frames::new(transport)), http);
    let mut connection = pin!(connection);
    let mut stop = pin!(shutdown.requested());
    let mut is_leaving = false;
    let ended = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            if is_leaving || !phase.is_over() && stop.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // The client gets GOAWAY. What it has sent before it knows that is still answered.
            connection.as_mut().graceful_shutdown();
            is_leaving = true;
        }
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Answers one request, in the task that `Streams` has begun for it.
async fn answer<S, B>(
    http: S,
    request: Request<Incoming>,
    streams: Streams,
) -> Result<Response<Outgoing<B>>, h2::Error>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let sending = Sending::current();
    if !sending.is_admitted {
        // Nothing was done, and the client knows it.
        return Err(Reason::REFUSED_STREAM.into());
    }
    if !request.body().is_end_stream() {
        streams.phase.stream_has_body();
    }
    let is_head = request.method() == Method::HEAD;
    let response = match head::check_http2(&request) {
        Err(error) => refuse(&streams.service, &request, error),
        Ok(()) => match http.call(request).await {
            Ok(response) => response.map(Content::Of),
            Err(never) => match never {},
        },
    };
    let (mut head, content) = response.into_parts();
    let length = content.size_hint().exact().filter(|length| *length > 0);
    if is_head && let Some(length) = length {
        let headers = &mut head.headers;
        headers.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    let has_none = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
    let content = if is_head || has_none {
        Content::Own(Bytes::new())
    } else {
        content
    };
    let body = Outgoing::new(content, sending);
    Ok(Response::from_parts(head, body))
}

/// The response to a request whose head is refused. It is logged and counted like any other.
fn refuse<B>(
    service: &Arc<service::Service>,
    request: &Request<Incoming>,
    error: ApiError,
) -> Response<Content<B>> {
    let header = |name| {
        let values = request.headers().get_all(name).into_iter();
        values.map(HeaderValue::as_bytes)
    };
    let (method, path) = (request.method().as_str(), request.uri().path());
    let exchange = Exchange::begin(service, method, path, header);
    let reply = exchange.context().clone().enter(|| error.reply());
    exchange.answered(reply.status, None);
    let id = exchange.context().request_id().to_owned();
    let body = match reply.body {
        reply::Body::Bytes(bytes) => bytes,
        reply::Body::Stream(_) => Bytes::new(),
    };
    let mut response = Response::new(Content::Own(body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_REQUEST);
    let standard = STANDARD_HEADERS.map(|(name, value)| (name, value.into()));
    let own = reply.headers.into_iter().chain(standard);
    for (name, value) in own.chain([(REQUEST_ID, id.into())]) {
        if let Ok(value) = HeaderValue::try_from(value.as_ref()) {
            let name = HeaderName::from_static(name);
            response.headers_mut().insert(name, value);
        }
    }
    response
}

tokio::task_local! {
    static SENDING: Arc<Sending>;
}

/// How far the response to a request is.
#[derive(Debug, Default)]
struct Sending {
    /// Whether there was room for the request.
    is_admitted: bool,
    has_begun: AtomicBool,
    has_ended: AtomicBool,
    /// Whether more of it does not exist yet.
    waits_for_more: AtomicBool,
    /// The bytes that were passed on.
    bytes: AtomicU64,
}

impl Sending {
    /// That of the current request.
    fn current() -> Arc<Self> {
        SENDING.try_with(Arc::clone).unwrap_or_default()
    }
}

/// The requests of a connection: hyper executes each in a task of its own.
#[derive(Clone)]
struct Streams {
    phase: Arc<Phase>,
    service: Arc<service::Service>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, work: F) {
        let mut stream = Stream::begin(self);
        let (sending, holder) = (Arc::clone(&stream.sending), Arc::clone(&stream.holder));
        let work = async move {
            // Dropped before the stream: it ends with all that the work has held.
            let mut work = pin!(work);
            poll_fn(|cx| stream.poll(work.as_mut(), cx)).await;
        };
        let work = SENDING.scope(sending, holder.scope(work));
        self.service.shutdown().spawn(work);
    }
}

/// A request in progress.
struct Stream {
    phase: Arc<Phase>,
    service: Arc<service::Service>,
    holder: Arc<Holder>,
    sending: Arc<Sending>,
    /// The response that its client does not read as fast as it is made.
    unread: Option<Pace>,
    /// The last such response, and when its client had read what there was.
    was_unread: Option<(Pace, Instant)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    fn begin(streams: &Streams) -> Self {
        let Streams { phase, service } = streams.clone();
        let admission = service.admission();
        let is_only = phase.stream_begins();
        let holder = admission.connections.open_stream(phase.holder());
        let taken = (!is_only).then(|| admission.streams.take(holder.client(), 1));
        let is_admitted = !matches!(taken, Some(Err(_)));
        if let Some(Ok(taken)) = taken {
            holder.keep_aside(taken);
        }
        Self {
            phase,
            service,
            holder,
            sending: Arc::new(Sending {
                is_admitted,
                ..Sending::default()
            }),
            unread: None,
            was_unread: None,
            timer: None,
        }
    }

    /// Goes on with the `work` on the request. Ready when it is over, or when its client does not
    /// read the response. Then hyper, which loses the work, resets the stream.
    fn poll(&mut self, work: Pin<&mut impl Future<Output = ()>>, cx: &mut Context<'_>) -> Poll<()> {
        let sending = &*self.sending;
        sending.waits_for_more.store(false, Ordering::Relaxed);
        if work.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let bytes = sending.bytes.swap(0, Ordering::Relaxed);
        if let Some(pace) = &mut self.unread {
            pace.add(bytes);
        }
        if !sending.has_begun.load(Ordering::Relaxed)
            || sending.waits_for_more.load(Ordering::Relaxed)
        {
            if let Some(pace) = self.unread.take() {
                self.was_unread = Some((pace, Instant::now()));
                self.holder.goes_on(Waiting::Unread);
            }
            return Poll::Pending;
        }
        // hyper has a piece of the response, and waits for the client to make room for it.
        let limits = self.service.limits();
        let connections = &self.service.admission().connections;
        let begin = || {
            let same = self.was_unread.take();
            let same = same.filter(|(_, read)| read.elapsed() < QUIET);
            let pace = same.map_or_else(
                || Pace::begin(limits.body / 2, limits.response),
                |(pace, _)| pace,
            );
            connections.wait(&self.holder, Waiting::Unread, pace.elapsed());
            pace
        };
        let due = self.unread.get_or_insert_with(begin).due();
        if !self.holder.is_given_up(Waiting::Unread, cx.waker()) && !self.is_over(due, cx) {
            return Poll::Pending;
        }
        tracing::debug!("a client reads its response too slowly");
        Poll::Ready(())
    }

    /// Whether `due` has passed. If not, the task is woken at `due`.
    fn is_over(&mut self, due: Instant, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx).is_ready()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let connections = &self.service.admission().connections;
        connections.close_stream(&self.holder);
        let is_answered = self.sending.has_ended.load(Ordering::Relaxed);
        self.phase.stream_ends(is_answered);
    }
}

/// What a response consists of.
enum Content<B> {
    /// The response of the service.
    Of(B),
    /// A response that is made here.
    Own(Bytes),
}

impl<B: Body<Data = Bytes>> Content<B> {
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Of(body) => body.size_hint(),
            Self::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// The body of a response, in pieces that hyper can pass on.
///
/// hyper passes on a piece when the client has room for one more byte. What is over the room would
/// stay in memory, for as long as the client likes, and after the end of the body nobody would
/// know. So the last byte is a piece of its own: once it has been passed on, the client has room for
/// all before it.
struct Outgoing<B> {
    content: Option<B>,
    piece: Bytes,
    sending: Arc<Sending>,
}

impl<B: Body<Data = Bytes>> Outgoing<B> {
    fn new(content: Content<B>, sending: Arc<Sending>) -> Self {
        sending.has_begun.store(true, Ordering::Relaxed);
        let (content, piece) = match content {
            Content::Of(body) => (Some(body), Bytes::new()),
            Content::Own(bytes) => (None, bytes),
        };
        let body = Self {
            content,
            piece,
            sending,
        };
        body.note_end();
        body
    }

    fn note_end(&self) {
        if self.is_over() {
            self.sending.has_ended.store(true, Ordering::Relaxed);
        }
    }

    fn is_over(&self) -> bool {
        self.piece.is_empty() && self.content.as_ref().is_none_or(Body::is_end_stream)
    }

    /// The next part of the piece that is there.
    fn next_part(&mut self) -> Bytes {
        let may_be_last = self
            .content
            .as_ref()
            .is_none_or(|content| content.is_end_stream() || content.size_hint().exact().is_none());
        let length = match self.piece.len() {
            length if length > UNSENT => UNSENT,
            length if length > 1 && may_be_last => length - 1,
            length => length,
        };
        let part = self.piece.split_to(length);
        let length = part.len() as u64;
        self.sending.bytes.fetch_add(length, Ordering::Relaxed);
        self.note_end();
        part
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Outgoing<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        loop {
            if !this.piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(this.next_part()))));
            }
            let Some(content) = &mut this.content else {
                return Poll::Ready(None);
            };
            let polled = Pin::new(content).poll_frame(cx);
            if polled.is_pending() {
                this.sending.waits_for_more.store(true, Ordering::Relaxed);
            }
            match ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.piece = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    this.sending.has_ended.store(true, Ordering::Relaxed);
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        let content = self.content.as_ref();
        let mut hint = content.map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let piece = self.piece.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + piece);
        }
        hint.set_lower(hint.lower() + piece);
        hint
    }
}
