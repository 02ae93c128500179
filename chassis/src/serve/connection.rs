//! A TCP connection with time-outs, below hyper and actix.
//!
//! The whole head of a request must arrive within its time-out, however slowly the client
//! sends it. An idle connection is closed after a while. So is one whose client reads the
//! response too slowly. The time-out of a body applies where the body is read: see
//! [`Service::receive`].
//!
//! There is a limit on connections. While it is reached, a connection that waits for its client
//! is closed for each new one.
//!
//! Closing a connection must not lose the last response. A refused body, for example one that
//! is too large, is not read to its end. Closing a socket with unread bytes resets it, and the
//! reset destroys the response for a client that sends everything before it reads anything. So
//! the connection first closes its sending side, then discards what still arrives, for a while
//! ([RFC 9112, 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6)).
//!
//! TLS is a layer on top, so it is within the same limits: its handshake is a part of the first
//! head.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::serve::admission::SMALL_HEAD;
use crate::serve::config::Limits;
use crate::serve::connections::{Connections, Holder, Waiting};
use crate::serve::limit::{Limit, Taken};
use crate::serve::pace::Pace;
use crate::serve::service::Service;
use crate::serve::shutdown::Shutdown;

/// The largest head of a request, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;

/// How long a connection that is closing discards what still arrives.
const LINGER: Duration = Duration::from_secs(5);

/// How long a connection that is closing waits for the rest of a head: of a request that has
/// begun to arrive before a shutdown, or of a refused head.
const LAST_READ: Duration = Duration::from_secs(1);

/// The bytes of a response that the system keeps until it can send them. Without a limit it would
/// keep megabytes for each client that reads slowly. A container pays for this memory too.
const UNSENT: u32 = 16 * 1024;

/// A stream that has sent nothing for so long was quiet. What it sends then is like another
/// response.
pub(super) const QUIET: Duration = Duration::from_secs(1);

/// The address of the client of the current request: the other end of its connection.
pub fn peer() -> Option<IpAddr> {
    Holder::of_current(Holder::peer).flatten()
}

/// Whether the current request arrived within TLS.
pub fn is_encrypted() -> bool {
    Holder::of_current(Holder::is_encrypted).unwrap_or_default()
}

/// What carries requests: a [`Connection`] itself, or a layer on top of one, such as TLS.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// The connection.
    fn connection(&mut self) -> &mut Connection;
}

impl Transport for Connection {
    fn connection(&mut self) -> &mut Connection {
        self
    }
}

/// Whether a connection is within a request or between two. The layer that handles requests
/// updates it.
#[derive(Debug, Default)]
pub struct Phase {
    /// The number of requests begun plus the number of requests ended: odd within a request.
    turns: AtomicUsize,
    had_body: AtomicBool,
    /// Whether the whole request, with a body of known length, has been passed on.
    is_whole: AtomicBool,
    is_body_wanted: AtomicBool,
    is_upgraded: AtomicBool,
    /// The requests of HTTP/2 in progress.
    streams: AtomicUsize,
    /// The requests of HTTP/2 that were answered.
    answered: AtomicUsize,
    /// Whether a connection of HTTP/2 was idle for too long.
    is_over: AtomicBool,
    holder: Arc<Holder>,
}

impl Phase {
    /// Runs `handler` as part of a request on this connection.
    pub fn scope<F: Future>(&self, handler: F) -> impl Future<Output = F::Output> + use<F> {
        self.holder.scope(handler)
    }

    /// A request begins: its head has arrived. If it has a body, some of it may stay unread.
    pub fn begin(self: &Arc<Self>, has_body: bool) -> Turn {
        self.had_body.store(has_body, Ordering::Relaxed);
        self.holder.goes_on(Waiting::Idle);
        self.turns.fetch_add(1, Ordering::Relaxed);
        Turn {
            phase: Arc::clone(self),
            ends: true,
        }
    }

    /// The handler of the current request reads its body. This gives leave to a client that
    /// waits for it, if [`Requests`](crate::serve::requests::Requests) hides that it does.
    pub fn wants_body(&self) {
        self.is_body_wanted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_body_wanted(&self) -> bool {
        self.is_body_wanted.load(Ordering::Relaxed)
    }

    /// The head of a request is passed on, and nobody has asked for its body yet.
    pub(super) fn head_passed(&self) {
        self.set_whole(false);
        self.is_body_wanted.store(false, Ordering::Relaxed);
    }

    /// The number of requests begun plus the number of requests ended.
    pub(super) fn turns(&self) -> usize {
        self.turns.load(Ordering::Relaxed)
    }

    /// Whether the whole request, with a body of known length, has been passed on.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Relaxed)
    }

