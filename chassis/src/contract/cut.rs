//! Responses that a fault of the lab cuts on their way to the client.

use std::future::ready;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, once};
use tokio::time::sleep;

use crate::contract::reply::{Body, Reply};
use crate::contract::response_memory::RESPONDING;

/// The status in the log when no response is sent. No standard has it; nginx made it known.
const NO_RESPONSE: u16 = 444;

/// How long a half response has to be sent, before the connection is closed.
const SENDING: Duration = Duration::from_millis(20);

/// How a response is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The first half of the body is sent as if it were all.
    Truncate,
    /// The first half of the body is sent, and the connection is closed.
    Close,
}

impl Cut {
    /// How a fault of the lab cuts the response to the current request, if one does.
    pub fn current() -> Option<Self> {
        RESPONDING.try_with(|responding| responding.cut).ok()?
    }

    /// The first half of the first chunk of `body`, and then the end that the cut has.
    pub fn stream(
        self,
        body: BoxStream<'static, io::Result<Bytes>>,
    ) -> BoxStream<'static, io::Result<Bytes>> {
        let half = body.take(1).map(|chunk| chunk.map(|body| half(&body)));
        match self {
            Self::Truncate => half.boxed(),
            Self::Close => {
                let broken = async {
                    sleep(SENDING).await;
                    Err(broken())
                };
                half.chain(once(broken)).boxed()
            }
        }
    }
}

fn half(body: &Bytes) -> Bytes {
    body.slice(..body.len() / 2)
}

/// The error that makes the HTTP layer close the connection.
fn broken() -> io::Error {
    io::Error::other("a fault of the lab closes the connection")
}

impl Reply {
    /// The reply as it is sent: cut, if a fault of the lab says so. A reply without a body stays
    /// as it is.
    #[must_use]
    pub fn sent(self) -> Self {
        let Some(cut) = Cut::current() else {
            return self;
        };
        let body = match (self.body, cut) {
            (Body::Bytes(bytes), _) if bytes.is_empty() => Body::Bytes(bytes),
            (Body::Bytes(bytes), Cut::Truncate) => Body::Bytes(half(&bytes)),
            (Body::Bytes(bytes), Cut::Close) => {
                Body::Stream(cut.stream(once(ready(Ok(bytes))).boxed()))
            }
            (Body::Stream(stream), _) => Body::Stream(cut.stream(stream)),
        };
        Self { body, ..self }
    }

    /// No response: the connection is closed instead.
    pub(crate) fn none() -> Self {
        // At once: an HTTP layer that had to wait for the body would send the head.
        let broken = once(ready(Err(broken()))).boxed();
        Self {
            status: NO_RESPONSE,
            ..Self::ok("application/json", Body::Stream(broken))
        }
    }
}
