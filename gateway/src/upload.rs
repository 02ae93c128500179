//! The body of a request on its way to a service: frame by frame, with a limit, and never in
//! memory as a whole.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use chassis::contract::body::{self, MAX_BODY};
use chassis::contract::error::ApiError;
use chassis::upstream::instances::Sent;
use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;

/// The body of a request on its way.
#[derive(Debug)]
pub struct Upload {
    body: Option<Incoming>,
    /// How many bytes there may still be.
    rest: usize,
    /// Who waits for its end.
    ended: Option<oneshot::Sender<Result<(), ApiError>>>,
    sent: Option<Sent>,
}

/// Why a body is not sent to its end. The client gets the [`ApiError`] that was reported.
#[derive(Debug)]
pub struct NotSent;

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of the request is not complete or too large")
    }
}

impl std::error::Error for NotSent {}

/// Becomes `Ok` when a body has been read to its end, and an error of the client when it cannot
/// be. If the service does not want all of it, it becomes `Err` of the outer result.
pub type Ending = oneshot::Receiver<Result<(), ApiError>>;

impl Upload {
    /// No body.
    pub fn none() -> Self {
        Self {
            body: None,
            rest: 0,
            ended: None,
            sent: None,
        }
    }

    /// When it was sent to its end; `None` if there is no body.
    pub fn sent(&self) -> Option<Sent> {
        self.sent.clone()
    }

    /// Takes the body of a request, if there is one, and tells when it has ended. A body that
    /// says that it is over the limit is refused.
    pub fn of(
        request: Request<Option<Incoming>>,
    ) -> Result<(Request<Self>, Option<Ending>), ApiError> {
        let (head, body) = request.into_parts();
        let Some(body) = body else {
            return Ok((Request::from_parts(head, Self::none()), None));
        };
        if body.size_hint().lower() > MAX_BODY as u64 {
            return Err(ApiError::payload_too_large(MAX_BODY));
        }
        let (ended, ending) = oneshot::channel();
        let body = Self {
            body: Some(body),
            rest: MAX_BODY,
            ended: Some(ended),
            sent: Some(Sent::default()),
        };
        Ok((Request::from_parts(head, body), Some(ending)))
    }

    fn end(&mut self, how: Result<(), ApiError>) {
        if let Some(ended) = self.ended.take() {
            if let (Ok(()), Some(sent)) = (&how, &self.sent) {
                sent.get_or_init(Instant::now);
            }
            // Nobody waits if the response has already come.
            let _ = ended.send(how);
        }
    }

    fn fail(&mut self, error: ApiError) -> Poll<Option<Result<Frame<Bytes>, NotSent>>> {
        self.body = None;
        self.end(Err(error));
        Poll::Ready(Some(Err(NotSent)))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = NotSent;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, NotSent>>> {
        let this = &mut *self;
        while let Some(body) = &mut this.body {
            let frame = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(cause)) => return this.fail(body::unreadable(cause)),
                None => break,
            };
            // Trailers are dropped.
            let Some(data) = frame.data_ref() else {
                continue;
            };
            let Some(rest) = this.rest.checked_sub(data.len()) else {
                return this.fail(ApiError::payload_too_large(MAX_BODY));
            };
            this.rest = rest;
            if body.is_end_stream() {
                this.end(Ok(()));
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        this.end(Ok(()));
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
