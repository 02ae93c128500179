//! The frames of a connection of HTTP/2, as far as they arrive, below hyper
//! ([RFC 9113, 4.1](https://www.rfc-editor.org/rfc/rfc9113#section-4.1)).
//!
//! The HTTP layer reads a frame when all of it is there. Here it is seen when it begins: so the head
//! of a request has its time-out, and few heads may grow large. A client that takes back its requests
//! is stopped here too: each would be passed on and broken off, which costs others more than it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::serve::admission::SMALL_HEAD;
use crate::serve::connection::{Phase, Transport};

/// What a client sends before its first frame, in bytes.
const PREFACE: usize = 24;

/// The head of a frame, in bytes.
const HEAD: usize = 9;

// The types of the frames that count here, and the flag at the end of a head.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// How many requests a client may take back beyond those that it lets be answered. More than a
/// browser does when its user leaves a page.
const MAX_RESETS: usize = 200;

/// A connection that watches the frames which arrive.
#[derive(Debug)]
pub(super) struct Frames<T> {
    transport: T,
    phase: Arc<Phase>,
    /// The part of the head of a frame that has arrived.
    head: [u8; HEAD],
    head_length: usize,
    /// How many bytes come before the next frame.
    rest: usize,
    /// Whether the head of a request ends with this frame.
    ends_head: bool,
    /// The size of the head of the request that is arriving, in bytes.
    request_head: u64,
    resets: usize,
}

impl<T: Transport> Frames<T> {
    /// A connection that begins with HTTP/2 now.
    pub(super) fn new(mut transport: T) -> Self {
        transport.connection().multiplex();
        Self {
            phase: transport.connection().phase(),
            transport,
            head: [0; HEAD],
            head_length: 0,
            rest: PREFACE,
            ends_head: false,
            request_head: 0,
            resets: 0,
        }
    }

    /// Sees what has arrived. Fails if the connection must end.
    fn see(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.rest == 0 {
                self.head[self.head_length] = bytes[0];
                self.head_length += 1;
                bytes = &bytes[1..];
                if self.head_length < HEAD {
                    continue;
                }
                self.head_length = 0;
                self.begin()?;
            } else {
                let passed = self.rest.min(bytes.len());
                self.rest -= passed;
                bytes = &bytes[passed..];
            }
            if self.rest == 0 && self.ends_head {
                self.ends_head = false;
                self.request_head = 0;
                self.transport.connection().head_ends();
            }
        }
        Ok(())
    }

    /// A frame begins.
    fn begin(&mut self) -> io::Result<()> {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.rest = length as usize;
        match kind {
            HEADERS | CONTINUATION => {
                if kind == HEADERS {
                    self.transport.connection().head_begins();
                }
                self.ends_head = flags & END_HEADERS != 0;
                self.request_head += u64::from(length);
                if self.request_head > SMALL_HEAD && !self.transport.connection().head_is_large() {
                    return Err(io::Error::other("too many large heads are arriving"));
                }
            }
            RST_STREAM => {
                self.resets += 1;
                if self.resets > MAX_RESETS + self.phase.answered() {
                    return Err(io::Error::other("the client takes back too many requests"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl<T: Transport> AsyncRead for Frames<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.transport).poll_read(cx, buffer))?;
        Poll::Ready(self.see(&buffer.filled()[before..]))
    }
}

impl<T: Transport> AsyncWrite for Frames<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
