//! The body of a response on its way to the client: frame by frame, as fast as the client reads.

use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use bytes::Bytes;
use chassis::telemetry::context::Context;
use chassis::telemetry::spans::ClientSpan;
use chassis::upstream::instances::Picked;
use futures_util::future::BoxFuture;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::connections::Connection;

/// How long a service may send nothing of a response that has begun. Event streams send a comment
/// more often.
pub const SILENCE: Duration = Duration::from_mins(1);

/// The body of a response on its way. It keeps the connection to the service and the span of the
/// attempt for as long as the body arrives. Dropped before its end, it closes that connection.
pub struct Download {
    body: Incoming,
    exchange: Option<(Connection, Picked, ClientSpan)>,
    /// Set while the service sends nothing.
    silence: Option<Pin<Box<Sleep>>>,
    /// Becomes ready when the body must end before its end.
    stop: Option<BoxFuture<'static, ()>>,
    service: &'static str,
    context: Context,
}

impl Download {
    /// The body of a response of `service`, which came on this connection.
    pub fn new(
        service: &'static str,
        body: Incoming,
        connection: Connection,
        picked: Picked,
        span: ClientSpan,
    ) -> Self {
        let mut download = Self {
            body,
            exchange: Some((connection, picked, span)),
            silence: None,
            stop: None,
            service,
            context: Context::current(),
        };
        download.end_if_complete();
        download
    }

    /// The same for an event stream, which has no end. It ends when `stop` is ready.
    #[must_use]
    pub fn until(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop = Some(Box::pin(stop));
        self
    }

    /// The body is complete: the connection is free for the next request.
    fn end_if_complete(&mut self) {
        if self.body.is_end_stream()
            && let Some((connection, ..)) = self.exchange.take()
        {
            connection.release();
        }
    }

    /// The body is never complete. The error makes hyper break off the response of the client.
    /// `word` is the reason in one word.
    fn break_off<E: Into<BoxError>>(
        &mut self,
        cause: E,
        word: &'static str,
    ) -> Poll<Option<Framed>> {
        let cause = cause.into();
        let text = format!("{} broke off the response: {cause}", self.service);
        self.context.record_cause(text);
        if let Some((_, mut picked, mut span)) = self.exchange.take() {
            picked.failed();
            span.failed(word);
        }
        Poll::Ready(Some(Err(cause)))
    }

    fn is_stopped(&mut self, cx: &mut task::Context<'_>) -> bool {
        let stop = self.stop.as_mut();
        stop.is_some_and(|stop| stop.as_mut().poll(cx).is_ready())
    }

    fn is_silent_for_too_long(&mut self, cx: &mut task::Context<'_>) -> bool {
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(SILENCE)));
        silence.as_mut().poll(cx).is_ready()
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Framed = Result<Frame<Bytes>, BoxError>;

impl Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Framed>> {
        let this = &mut *self;
        loop {
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(cause))) => return this.break_off(cause, "broken"),
                Poll::Ready(None) => {
                    this.end_if_complete();
                    return Poll::Ready(None);
                }
                Poll::Pending if this.is_stopped(cx) => {
                    this.exchange = None;
                    return Poll::Ready(None);
                }
                Poll::Pending if this.is_silent_for_too_long(cx) => {
                    return this.break_off(format!("nothing for {SILENCE:?}"), "timed_out");
                }
                Poll::Pending => return Poll::Pending,
            };
            if let Some(silence) = &mut this.silence {
                silence.as_mut().reset(Instant::now() + SILENCE);
            }
            this.end_if_complete();
            // Trailers are dropped.
            if frame.is_data() {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