    pub(super) fn set_whole(&self, is_whole: bool) {
        self.is_whole.store(is_whole, Ordering::Relaxed);
    }

    /// A request of HTTP/2 begins. Returns whether it is the only one of this connection.
    pub(super) fn stream_begins(&self) -> bool {
        self.holder.goes_on(Waiting::Idle);
        let is_only = self.streams.fetch_add(1, Ordering::Relaxed) == 0;
        if is_only {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
        is_only && !self.holder.has_unread()
    }

    /// A request of HTTP/2 has a body. Some of it may stay unread.
    pub(super) fn stream_has_body(&self) {
        self.had_body.store(true, Ordering::Relaxed);
    }

    /// A request of HTTP/2 ends.
    pub(super) fn stream_ends(&self, is_answered: bool) {
        if is_answered {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        if self.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
        // It runs in another task, which has to see that this one is over.
        self.holder.wake();
    }

    /// The number of requests of HTTP/2 that were answered.
    pub(super) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Whether a connection of HTTP/2 was idle for too long.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// What the connection holds.
    pub(super) fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    /// Whether the connection has switched to another protocol.
    pub(super) fn is_upgraded(&self) -> bool {
        self.is_upgraded.load(Ordering::Relaxed)
    }
}

/// A request in progress, until its response body has been sent. Meanwhile the connection is
/// not idle, even if the body is a stream that is quiet.
#[derive(Debug)]
#[must_use = "dropped at once, the connection counts as idle"]
pub struct Turn {
    phase: Arc<Phase>,
    ends: bool,
}

impl Turn {
    /// The connection switches to another protocol, which has its own time-outs.
    pub(crate) fn upgrade(&mut self) {
        self.ends = false;
        self.phase.is_upgraded.store(true, Ordering::Relaxed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.phase.holder.answered();
        if self.ends {
            self.phase.turns.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A TCP connection with time-outs. After a time-out the HTTP layer sees a closed connection.
///
/// A request costs little more than reading the clock. The timer is set only when the
/// connection waits, and a timer that fires too early is set again then: it is not reset for
/// each request.
///
/// On HTTP/1.1, bytes that arrive between two requests are a head. On HTTP/2, `frames.rs` tells what
/// is one, and a connection that was idle for too long is given a moment to say so.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    phase: Arc<Phase>,
    holder: Arc<Holder>,
    connections: Arc<Connections>,
    large_heads: Arc<Limit>,
    limits: Limits,
    shutdown: Shutdown,
    timer: Option<Pin<Box<Sleep>>>,
    /// The last known value of [`Phase::turns`].
    turns: usize,
    /// Whether it speaks HTTP/2.
    is_multiplexed: bool,
    /// Whether a head has begun to arrive.
    in_head: bool,
    /// The bytes that had arrived before this head.
    before_head: u64,
    /// What it takes to receive a large head.
    large_head: Option<Taken>,
    /// When the expected bytes must have arrived; none while nothing is expected.
    read_by: Option<Instant>,
    /// The response that its client does not read as fast as it is written; none while the
    /// HTTP layer has nothing to write.
    unread: Option<Pace>,
    /// The last such response, and when all of it was written that the HTTP layer had: it may
    /// have more in a moment.
    was_unread: Option<(Pace, Instant)>,
    /// When reading ends after a shutdown.
    last_read: Option<Instant>,
    /// Whether the sending side is closed.
    is_shut: bool,
}

impl Connection {
    /// A connection that `service` has just accepted. It waits for a head.
    pub fn new(stream: TcpStream, service: &Service) -> Self {
        // Without it, a small response waits for the acknowledgement of the previous one. It
        // fails only if the client has already gone, and then reading fails too.
        let _ = stream.set_nodelay(true);
        // Not every system has it.
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
        let address = stream.peer_addr().map(|address| address.ip());
        let unknown = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let admission = service.admission();
        let holder = admission.connections.open(address.unwrap_or(unknown));
        Self {
            stream,
            phase: Arc::new(Phase {
                holder: Arc::clone(&holder),
                ..Phase::default()
            }),
            holder,
            connections: Arc::clone(&admission.connections),
            large_heads: Arc::clone(&admission.heads),
            limits: *service.limits(),
            shutdown: service.shutdown().clone(),
            timer: None,
            turns: 0,
            is_multiplexed: false,
            in_head: false,
            before_head: 0,
            large_head: None,
            read_by: None,
            unread: None,
            was_unread: None,
            last_read: None,
            is_shut: false,
        }
    }

    /// The phase, to be updated by the layer that handles requests.
    pub fn phase(&self) -> Arc<Phase> {
        Arc::clone(&self.phase)
    }

    /// From now on, its bytes are within TLS.
    pub fn encrypt(&mut self) {
        self.holder.encrypt();
    }

    /// Waits until bytes have arrived, without taking them. Returns the first one; none if the
    /// connection has ended, or the time-out for a head has.
    pub async fn first_byte(&mut self) -> Option<u8> {
        poll_fn(|cx| {
            if self.holder.is_refused() {
                return Poll::Ready(None);
            }
            let mut byte = [0];
            let mut buffer = ReadBuf::new(&mut byte);
            match self.stream.poll_peek(cx, &mut buffer) {
                Poll::Ready(_) => Poll::Ready(buffer.filled().first().copied()),
                Poll::Pending if self.is_late(cx) || self.is_given_up(cx) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// From now on, it speaks HTTP/2.
    pub(super) fn multiplex(&mut self) {
        self.is_multiplexed = true;
        self.in_head = false;
    }

    /// On HTTP/2, a head begins to arrive. Its time-out starts now; that of the first head has
    /// started with the connection.
    pub(super) fn head_begins(&mut self) {
        self.in_head = true;
        if self.turns > 0 {
            self.read_by = None;
        }
    }

    /// On HTTP/2, the head is large. Returns whether it may arrive.
    pub(super) fn head_is_large(&mut self) -> bool {
        if self.large_head.is_none() {
            self.large_head = self.large_heads.take(self.holder.client(), 1).ok();
        }
        self.large_head.is_some()
    }

    /// On HTTP/2, all of the head has arrived.
    pub(super) fn head_ends(&mut self) {
        self.in_head = false;
        self.large_head = None;
        self.read_by = None;
    }

    /// Bytes have arrived. Between requests they are a head. Its time-out starts now; that of
    /// the first head has started with the connection.
    pub(super) fn arrived(&mut self) {
        if !self.is_multiplexed && !self.is_in_request() && !self.in_head {
            self.in_head = true;
            self.before_head = self.holder.received();
            if self.turns > 0 {
                self.read_by = None;
            }
        }
    }

    /// Whether `bytes` that have arrived may be kept: only some heads may grow large.
    fn has_room(&mut self, bytes: usize) -> bool {
        self.holder.arrived(bytes);
        let head = self.holder.received() - self.before_head;
        self.is_multiplexed || !self.in_head || head <= SMALL_HEAD || self.head_is_large()
    }

    /// Whether the expected bytes are overdue.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        // While the client still reads the last response, the connection is not idle.
        let is_busy = self.is_in_request() || self.unread.is_some();
        if is_busy && !(self.is_multiplexed && self.in_head) {
            return false;
        }
        let limit = if self.in_head || self.turns == 0 {
            self.limits.head
        } else {
            self.limits.idle
        };
        if !self.has_waited(limit, cx) {
            return false;
        }
        if self.is_multiplexed && !self.in_head && !self.phase.is_over() {
            self.phase.is_over.store(true, Ordering::Relaxed);
            self.read_by = Some(Instant::now() + LAST_READ);
            return self.has_waited(LAST_READ, cx);
        }
        true
    }

    /// Whether the connection has waited for bytes for `limit`, or for [`LAST_READ`] since
    /// the shutdown.
    fn has_waited(&mut self, limit: Duration, cx: &mut Context<'_>) -> bool {
        let mut due = self.read_by.unwrap_or_else(|| {
            let what = if self.in_head && !self.is_shut {
                Waiting::Head
            } else {
                Waiting::Idle
            };
            // The head of another request of HTTP/2 is no reason to give up those in progress.
            if self.turns.is_multiple_of(2) {
                self.connections.wait(&self.holder, what, Duration::ZERO);
            }
            Instant::now() + limit
        });
        self.read_by = Some(due);
        if self.shutdown.is_requested() {
            let last_read = || Instant::now() + LAST_READ;
            due = due.min(*self.last_read.get_or_insert_with(last_read));
        }
        self.is_over(due, cx)
    }

    /// Whether it was given up for another connection, while it waits for a request. Sets the
    /// waker.
    fn is_given_up(&mut self, cx: &Context<'_>) -> bool {
        self.holder.is_given_up(Waiting::Idle, cx.waker()) && !self.is_in_request()
    }

    /// Whether a request is in progress. If one has begun or ended since the last call, the
    /// previous wait is over.
    fn is_in_request(&mut self) -> bool {
        let turns = self.phase.turns.load(Ordering::Relaxed);
        if turns != self.turns {
            self.turns = turns;
            self.was_unread = None;
            if !self.is_multiplexed {
                self.in_head = false;
                self.large_head = None;
            }
            if !self.in_head {
                self.read_by = None;
            }
        }
        turns % 2 == 1
    }

    /// Whether `due` has passed. If not, the task is woken at `due`.
    fn is_over(&mut self, due: Instant, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        // Else a client that sends without end would use up the turn of this task, and no time-out
        // would ever be seen.
        while pin!(unconstrained(timer.as_mut())).poll(cx).is_ready() {
            if timer.deadline() >= due {
                return true;
            }
            // The timer was set for an earlier wait.
            timer.as_mut().reset(due);
        }
        false
    }

    /// The outcome of an attempt to write.
    fn sent(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = &written {
            let was_unread = self.was_unread.as_mut().map(|(pace, _)| pace);
            if let (Some(pace), Ok(bytes)) = (self.unread.as_mut().or(was_unread), result) {
                pace.add(*bytes as u64);
            }
            if self.unread.is_none() {
                self.is_waiting_again(cx);
            }
            return written;
        }
        let (patience, most) = (self.limits.body / 2, self.limits.response);
        let begin = || {
            let same = self.was_unread.take();
            let same = same.filter(|(_, written)| written.elapsed() < QUIET);
            let pace = same.map_or_else(|| Pace::begin(patience, most), |(pace, _)| pace);
            self.connections
                .wait(&self.holder, Waiting::Unread, pace.elapsed());
            pace
        };
        let mut due = self.unread.get_or_insert_with(begin).due();
        if self.is_multiplexed
            && due <= Instant::now()
            && self.unread.as_ref().is_some_and(Pace::is_kept)
        {
            // That is the time for one response, and here are many.
            due = self.unread.insert(Pace::begin(patience, most)).due();
        }
        if !self.holder.is_given_up(Waiting::Unread, cx.waker()) && !self.is_over(due, cx) {
            return Poll::Pending;
        }
        // Otherwise the system would keep the unread bytes, and retry for minutes.
        let _ = self.stream.set_zero_linger();
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client reads its response too slowly",
        )))
    }

    /// The HTTP layer has written all that it had.
    fn written(&mut self, cx: &mut Context<'_>) {
        self.holder.written();
        if let Some(pace) = self.unread.take() {
            self.was_unread = Some((pace, Instant::now()));
            self.holder.goes_on(Waiting::Unread);
            self.is_waiting_again(cx);
        }
    }

    /// The response is on its way, so the connection waits for the next request. Sets the timer
    /// now: the reader may not poll again before bytes arrive.
    fn is_waiting_again(&mut self, cx: &mut Context<'_>) {
        // On HTTP/2 it may have been something else than a response.
        if !self.is_multiplexed {
            self.read_by = None;
        }
        self.is_late(cx);
    }

    /// Ready when the other side has closed too, or the wait for it is over.
    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = if self.in_head { LAST_READ } else { LINGER };
        if self.has_waited(limit, cx) || self.holder.is_given_up(Waiting::Idle, cx.waker()) {
            return Poll::Ready(());
        }
        let mut scratch = [0; 8 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                // The end, or a broken connection.
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.holder.is_refused() {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                let bytes = buffer.filled().len() - before;
                if bytes > 0 {
                    self.arrived();
                    // With HTTP/2, a client can always send something that is no request.
                    if !self.has_room(bytes) || self.is_multiplexed && self.is_late(cx) {
                        buffer.set_filled(before);
                    }
                }
                Poll::Ready(read)
            }
            // Reading zero bytes means that the connection is closed.
            Poll::Pending if self.is_late(cx) || self.is_given_up(cx) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.sent(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.sent(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.written(cx);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.is_shut = true;
            self.read_by = None;
        }
        // Only a body or a refused head can leave unread bytes.
        if self.in_head || self.phase.had_body.load(Ordering::Relaxed) {
            ready!(self.poll_drained(cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.close(&self.holder);
    }
}
