//! Tells the connections of the chassis when a request of actix-web begins and ends.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{self, BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage};
use chassis::serve::connection::Phase;
use futures_util::stream::poll_fn;
use futures_util::{FutureExt, StreamExt};
use tokio::task::yield_now;

/// The outermost middleware. It tells the connection when a request begins and ends.
pub(crate) async fn connection(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse, Error> {
    let phase = request.conn_data::<Arc<Phase>>().cloned();
    let phase = phase.expect("`serve` adds it to every connection");
    let has_body = !matches!(request.parts().1, Payload::None);
    let turn = phase.begin(has_body);
    let is_head = request.method() == Method::HEAD;
    let unread = has_body.then(|| shared_body(&mut request, &phase));
    let answer = phase.scope(next.call(request)).await;
    let at_end = |body: &Shared| matches!(body.borrow_mut().next().now_or_never(), Some(None));
    if !unread.as_ref().is_none_or(at_end) {
        // Let actix read what arrived together with the head, like hyper: if the body is
        // complete by now, the connection can stay open.
        yield_now().await;
    }
    answer.map(|answer| {
        answer.map_body(|_, body| {
            // actix reads also a body that it does not send, and a stream may have no end.
            let body = match body.size() {
                BodySize::Stream if is_head => BoxBody::new(body::None::new()),
                _ => body,
            };
            guarded(body, turn, unread)
        })
    })
}

type Shared = Rc<RefCell<Payload>>;

/// Replaces the body of a request by a shared one, and returns it. The connection is told when
/// it is read.
fn shared_body(request: &mut ServiceRequest, phase: &Arc<Phase>) -> Shared {
    let body = Rc::new(RefCell::new(request.take_payload()));
    let (shared, phase) = (Rc::clone(&body), Arc::clone(phase));
    let reading = poll_fn(move |cx| {
        phase.wants_body();
        shared.borrow_mut().poll_next_unpin(cx)
    });
    request.set_payload(Payload::Stream {
        payload: Box::pin(reading),
    });
    body
}

/// actix copies what a body gives into a buffer of the connection. So it is given no more than
/// that buffer may hold.
const CHUNK: usize = 32 * 1024;

/// A response body that keeps `guard` until it has been sent or has failed.
struct Guarded<G> {
    body: BoxBody,
    /// What the body has already given, but actix has not taken.
    rest: Bytes,
    guard: Option<G>,
    // Once it is dropped, actix reads a chunked body to its end, however long it is. Held
    // until the response is dropped, unread bytes close the connection, as with hyper.
    _unread: Option<Shared>,
}

pub(crate) fn guarded(
    body: BoxBody,
    guard: impl Unpin + 'static,
    unread: Option<Shared>,
) -> BoxBody {
    BoxBody::new(Guarded {
        body,
        rest: Bytes::new(),
        guard: Some(guard),
        _unread: unread,
    })
}

impl<G> Guarded<G> {
    /// Drops the guard at the end of the body: actix may send the last bytes without polling
    /// again.
    fn ends(&mut self) {
        if self.body.size().is_eof() {
            self.guard = None;
        }
    }
}

impl<G: Unpin> MessageBody for Guarded<G> {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        match self.body.size() {
            BodySize::Sized(bytes) => BodySize::Sized(bytes + self.rest.len() as u64),
            size => size,
        }
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.rest.is_empty() {
            match self.body.as_pin_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => self.rest = chunk,
                other => {
                    self.ends();
                    return other;
                }
            }
        }
        let length = self.rest.len().min(CHUNK);
        let chunk = self.rest.split_to(length);
        if self.rest.is_empty() {
            self.ends();
        }
        Poll::Ready(Some(Ok(chunk)))
    }
}
