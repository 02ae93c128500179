//! The requests of a connection, one at a time, below hyper and actix.
//!
//! A client may send its next request before it has the response to the previous one, and it
//! may send anything instead of a request. hyper and actix answer both in different ways.
//! [`Requests`] lets neither happen: it checks each head, answers those that it refuses, and
//! passes on a request only when the response to the previous one has been sent. So each
//! response belongs to its own request, nothing is answered after a request that closes the
//! connection, and all five frameworks treat a malformed request in the same way.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::contract::error::ApiError;
use crate::serve::connection::{Connection, MAX_HEAD, Phase, Transport};
use crate::serve::framing::Framing;
use crate::serve::head::{self, Head};
use crate::serve::service::Service;

/// How much is read at once, in bytes.
const READ: usize = 8 * 1024;

/// Gives a client that waits for it leave to send the body
/// ([RFC 9110, 10.1.1](https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1)).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The largest buffer that an idle connection keeps, in bytes.
const KEPT: usize = 1024;

/// A connection that passes on one request at a time.
///
/// A client that closes its sending side after the request gets its response: the end is
/// passed on after the response. A client that is gone looks the same. So the end is passed on
/// at once, and ends the request, if nothing could be sent to the client for the time that a
/// body may take.
#[derive(Debug)]
pub struct Requests<T = Connection> {
    transport: T,
    service: Arc<Service>,
    phase: Arc<Phase>,
    hides_wishes: bool,
    state: State,
    /// What has arrived and has not been passed on.
    held: Vec<u8>,
    /// How many of the held bytes may be passed on.
    passing: usize,
    /// The rest of [`CONTINUE`], if the client of the current request waits for it.
    leave: &'static [u8],
    /// How many of the held bytes are known to be no whole head.
    searched: usize,
    /// Whether the client wants the connection to be closed after the current request.
    is_last: bool,
    /// The number of turns when the current request is over.
    over_at: usize,
    /// Whether the response to the current request has been sent.
    is_answered: bool,
    /// Waits for the response to the current request.
    reader: Option<Waker>,
    /// Set when the client has closed its sending side: until when it may be silent.
    silent: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum State {
    /// The head of a request arrives.
    Head,
    /// The body of a request is passed on.
    Body(Framing),
    /// The response to a request is sent.
    Answering,
    /// The response to a refused head is sent; this is the rest of it.
    Refusing(Vec<u8>),
    /// The connection has switched to another protocol.
    Upgraded,
    /// Nothing more is passed on.
    Closed,
}

impl<T: Transport> Requests<T> {
    /// The requests on `transport` to `service`.
    pub fn new(mut transport: T, service: &Arc<Service>) -> Self {
        Self {
            phase: transport.connection().phase(),
            transport,
            service: Arc::clone(service),
            hides_wishes: false,
            state: State::Head,
            held: Vec::new(),
            passing: 0,
            leave: b"",
            searched: 0,
            is_last: false,
            over_at: 0,
            is_answered: false,
            reader: None,
            silent: None,
        }
    }

    /// The same, for a server that does badly what a client may ask for besides the response.
    /// It does not see that a client asks for another protocol, or for leave to send its body;
    /// that is given when [`Phase::wants_body`] is called.
    #[must_use]
    pub fn hiding_wishes(mut self) -> Self {
        self.hides_wishes = true;
        self
    }

    /// The phase of the connection, to be updated by the layer that handles requests.
    pub fn phase(&self) -> Arc<Phase> {
        Arc::clone(&self.phase)
    }

    /// Reads some bytes. Returns their number, which is 0 at the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [MaybeUninit::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.transport).poll_read(cx, &mut buffer))?;
        self.held.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Looks for a whole head in the held bytes. Returns whether more must arrive.
    fn needs_more(&mut self) -> bool {
        if self.searched == 0 {
            // Empty lines before a request are allowed.
            let empty = self.held.iter().take_while(|byte| b"\r\n".contains(byte));
            let empty = empty.count();
            self.held.drain(..empty);
        }
        if self.held.is_empty() {
            return true;
        }
        let is_new = self.searched == 0;
        let from = self.searched.saturating_sub(2);
        self.searched = self.held.len();
        let may_end = has_empty_line(&self.held[from..]) || self.held.len() >= MAX_HEAD;
        if !is_new && !may_end {
            return true;
        }
        match head::check(&self.held) {
            Ok(None) => return true,
            Ok(Some(head)) => self.begin(head),
            Err(error) => {
                let answer = head::refuse(&self.service, &self.held, error);
                self.state = State::Refusing(answer);
            }
        }
        false
    }

    /// A request begins.
    fn begin(&mut self, mut head: Head) {
        let arrived = head.body.advance(&self.held[head.length..]);
        self.leave = b"";
        if self.hides_wishes {
            for range in head.wishes {
                self.held[range].fill(b' ');
            }
            if head.expects_continue && arrived == 0 {
                self.leave = CONTINUE;
            }
        }
        self.passing = head.length + arrived;
        self.state = State::Body(head.body);
        self.searched = 0;
        self.is_last = head.is_last;
        self.over_at = self.phase.turns() + 2;
        self.is_answered = false;
        self.phase.head_passed();
    }

