//! A connection that is given up when the other side keeps it waiting.
//!
//! The HTTP layers above it, hyper and actix, know what is sent; this one knows
//! how long it takes. A head has to arrive whole in its time, however slowly it
//! drips; a connection without a request is kept for a while; and a client that
//! does not read its answer is not waited for. How long a body may take is not
//! decided here, but where it is read: see [`body::in_time`](crate::contract::body::in_time).
//!
//! When it closes a connection it takes care that the last answer is not lost. A
//! body that is refused, say for its size, is not read to its end. Closing a
//! socket with bytes left to read resets it, and the reset takes the answer away
//! from a client that sends everything before it reads anything. So the side
//! that sends is closed first, and what still comes is thrown away for a while
//! ([RFC 9112, 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6)).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::serve::config::Limits;
use crate::serve::service::Service;
use crate::serve::shutdown::Shutdown;

/// The largest head of a request, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;

/// How long what still comes is waited for.
const LINGER: Duration = Duration::from_secs(5);

/// How long a request that has begun to arrive is waited for in a shutdown, and
/// the rest of a head that is refused.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Where a connection is between one request and the next. Whoever answers its
/// requests says so here.
#[derive(Debug, Default)]
pub struct Phase {
    /// How many requests have begun and how many were answered, together: it is
    /// odd while one is being answered.
    turns: AtomicUsize,
    had_body: AtomicBool,
}

impl Phase {
    /// The head of a request is there, and is being answered. One that has a
    /// body may leave some of it unread.
    pub fn begin(self: &Arc<Self>, has_body: bool) -> Turn {
        self.had_body.store(has_body, Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Relaxed);
        Turn {
            phase: Arc::clone(self),
            ends: true,
        }
    }
}

/// A request being answered, until its response body has been sent: however long
/// that says nothing, the connection is not idle.
#[derive(Debug)]
#[must_use = "dropped at once, the connection counts as idle"]
pub struct Turn {
    phase: Arc<Phase>,
    ends: bool,
}

impl Turn {
    /// The connection has left HTTP for another protocol, which knows for itself
    /// how long it waits for the other side to say something.
    pub(crate) fn upgrade(&mut self) {
        self.ends = false;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.ends {
            self.phase.turns.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A TCP connection with time-outs: to the HTTP layer, a client that keeps it
/// waiting for too long has hung up.
///
/// On the way of a request there is no more to it than a look at the clock. The
/// alarm is set when there is something to wait for, and an alarm that is early
/// is left to ring: it is not set anew for each request.
///
/// It knows what is a head by when it comes: between an answer and the next
/// request. Half a head that comes along with the request before it is not seen,
/// and the connection counts as idle.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    phase: Arc<Phase>,
    limits: Limits,
    shutdown: Shutdown,
    alarm: Option<Pin<Box<Sleep>>>,
    /// How many turns of the phase have been seen.
    turns: usize,
    /// Whether a head has begun to arrive.
    in_head: bool,
    /// When what is read has to be there; none while nothing is waited for.
    read_by: Option<Instant>,
    /// When the client has to have read on; none while it does.
    written_by: Option<Instant>,
    /// When it is over in any case.
    last_call: Option<Instant>,
    /// Whether the side that sends is closed.
    is_shut: bool,
}

impl Connection {
    /// A connection that was just accepted by `service`: a head is waited for.
    pub fn new(stream: TcpStream, service: &Service) -> Self {
        // Without it a small answer waits for the acknowledgement of the one
        // before. It fails where the client is gone already, as reading will.
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            phase: Arc::default(),
            limits: *service.limits(),
            shutdown: service.shutdown().clone(),
            alarm: None,
            turns: 0,
            in_head: false,
            read_by: None,
            written_by: None,
            last_call: None,
            is_shut: false,
        }
    }

    /// Where it is told what becomes of its requests.
    pub fn phase(&self) -> Arc<Phase> {
        Arc::clone(&self.phase)
    }

    /// Something has arrived. Between requests, that is a head. The first one of
    /// a connection is waited for from its beginning.
    fn arrived(&mut self) {
        if !self.is_answering() && !self.in_head {
            self.in_head = true;
            if self.turns > 0 {
                self.read_by = None;
            }
        }
    }

    /// Whether what is waited for should have arrived by now.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        // A client that still reads its last answer is not idle yet.
        if self.is_answering() || self.written_by.is_some() {
            return false;
        }
        let limit = if self.in_head || self.turns == 0 {
            self.limits.head
        } else {
            self.limits.idle
        };
        self.has_waited(limit, cx)
    }

    /// Whether what is read was waited for for as long as `limit`, or for
    /// [`LAST_CALL`] since the shutdown.
    fn has_waited(&mut self, limit: Duration, cx: &mut Context<'_>) -> bool {
        let in_time = || Instant::now() + limit;
        let mut due = *self.read_by.get_or_insert_with(in_time);
        if self.shutdown.is_requested() {
            let last_call = || Instant::now() + LAST_CALL;
            due = due.min(*self.last_call.get_or_insert_with(last_call));
        }
        self.is_over(due, cx)
    }

    /// Whether a request is being answered. A request that has begun or ended
    /// since the last look ends what was waited for before it.
    fn is_answering(&mut self) -> bool {
        let turns = self.phase.turns.load(Ordering::Relaxed);
        if turns != self.turns {
            self.turns = turns;
            self.in_head = false;
            self.read_by = None;
        }
        turns % 2 == 1
    }

    /// Whether it is later than `due`; if not, the task is woken then.
    fn is_over(&mut self, due: Instant, cx: &mut Context<'_>) -> bool {
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if alarm.deadline() > due {
            alarm.as_mut().reset(due);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if alarm.deadline() >= due {
                return true;
            }
            // It was set for something that is over.
            alarm.as_mut().reset(due);
        }
        false
    }

    /// What became of an attempt to write.
    fn sent(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.written_by = None;
            // With its answer on the way, a connection waits for the next request.
            // Whoever reads may not look again before there is something.
            self.read_by = None;
            self.is_late(cx);
            return written;
        }
        let limit = self.limits.body;
        let due = *self
            .written_by
            .get_or_insert_with(|| Instant::now() + limit);
        if !self.is_over(due, cx) {
            return Poll::Pending;
        }
        // Or the system would keep what was not read, and offer it for minutes.
        let _ = self.stream.set_zero_linger();
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read its answer",
        )))
    }

    /// Ready when the other side has closed too, or will not.
    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = if self.in_head { LAST_CALL } else { LINGER };
        if self.has_waited(limit, cx) {
            return Poll::Ready(());
        }
        let mut scratch = [0; 8 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                // The end, or a connection that is gone.
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
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                if buffer.filled().len() > before {
                    self.arrived();
                }
                Poll::Ready(read)
            }
            // Nothing read is how a connection ends.
            Poll::Pending if self.is_late(cx) => Poll::Ready(Ok(())),
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
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.is_shut = true;
            self.read_by = None;
        }
        // Nothing else leaves anything to read: a body, or a head that is refused.
        if self.in_head || self.phase.had_body.load(Ordering::Relaxed) {
            ready!(self.poll_drained(cx));
        }
        Poll::Ready(Ok(()))
    }
}
