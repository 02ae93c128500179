//! Child processes: started, read, signalled and killed. Every wait has a time-out.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

use crate::TIMEOUT;

/// The most lines of a pipe that are kept for a reader. Further lines are dropped, so that the pipe
/// never fills up and memory is bounded.
const LINES: usize = 1 << 16;

/// A longer line is split.
const LINE: u64 = 1 << 16;

/// The interval of checks whether a child has ended.
const POLL: Duration = Duration::from_millis(5);

/// The children of this program, in one place so that a signal to this program can kill
/// them all.
static CHILDREN: Mutex<Vec<Weak<Mutex<Child>>>> = Mutex::new(Vec::new());

/// A child process. It is killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    id: u32,
    child: Arc<Mutex<Child>>,
    /// Its standard output, if that is piped.
    pub stdout: Lines,
    /// Its standard error, if that is piped.
    pub stderr: Lines,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status, if no signal ended it.
    pub status: Option<i32>,
    /// The unread rest of standard output.
    pub stdout: String,
    /// The unread rest of standard error.
    pub stderr: String,
}

impl Process {
    /// Starts a command. Where the command pipes its output, a thread reads it.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        // Locked before it starts: a signal finds either no child or one that is listed.
        let mut children = CHILDREN.lock();
        let mut child = command.spawn().map_err(|error| {
            let program = command.get_program().display();
            format!("{program} cannot be started: {error}")
        })?;
        let (id, stdout, stderr) = (child.id(), child.stdout.take(), child.stderr.take());
        let child = Arc::new(Mutex::new(child));
        children.retain(|other| other.strong_count() > 0);
        children.push(Arc::downgrade(&child));
        Ok(Self {
            id,
            child,
            stdout: Lines::of(stdout),
            stderr: Lines::of(stderr),
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Sends it a signal, such as `TERM`; see [`signal`].
    pub fn signal(&self, name: &str) -> Result<(), String> {
        match self.status() {
            // Its id may be that of another process now.
            Some(status) => Err(format!("process {} has ended ({status})", self.id)),
            None => signal(self.id, name),
        }
    }

    /// Kills it, if it still runs.
    pub fn kill(&self) {
        kill(&self.child);
    }

    /// How it ended, if it has.
    pub fn status(&self) -> Option<ExitStatus> {
        let status = self.child.lock().try_wait();
        status.expect("a child of this program")
    }

    /// Waits for it to end. If it does not end in time, it is killed.
    pub fn wait(&self, within: Duration) -> Result<ExitStatus, String> {
        let deadline = Instant::now() + within;
        while self.status().is_none() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        self.status_or_kill(within)
    }

    /// [`wait`](Self::wait) for an async task.
    pub async fn wait_async(&self, within: Duration) -> Result<ExitStatus, String> {
        let deadline = Instant::now() + within;
        while self.status().is_none() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        self.status_or_kill(within)
    }

    fn status_or_kill(&self, within: Duration) -> Result<ExitStatus, String> {
        self.status().ok_or_else(|| {
            self.kill();
            format!("it still ran after {within:?} and was killed")
        })
    }

    /// Waits for it to end, as [`wait`](Self::wait) does, and returns its output too.
    pub fn ended(&self, within: Duration) -> Result<Ended, String> {
        let status = self.wait(within)?;
        Ok(self.with_output(status))
    }

    /// [`ended`](Self::ended) for an async task.
    pub async fn ended_async(&self, within: Duration) -> Result<Ended, String> {
        let status = self.wait_async(within).await?;
        Ok(self.with_output(status))
    }

    fn with_output(&self, status: ExitStatus) -> Ended {
        Ended {
            status: status.code(),
            stdout: self.stdout.rest(),
            stderr: self.stderr.rest(),
        }
    }

    /// Waits for the first line on standard output that `parse` recognises.
    pub fn wait_for<T>(
        &self,
        parse: impl Fn(&str) -> Option<T>,
        within: Duration,
    ) -> Result<T, String> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.stdout.lines.lock().recv_timeout(left);
            match line {
                Ok(line) => {
                    if let Some(found) = parse(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("was not ready within {within:?}"));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let Ended { status, stderr, .. } = self.ended(TIMEOUT)?;
                    let status = status.map_or("no status".to_owned(), |status| status.to_string());
                    return Err(format!(
                        "ended with {status} as it started, and said {stderr:?}"
                    ));
                }
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn kill(child: &Mutex<Child>) {
    let mut child = child.lock();
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// The lines of a pipe, which a thread reads as they come.
#[derive(Debug)]
pub struct Lines {
    // Locked, so that many tasks may use one process.
    lines: Mutex<Receiver<String>>,
    is_paused: Arc<AtomicBool>,
}

impl Lines {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let (send, lines) = sync_channel(LINES);
        let is_paused = Arc::new(AtomicBool::new(false));
        if let Some(pipe) = pipe {
            let is_paused = Arc::clone(&is_paused);
            // The pipe is at its end, or broken, when the process has ended.
            thread::spawn(move || read_lines(BufReader::new(pipe), &send, &is_paused));
        }
        Self {
            lines: Mutex::new(lines),
            is_paused,
        }
    }

    /// The next line, if one comes in time.
    pub fn next(&self, within: Duration) -> Option<String> {
        self.lines.lock().recv_timeout(within).ok()
    }

    /// All lines until the pipe is closed, which a grandchild may keep open.
    fn rest(&self) -> String {
        let deadline = Instant::now() + TIMEOUT;
        let lines = self.lines.lock();
        let left = || deadline.saturating_duration_since(Instant::now());
        let lines = std::iter::from_fn(|| lines.recv_timeout(left()).ok());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Stops reading, so that the pipe fills up, or goes on.
    pub fn pause(&self, paused: bool) {
        self.is_paused.store(paused, Ordering::Relaxed);
    }
}

fn read_lines(
    mut pipe: impl BufRead,
    send: &SyncSender<String>,
    is_paused: &AtomicBool,
) -> io::Result<()> {
    let mut line = Vec::new();
    while pipe.by_ref().take(LINE).read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
        if let Err(TrySendError::Disconnected(_)) = send.try_send(text) {
            break;
        }
        line.clear();
        while is_paused.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Runs a command to its end, with no input.
pub fn run(command: &mut Command, within: Duration) -> Result<Ended, String> {
    Process::start(piped(command))?.ended(within)
}

/// [`run`] for an async task. Dropped, it kills the process.
pub async fn run_async(command: &mut Command, within: Duration) -> Result<Ended, String> {
    Process::start(piped(command))?.ended_async(within).await
}

/// A command with no input, whose output is read here.
pub fn piped(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
}

/// The address of a server, from a line that it prints at its start: `listening on http://…`, or a
/// line of JSON with its `port` on this machine.
pub fn address_in(line: &str) -> Option<SocketAddr> {
    if let Some(address) = line.strip_prefix("listening on http://") {
        return address.parse().ok();
    }
    let line: Value = serde_json::from_str(line).ok()?;
    let port = u16::try_from(line["port"].as_u64()?).ok()?;
    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// Sends a signal, such as `TERM`, `STOP` or `CONT`, to a process that this program or one
/// of its scripts has started. After a `STOP` the process does nothing more.
pub fn signal(process: u32, name: &str) -> Result<(), String> {
    // The shell's own kill: not every machine has a program of that name.
    let kill = format!("kill -{name} {process}");
    let sent = Command::new("sh").args(["-c", &kill]).status();
    if !sent.is_ok_and(|status| status.success()) {
        return Err(format!(
            "process {process} did not get the signal {name}; does it still run?"
        ));
    }
    let deadline = Instant::now() + TIMEOUT;
    while name == "STOP" && !is_stopped(process) {
        // On a busy machine the last of its threads stops some time later.
        if Instant::now() > deadline {
            return Err(format!("process {process} has not stopped in {TIMEOUT:?}"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether all threads of a process are stopped.
fn is_stopped(process: u32) -> bool {
    if let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) {
        return threads.flatten().all(|thread| {
            let state = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The state follows the name, which is in brackets.
            let state = state.rsplit(") ").next();
            state.is_some_and(|rest| rest.starts_with('T'))
        });
    }
    // A system without /proc.
    let state = Command::new("ps")
        .args(["-o", "stat=", "-p", &process.to_string()])
        .output();
    state.is_ok_and(|state| state.stdout.starts_with(b"T"))
}

/// Ends this program when a signal tells it to stop, and kills its children first.
pub fn kill_all_on_signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    thread::spawn(move || {
        let code = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
                _ = hangup.recv() => 129,
            }
        });
        // Locked to the end, so that no other child starts.
        let children = CHILDREN.lock();
        for child in children.iter().filter_map(Weak::upgrade) {
            kill(&child);
        }
        std::process::exit(code);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_line_is_waited_for() {
        let mut command = shell("echo a; echo listening on http://127.0.0.1:4000; exec sleep 60");
        let process = Process::start(piped(&mut command)).expect("starts");
        let address = process.wait_for(address_in, TIMEOUT);
        assert_eq!(address, Ok("127.0.0.1:4000".parse().expect("an address")));
        let nothing = process.wait_for(address_in, Duration::from_millis(10));
        assert_eq!(nothing, Err("was not ready within 10ms".to_owned()));
    }

    #[test]
    fn a_process_that_ends_at_its_start_reports_why() {
        let process = Process::start(piped(&mut shell("echo no >&2; exit 3"))).expect("starts");
        let error = process.wait_for(address_in, TIMEOUT);
        let expected = r#"ended with 3 as it started, and said "no""#;
        assert_eq!(error, Err(expected.to_owned()));
    }

    #[test]
    fn unread_output_does_not_block_a_process() {
        let endless = "i=0; while [ $i -lt 100000 ]; do echo $i; i=$((i+1)); done";
        let ended = run(&mut shell(endless), TIMEOUT).expect("ends");
        assert_eq!(ended.status, Some(0));
        // A few more than the bound: the thread still adds lines while they are read.
        let count = ended.stdout.lines().count();
        assert!((LINES..100_000).contains(&count), "{count} lines were kept");
        assert!(ended.stdout.starts_with("0\n1\n"), "the first are kept");
        // No line break, and not UTF-8.
        let ended = run(&mut shell(r"printf '\377a'"), TIMEOUT).expect("ends");
        assert_eq!(ended.stdout, "\u{fffd}a");
    }

    #[test]
    fn a_process_that_does_not_end_is_killed() {
        let process = Process::start(&mut shell("exec sleep 60")).expect("starts");
        let fault = process.wait(Duration::from_millis(10));
        assert!(fault.expect_err("it runs").contains("was killed"));
        assert!(process.status().is_some());

        let process = Process::start(&mut shell("exec sleep 60")).expect("starts");
        let id = process.id();
        drop(process);
        let fault = signal(id, "TERM").expect_err("the id is free");
        assert!(fault.contains("did not get the signal"), "{fault}");
    }

    #[test]
    fn a_stopped_process_does_nothing_until_it_goes_on() {
        let mut command = shell("while :; do echo tick; done");
        let process = Process::start(piped(&mut command)).expect("starts");
        process.signal("STOP").expect("it runs");
        assert!(is_stopped(process.id()));
        assert!(process.status().is_none());
        process.signal("CONT").expect("it is stopped");
        process.signal("TERM").expect("it runs");
        let status = process.wait(TIMEOUT).expect("ends");
        assert_eq!(status.code(), None, "by the signal");
    }

    #[test]
    fn the_address_of_a_server_is_parsed() {
        let address = |text: &str| Some(text.parse().expect("an address"));
        for (line, expected) in [
            (
                "listening on http://127.0.0.1:4000",
                address("127.0.0.1:4000"),
            ),
            (
                r#"{"timestamp":"…","message":"listening","address":"127.0.0.1:4001","port":4001}"#,
                address("127.0.0.1:4001"),
            ),
            (r#"{"port":70000}"#, None),
            ("started", None),
        ] {
            assert_eq!(address_in(line), expected, "{line}");
        }
    }
}
