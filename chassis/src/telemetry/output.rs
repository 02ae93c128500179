//! Standard output for log lines: gathered for a moment, then written at once.
//!
//! A system call for each line costs about as much as the rest of the line. A
//! thread of its own writes what has gathered, so that nobody waits for a slow
//! terminal or disk until far too much has.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// How long lines gather. Too short to notice in `tail -f`.
const GATHER: Duration = Duration::from_millis(10);

/// How much may gather, in bytes. Beyond it a line waits until there is room:
/// memory is bounded, and no line is lost.
const CAPACITY: usize = 1024 * 1024;

/// Lines on their way out. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    gathered: Mutex<Gathered>,
    more: Condvar,
    room: Condvar,
}

#[derive(Debug, Default)]
struct Gathered {
    lines: Vec<u8>,
    closed: bool,
}

/// Writes out what has gathered when it is dropped, at the end of `main`.
#[derive(Debug)]
#[must_use = "dropped at once, the log ends at once"]
pub(crate) struct LogGuard {
    output: Output,
    thread: Option<JoinHandle<()>>,
}

impl Output {
    /// Starts the thread that writes to `sink`.
    pub(crate) fn start(mut sink: impl Write + Send + 'static) -> io::Result<(Self, LogGuard)> {
        let output = Self::default();
        let shared = Arc::clone(&output.0);
        let thread = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_to(&mut sink))?;
        let guard = LogGuard {
            output: output.clone(),
            thread: Some(thread),
        };
        Ok((output, guard))
    }
}

impl Shared {
    fn write_to(&self, sink: &mut impl Write) {
        // Two buffers change places, so that nothing is allocated in the long run.
        let mut writing = Vec::new();
        loop {
            let mut gathered = self.gathered.lock();
            while gathered.lines.is_empty() {
                if gathered.closed {
                    return;
                }
                self.more.wait(&mut gathered);
            }
            if !gathered.closed {
                drop(gathered);
                thread::sleep(GATHER);
                gathered = self.gathered.lock();
            }
            std::mem::swap(&mut gathered.lines, &mut writing);
            drop(gathered);
            self.room.notify_all();
            // Nobody is left to tell when the log itself cannot be written.
            let _ = sink.write_all(&writing).and_then(|()| sink.flush());
            writing.clear();
        }
    }
}

impl Write for Output {
    /// Takes all of `line`.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut gathered = self.0.gathered.lock();
        while gathered.lines.len() > CAPACITY && !gathered.closed {
            self.0.room.wait(&mut gathered);
        }
        let first = gathered.lines.is_empty();
        gathered.lines.extend_from_slice(line);
        drop(gathered);
        if first {
            self.0.more.notify_one();
        }
        Ok(line.len())
    }

    /// The thread does.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.output.0.gathered.lock().closed = true;
        self.output.0.more.notify_one();
        self.output.0.room.notify_all();
        if let Some(thread) = self.thread.take() {
            // It ends when all is written; it has nothing in it that panics.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>, Duration);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            thread::sleep(self.1);
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written_by_four_threads(sink: &Sink, line: &str, lines: usize) -> String {
        let (output, guard) = Output::start(sink.clone()).expect("a thread");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..lines).for_each(|_| {
                        output
                            .clone()
                            .write_all(line.as_bytes())
                            .expect("never fails");
                    });
                });
            }
        });
        drop(guard);
        String::from_utf8(sink.0.lock().clone()).expect("UTF-8")
    }

    #[test]
    fn every_line_comes_out_whole_before_the_guard_is_gone() {
        let text = written_by_four_threads(&Sink::default(), "a line\n", 1000);
        assert_eq!(text.lines().filter(|line| *line == "a line").count(), 4000);
        assert_eq!(text.lines().count(), 4000);
    }

    #[test]
    fn a_slow_sink_makes_lines_wait_and_loses_none() {
        let line = format!("{}\n", "x".repeat(64 * 1024));
        let text =
            written_by_four_threads(&Sink(Arc::default(), Duration::from_millis(1)), &line, 20);
        assert_eq!(text.len(), 80 * line.len());
    }

    #[test]
    fn a_line_does_not_wait_for_the_next() {
        let sink = Sink::default();
        let (mut output, _guard) = Output::start(sink.clone()).expect("a thread");
        output.write_all(b"one line").expect("never fails");
        let written = (0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            !sink.0.lock().is_empty()
        });
        assert!(written);
    }
}
