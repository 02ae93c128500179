//! HTTP/1.1 byte by byte: what a client library would tidy up, or not send at all.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long a head that drips in pauses.
const DRIP: Duration = Duration::from_millis(500);

/// A connection to a server on this machine.
pub(crate) struct Conversation {
    stream: TcpStream,
    received: Vec<u8>,
    ending: Ending,
    /// When it began, or had its last answer.
    quiet_since: Instant,
}

/// How a conversation is at last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The other side still listens.
    Open,
    /// It has closed.
    Closed,
    /// It has closed, and thrown away what it was sent.
    Reset,
}

/// An answer, or one of those before it, such as 100.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Conversation {
    pub(crate) async fn open(port: u16) -> io::Result<Self> {
        Ok(Self::over(TcpStream::connect(("127.0.0.1", port)).await?))
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
            ending: Ending::Open,
            quiet_since: Instant::now(),
        }
    }

    /// Sends this; a server may have closed before it has read all.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Sends this, and reads while it does: the answers, until there are as many as
    /// are wanted.
    pub(crate) async fn ask(
        &mut self,
        bytes: &[u8],
        wanted: usize,
        within: Duration,
    ) -> Vec<Answer> {
        let deadline = Instant::now() + within;
        let is_head = bytes.starts_with(b"HEAD ");
        let mut answers = Vec::new();
        let mut unsent = bytes;
        loop {
            while let Some(answer) = self.take_answer(is_head) {
                answers.push(answer);
                self.quiet_since = Instant::now();
            }
            let there = answers.iter().filter(|one| one.status >= 200).count();
            if there >= wanted || self.ending != Ending::Open {
                return answers;
            }
            let (mut reading, mut writing) = self.stream.split();
            tokio::select! {
                written = writing.write(unsent), if !unsent.is_empty() => {
                    // What cannot be sent is not wanted; why, is read.
                    unsent = &unsent[written.unwrap_or(unsent.len())..];
                }
                read = reading.read_buf(&mut self.received) => self.ending = Ending::of(&read),
                () = sleep_until(deadline) => return answers,
            }
        }
    }

    /// Waits for the other side to close; says after how long it did, and what it
    /// said before.
    pub(crate) async fn wait(&mut self, patience: Duration) -> String {
        let deadline = self.quiet_since + patience;
        while self.ending == Ending::Open {
            let reading = self.stream.read_buf(&mut self.received);
            match timeout_at(deadline, reading).await {
                Ok(read) => self.ending = Ending::of(&read),
                Err(_) => break,
            }
        }
        self.told()
    }

    fn told(&mut self) -> String {
        let waited = self.quiet_since.elapsed().as_secs_f64();
        match (self.take_answer(false), self.ending) {
            (None, Ending::Open) => format!("open > {waited:.0} s"),
            (None, _) => format!("closed, {waited:.0} s"),
            (Some(answer), Ending::Open) => format!("{answer}, open"),
            (Some(answer), _) => format!("{answer}, {waited:.0} s"),
        }
    }

    /// The same, with a byte of a head every now and then.
    pub(crate) async fn drip(&mut self, head: &[u8], patience: Duration) -> String {
        let deadline = self.quiet_since + patience;
        for byte in head.iter().chain(std::iter::repeat(&b'x')) {
            self.send(&[*byte]).await;
            let pause = deadline.min(Instant::now() + DRIP);
            let reading = self.stream.read_buf(&mut self.received);
            if let Ok(read) = timeout_at(pause, reading).await {
                self.ending = Ending::of(&read);
            }
            if self.ending != Ending::Open || Instant::now() >= deadline {
                break;
            }
        }
        self.told()
    }

    /// What there is instead of an answer.
    pub(crate) fn silence(&self) -> &'static str {
        match self.ending {
            Ending::Open => "no answer",
            Ending::Closed => "closed",
            Ending::Reset => "reset",
        }
    }

    /// The next answer of what was received, if all of it is there.
    fn take_answer(&mut self, is_head: bool) -> Option<Answer> {
        let end = find(&self.received, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
        let mut answer = Answer {
            status,
            headers: headers.collect(),
            body: Vec::new(),
        };
        let rest = &self.received[end + 4..];
        let length = match answer.header("content-length") {
            _ if is_head || status < 200 || status == 204 => 0,
            Some(length) => length.parse().ok()?,
            None if answer.header("transfer-encoding").is_some() => find(rest, b"0\r\n\r\n")? + 5,
            // All that comes until it is closed.
            None if self.ending == Ending::Open => return None,
            None => rest.len(),
        };
        answer.body = rest.get(..length)?.to_vec();
        self.received.drain(..end + 4 + length);
        Some(answer)
    }
}

impl Ending {
    fn of(read: &io::Result<usize>) -> Self {
        match read {
            Ok(0) => Self::Closed,
            Ok(_) => Self::Open,
            Err(_) => Self::Reset,
        }
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The status, what the body is, and what a 405 has to say besides.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content_type = self.header("content-type").unwrap_or_default();
        let body = if self.body.is_empty() {
            "empty"
        } else if content_type.contains("json") {
            "JSON"
        } else if content_type.contains("html") {
            "HTML"
        } else {
            "text"
        };
        write!(f, "{} {body}", self.status)?;
        match self.header("allow") {
            Some(_) if self.status == 405 => f.write_str(" + Allow"),
            _ => Ok(()),
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
