//! A connection to a server, and the wording of its outcome in the table.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use harness::Got;
use harness::raw::{Connection, State};
use tokio::time::Instant;

/// The pause between the bytes of a slow head.
const DRIP: Duration = Duration::from_millis(500);

/// A connection to a server on this machine.
pub(crate) struct Conversation {
    connection: Connection,
    /// The start, or the time of the last response.
    quiet_since: Instant,
}

impl Conversation {
    pub(crate) async fn open(port: u16) -> io::Result<Self> {
        Ok(Self {
            connection: Connection::connect((Ipv4Addr::LOCALHOST, port).into()).await?,
            quiet_since: Instant::now(),
        })
    }

    /// Sends `bytes`. The server may close before it has read all of them.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.connection.send(bytes).await;
    }

    /// Sends `bytes` and reads responses at the same time, until there are `wanted`.
    pub(crate) async fn ask(&mut self, bytes: &[u8], wanted: usize, within: Duration) -> Vec<Got> {
        let answers = self.connection.answers(bytes, wanted, within).await;
        if !answers.is_empty() {
            self.quiet_since = Instant::now();
        }
        answers
    }

    /// Waits for the server to close. Returns the duration and what it sent before, as text.
    pub(crate) async fn wait(&mut self, limit: Duration) -> String {
        let left = limit.saturating_sub(self.quiet_since.elapsed());
        self.connection.until_closed(left).await;
        self.told()
    }

    /// Waits in the same way, while sending a head byte by byte.
    pub(crate) async fn drip(&mut self, head: &[u8], limit: Duration) -> String {
        let left = limit.saturating_sub(self.quiet_since.elapsed());
        self.connection.drip(head, DRIP, left).await;
        self.told()
    }

    fn told(&mut self) -> String {
        let waited = self.quiet_since.elapsed().as_secs_f64();
        let answer = self.connection.take_answer(false).ok().flatten();
        match (answer.as_ref().map(worded), self.connection.state()) {
            (None, State::Open) => format!("open > {waited:.0} s"),
            (None, _) => format!("closed, {waited:.0} s"),
            (Some(answer), State::Open) => format!("{answer}, open"),
            (Some(answer), _) => format!("{answer}, {waited:.0} s"),
        }
    }

    /// The text for a missing response.
    pub(crate) fn silence(&self) -> &'static str {
        match self.connection.state() {
            State::Open => "no answer",
            State::Closed => "closed",
            State::Reset => "reset",
        }
    }
}

/// The status, the kind of body, and whether a 405 names the methods that are allowed.
pub(crate) fn worded(answer: &Got) -> String {
    let content_type = answer.header("content-type");
    let body = if answer.body.is_empty() {
        "empty"
    } else if content_type.contains("json") {
        "JSON"
    } else if content_type.contains("html") {
        "HTML"
    } else {
        "text"
    };
    let allow = if answer.status == 405 && answer.headers.contains_key("allow") {
        " + Allow"
    } else {
        ""
    };
    format!("{} {body}{allow}", answer.status)
}