    /// Writes what gives leave to send the body, if it is `wanted`. Once begun, all of it is
    /// written.
    fn poll_leave(&mut self, wanted: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.leave.is_empty() && (wanted || self.leave.len() < CONTINUE.len()) {
            let sent = ready!(Pin::new(&mut self.transport).poll_write(cx, self.leave))?;
            self.leave = &self.leave[sent..];
        }
        Poll::Ready(Ok(()))
    }

    /// The response has been sent.
    fn end(&mut self) {
        self.silent = None;
        if self.is_last {
            self.state = State::Closed;
            return;
        }
        self.state = State::Head;
        if self.held.is_empty() {
            if self.held.capacity() > KEPT {
                self.held = Vec::new();
            }
        } else {
            // The next head has arrived already.
            self.transport.connection().arrived();
        }
    }

    /// Waits for the response. Ready if the client is gone or there is more to do.
    fn poll_answered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(silent) = &mut self.silent {
            if silent.as_mut().poll(cx).is_ready() {
                self.state = State::Closed;
                return Poll::Ready(Ok(()));
            }
        } else if self.held.is_empty() {
            // Reading shows that the client has broken off the connection.
            if ready!(self.poll_more(cx))? == 0 {
                let limit = self.service.limits().body;
                self.silent = Some(Box::pin(sleep(limit)));
            }
            return Poll::Ready(Ok(()));
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Something has been written.
    fn sent(&mut self, written: &Poll<io::Result<usize>>) {
        if let (Some(silent), Poll::Ready(Ok(1..))) = (&mut self.silent, written) {
            let limit = self.service.limits().body;
            silent.as_mut().reset(tokio::time::Instant::now() + limit);
        }
    }
}

/// Answers whatever arrives on `connection` with 400 and this sentence, and closes it.
pub async fn refuse(
    mut connection: Connection,
    service: &Arc<Service>,
    sentence: &'static str,
) -> io::Result<()> {
    let mut bytes = [0; READ];
    let length = connection.read(&mut bytes).await?;
    let error = ApiError::invalid_head(sentence);
    let answer = head::refuse(service, &bytes[..length], error);
    connection.write_all(&answer).await?;
    connection.shutdown().await
}

/// Whether there is an empty line, after another one.
fn has_empty_line(bytes: &[u8]) -> bool {
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    let lines = bytes[..end.unwrap_or(0)].split(|byte| *byte == b'\n');
    lines.skip(1).any(|line| matches!(line, b"" | b"\r"))
}

impl<T: Transport> AsyncRead for Requests<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.passing > 0 {
                let length = this.passing.min(buffer.remaining());
                buffer.put_slice(&this.held[..length]);
                this.held.drain(..length);
                this.passing -= length;
                if let State::Body(body) = &this.state
                    && this.passing == 0
                    && body.is_over()
                {
                    this.phase.set_whole(matches!(body, Framing::Length(_)));
                    this.state = State::Answering;
                }
                return Poll::Ready(Ok(()));
            }
            match &mut this.state {
                State::Head => {
                    if this.needs_more() && ready!(this.poll_more(cx))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                State::Body(body) => {
                    this.passing = body.advance(&this.held);
                    if this.passing == 0 && (body.is_broken() || ready!(this.poll_more(cx))? == 0) {
                        return Poll::Ready(Ok(()));
                    }
                }
                State::Answering if this.phase.is_upgraded() => this.state = State::Upgraded,
                State::Answering if this.is_answered => this.end(),
                State::Answering => ready!(this.poll_answered(cx))?,
                State::Refusing(answer) => {
                    let sent = ready!(Pin::new(&mut this.transport).poll_write(cx, answer))?;
                    answer.drain(..sent);
                    if answer.is_empty() {
                        this.state = State::Closed;
                    }
                }
                State::Upgraded if this.held.is_empty() => {
                    return Pin::new(&mut this.transport).poll_read(cx, buffer);
                }
                State::Upgraded => this.passing = this.held.len(),
                State::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<T: Transport> AsyncWrite for Requests<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_leave(false, cx))?;
        self.leave = b"";
        let written = Pin::new(&mut self.transport).poll_write(cx, bytes);
        self.sent(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_leave(false, cx))?;
        self.leave = b"";
        let written = Pin::new(&mut self.transport).poll_write_vectored(cx, bytes);
        self.sent(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wanted = self.phase.is_body_wanted();
        ready!(self.poll_leave(wanted, cx))?;
        ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
        // hyper and actix flush when they have written all they have. If the request is over,
        // that is all of its response.
        if self.phase.turns() >= self.over_at {
            self.is_answered = true;
        }
        if (self.is_answered || self.phase.is_upgraded())
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
