//! Writes log lines to standard output in batches.
//!
//! A system call for each line costs about as much as the rest of the line. So lines wait
//! in a buffer for a moment, and a thread writes them together; no request waits for a slow
//! terminal or disk. If standard output is not read, the buffer fills up, and further lines
//! are dropped and counted.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

/// How long lines wait in the buffer: too short to notice in `tail -f`.
const GATHER: Duration = Duration::from_millis(10);

/// The size of the buffer, in bytes. As much again may be in the middle of a write.
const CAPACITY: usize = 1024 * 1024;

/// How long the end of the process waits for the last write.
const FLUSH: Duration = Duration::from_secs(2);

/// The log lines that this process has dropped.
pub(crate) static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The buffer and its thread. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Output(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    gathered: Mutex<Gathered>,
    more: Condvar,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct Gathered {
    lines: Vec<u8>,
    closed: bool,
    /// Lines dropped since the last warning about it.
    dropped: u64,
}

/// Writes the rest of the buffer when it is dropped, at the end of `main`.
#[derive(Debug)]
#[must_use = "dropped at once, the log ends at once"]
pub(crate) struct LogGuard {
    output: Output,
    /// Disconnected once all is written.
    written: Receiver<()>,
}

impl Output {
    /// Starts the thread that writes to `sink`. Lines that it does not take in time
    /// are counted in `dropped`.
    pub(crate) fn start(
        mut sink: impl Write + Send + 'static,
        dropped: Counter,
    ) -> io::Result<(Self, LogGuard)> {
        let output = Self(Arc::new(Shared {
            gathered: Mutex::default(),
            more: Condvar::new(),
            dropped,
        }));
        let shared = Arc::clone(&output.0);
        let (writing, written) = channel();
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_to(&mut sink, writing))?;
        let guard = LogGuard {
            output: output.clone(),
            written,
        };
        Ok((output, guard))
    }
}

impl Shared {
    /// Writes until the log is closed; `_writing` is dropped then.
    fn write_to(&self, sink: &mut impl Write, _writing: Sender<()>) {
        // Two buffers are swapped, so that none is allocated again.
        let mut writing = Vec::new();
        let mut works = true;
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
            let dropped = if works {
                std::mem::take(&mut gathered.dropped)
            } else {
                0
            };
            drop(gathered);
            if dropped > 0 {
                // The buffer is empty now, so this line fits.
                tracing::warn!(
                    dropped,
                    "log lines were dropped: standard output was not read in time"
                );
            }
            works = sink.write_all(&writing).and_then(|()| sink.flush()).is_ok();
            if !works {
                self.drop_lines(writing.split_inclusive(|byte| *byte == b'\n').count() as u64);
            }
            writing.clear();
        }
    }

    fn drop_lines(&self, count: u64) {
        self.gathered.lock().dropped += count;
        self.dropped.inc_by(count);
    }
}

impl Write for Output {
    /// Takes all of `line`, or drops all of it. Never waits for the sink.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut gathered = self.0.gathered.lock();
        if gathered.lines.len() + line.len() > CAPACITY {
            drop(gathered);
            self.0.drop_lines(1);
            return Ok(line.len());
        }
        let first = gathered.lines.is_empty();
        gathered.lines.extend_from_slice(line);
        drop(gathered);
        if first {
            self.0.more.notify_one();
        }
        Ok(line.len())
    }

    /// Does nothing: the thread flushes.
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
        // An error means that the thread has ended, or that standard output is not read.
        let _ = self.written.recv_timeout(FLUSH);
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
        let (output, guard) = Output::start(sink.clone(), Counter::default()).expect("a thread");
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

    /// Takes nothing until it is released, as a pipe that is full.
    struct Blocked(Receiver<()>, Sink);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Disconnected, it is released for good.
            let _ = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_blocked_sink_has_no_room_for_are_dropped_whole_and_counted() {
        let (release, blocked) = channel();
        let (sink, dropped) = (Sink::default(), Counter::default());
        let blocked = Blocked(blocked, sink.clone());
        let (output, guard) = Output::start(blocked, dropped.clone()).expect("a thread");
        let line = format!("{}\n", "x".repeat(64 * 1024 - 1));
        let lines = 100;
        for _ in 0..lines {
            output
                .clone()
                .write_all(line.as_bytes())
                .expect("never fails");
        }
        let capacity = (CAPACITY / line.len()) as u64;
        let kept = lines - dropped.get();
        assert!(
            (capacity..=2 * capacity).contains(&kept),
            "{kept} lines are kept"
        );
        assert!(output.0.gathered.lock().lines.len() <= CAPACITY);

        drop(release);
        drop(guard);
        assert_eq!(sink.0.lock().len() as u64, kept * line.len() as u64);
    }

    #[test]
    fn a_sink_that_never_takes_anything_holds_up_the_end_for_a_moment_only() {
        let (_release, blocked) = channel();
        let blocked = Blocked(blocked, Sink::default());
        let (mut output, guard) = Output::start(blocked, Counter::default()).expect("a thread");
        output.write_all(b"a line\n").expect("never fails");
        let started = std::time::Instant::now();
        drop(guard);
        assert!(started.elapsed() < 2 * FLUSH, "{:?}", started.elapsed());
    }

    /// Fails as often as it is told to, as a disk that is full.
    struct Failing(usize, Sink);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return self.1.write(bytes);
            }
            self.0 -= 1;
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (sink, dropped) = (Sink::default(), Counter::default());
        let failing = Failing(1, sink.clone());
        let (mut output, guard) = Output::start(failing, dropped.clone()).expect("a thread");
        output.write_all(b"one\ntwo\n").expect("never fails");
        drop(guard);
        assert_eq!((dropped.get(), sink.0.lock().len()), (2, 0));
    }

    #[test]
    fn a_line_does_not_wait_for_the_next() {
        let sink = Sink::default();
        let (mut output, _guard) =
            Output::start(sink.clone(), Counter::default()).expect("a thread");
        output.write_all(b"one line").expect("never fails");
        let written = (0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            !sink.0.lock().is_empty()
        });
        assert!(written);
    }
}
