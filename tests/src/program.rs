//! The built services as processes.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::PATIENCE;

/// The five programs.
pub const SERVICES: [&str; 5] = [
    "user-service",
    "product-service",
    "order-service",
    "notification-service",
    "analytics-service",
];

/// The arrows of the diagram in the README: who calls whom.
pub const CALLS: [(&str, &str); 8] = [
    ("product-service", "user-service"),
    ("order-service", "user-service"),
    ("order-service", "product-service"),
    ("order-service", "notification-service"),
    ("analytics-service", "user-service"),
    ("analytics-service", "product-service"),
    ("analytics-service", "order-service"),
    ("analytics-service", "notification-service"),
];

/// All that keep the contract: the five, and product-service on the other four
/// frameworks.
pub const PROGRAMS: [&str; 9] = [
    "user-service",
    "product-service",
    "order-service",
    "notification-service",
    "analytics-service",
    "framework-comparison serve --framework axum",
    "framework-comparison serve --framework poem",
    "framework-comparison serve --framework warp",
    "framework-comparison serve --framework actix-web",
];

/// The service that one of the [`PROGRAMS`] is.
pub fn service_in(program: &'static str) -> &'static str {
    if program.starts_with("framework-comparison") {
        "product-service"
    } else {
        program
    }
}

/// The variables by which one of the [`PROGRAMS`] finds those that it calls.
pub fn neighbours(program: &'static str) -> &'static [&'static str] {
    match service_in(program) {
        "product-service" => &["USER_SERVICE_URL"],
        "order-service" => &[
            "USER_SERVICE_URL",
            "PRODUCT_SERVICE_URL",
            "NOTIFICATION_SERVICE_URL",
        ],
        "analytics-service" => &[
            "USER_SERVICE_URL",
            "PRODUCT_SERVICE_URL",
            "ORDER_SERVICE_URL",
            "NOTIFICATION_SERVICE_URL",
        ],
        _ => &[],
    }
}

/// The service that is found by such a variable.
pub fn found_by(variable: &str) -> &'static str {
    let name = variable.trim_end_matches("_URL").replace('_', "-");
    let found = SERVICES
        .into_iter()
        .find(|service| service.eq_ignore_ascii_case(&name));
    found.unwrap_or_else(|| panic!("{variable} is no service's"))
}

/// A running service. Dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    name: String,
    variables: Vec<(String, String)>,
    child: Child,
    stderr: Option<ChildStderr>,
    // Locked, so that a test may ask one program from many tasks.
    lines: Mutex<Receiver<String>>,
    is_read: Arc<AtomicBool>,
    address: SocketAddr,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status, if no signal ended it.
    pub status: Option<i32>,
    /// What it wrote to standard output and nobody had read.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Program {
    /// Starts one of the [`PROGRAMS`], which must come up, on a free port, with nothing in its
    /// environment but `variables`; waits for its first log line, which has the
    /// port.
    pub fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        Self::try_start(name, variables).unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// The same for one that need not come up; says why it did not, in a sentence.
    pub fn try_start(name: &str, variables: &[(&str, &str)]) -> Result<Self, String> {
        Self::start_at(0, name, variables)
    }

    /// The same for one that is to be killed and to [come back](Self::come_back)
    /// at its address.
    pub fn start_to_come_back(name: &str, variables: &[(&str, &str)]) -> Self {
        // Below the ports that a system hands out by itself: nobody shall get
        // this one while its service is away.
        const PORTS: std::ops::Range<u16> = 20_000..30_000;
        static TAKEN: AtomicU16 = AtomicU16::new(0);
        for _ in PORTS {
            // Other tests have another process id, and so mostly other ports.
            let number =
                u32::from(TAKEN.fetch_add(1, Ordering::Relaxed)) + std::process::id() % 1000 * 613;
            let place = number % u32::try_from(PORTS.len()).expect("a few");
            let port = PORTS.start + u16::try_from(place).expect("one of a few");
            let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            // Between the two somebody else may have taken it.
            if is_free && let Ok(program) = Self::start_at(port, name, variables) {
                return program;
            }
        }
        panic!("no port of {PORTS:?} is free for {name}");
    }

    /// Starts it at `port`, unless it ends before it is up.
    fn start_at(port: u16, name: &str, variables: &[(&str, &str)]) -> Result<Self, String> {
        let mut child = command(name, variables)
            .env("PORT", port.to_string())
            .spawn()
            .expect("the program starts");
        let (send, lines) = channel();
        let stdout = child.stdout.take().expect("piped");
        let is_read = Arc::new(AtomicBool::new(true));
        let reading = Arc::clone(&is_read);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
                while !reading.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let stderr = child.stderr.take();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut program = Self {
            name: name.to_owned(),
            variables: variables.iter().map(owned).collect(),
            child,
            stderr,
            lines: Mutex::new(lines),
            is_read,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        };
        let lines = program.lines.get_mut().expect("no panic");
        let first = match lines.recv_timeout(PATIENCE) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("{name} has said nothing within {PATIENCE:?}"));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let Ended { status, stderr, .. } = program.ended(PATIENCE);
                let status = status.map_or("no status".to_owned(), |status| status.to_string());
                let said = stderr.trim();
                return Err(format!(
                    "{name} ended with {status} as it started, and said {said:?}"
                ));
            }
        };
        let port = serde_json::from_str(&first)
            .ok()
            .and_then(|line: Value| line["port"].as_u64()?.try_into().ok());
        program.address.set_port(port.ok_or_else(|| {
            format!("{name} begins with {first:?}, and not with a line of JSON that has its port")
        })?);
        Ok(program)
    }

    /// Starts it again at the same address, with the same variables, and with
    /// nothing of what it held. What runs of it is killed.
    pub fn come_back(&mut self) {
        self.start_again(self.address.port());
    }

    /// The same at another address, so that nobody can take the two for one.
    pub fn come_back_elsewhere(&mut self) {
        self.start_again(0);
    }

    fn start_again(&mut self, port: u16) {
        self.kill();
        let variables: Vec<_> = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let started = Self::start_at(port, &self.name, &variables);
        *self = started.unwrap_or_else(|fault| panic!("{fault}"));
    }

    /// Kills it; its port refuses then.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The service that it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where another service finds it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its next line on standard output, if one comes in time.
    pub fn line(&self, within: Duration) -> Option<String> {
        let lines = self.lines.lock().expect("no panic");
        lines.recv_timeout(within).ok()
    }

    /// Reads its standard output on, or no longer: then the pipe fills up.
    pub fn read_output(&self, reads: bool) {
        self.is_read.store(reads, Ordering::Relaxed);
    }

    /// Waits until it has ended by itself, without reading what it wrote; returns
    /// its exit status, if no signal ended it.
    pub fn exited(&mut self, within: Duration) -> Option<i32> {
        wait(&mut self.child, within)
    }

    /// Sends it a signal, such as `TERM`, `STOP` or `CONT`.
    pub fn signal(&self, signal: &str) {
        send_signal(self.id(), signal);
    }

    /// Waits until it has ended by itself.
    pub fn ended(&mut self, within: Duration) -> Ended {
        let status = wait(&mut self.child, within);
        let mut stderr = String::new();
        if let Some(mut pipe) = self.stderr.take() {
            // Not text is not what is expected either; the test will say so.
            let _ = pipe.read_to_string(&mut stderr);
        }
        let lines = self.lines.get_mut().expect("no panic");
        let stdout: Vec<String> = lines.iter().collect();
        Ended {
            status,
            stdout: stdout.join("\n"),
            stderr,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to the process with this id, which has to be one of ours.
/// After a `STOP` it does nothing more.
pub fn send_signal(process: u32, signal: &str) {
    // The shell's own kill: not every machine has a program of that name.
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {process}")])
        .status()
        .expect("a shell");
    assert!(sent.success(), "kill -{signal} failed");
    let deadline = Instant::now() + PATIENCE;
    while signal == "STOP" && !stands_still(process) {
        // On a busy machine the last of its threads stops some time later.
        assert!(Instant::now() < deadline, "{process} does not stop");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether all threads of a process are stopped.
fn stands_still(process: u32) -> bool {
    if let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) {
        return threads.flatten().all(|thread| {
            let state = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // It follows the name, which is in brackets.
            state
                .rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('T'))
        });
    }
    // A system that has no such folder.
    let state = Command::new("ps")
        .args(["-o", "stat=", "-p", &process.to_string()])
        .output()
        .expect("ps");
    state.stdout.starts_with(b"T")
}

/// Runs a service that must not come up, or a program that ends by itself, and waits
/// until it has. Arguments follow the name: `user-service healthcheck`.
pub fn run(name: &str, variables: &[(&str, &str)]) -> Ended {
    let mut child = command(name, variables)
        .spawn()
        .expect("the program starts");
    let status = wait(&mut child, PATIENCE);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    for (pipe, text) in [
        (
            child
                .stdout
                .take()
                .map(|pipe| Box::new(pipe) as Box<dyn Read>),
            &mut stdout,
        ),
        (
            child
                .stderr
                .take()
                .map(|pipe| Box::new(pipe) as Box<dyn Read>),
            &mut stderr,
        ),
    ] {
        pipe.expect("piped").read_to_string(text).expect("UTF-8");
    }
    Ended {
        status,
        stdout,
        stderr,
    }
}

fn command(name: &str, variables: &[(&str, &str)]) -> Command {
    let mut words = name.split(' ');
    let mut command = Command::new(binary(words.next().unwrap_or_default()));
    command
        .args(words)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn wait(child: &mut Child, within: Duration) -> Option<i32> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return status.code();
        }
        if Instant::now() > deadline {
            // A program that hangs would outlive the test.
            let _ = child.kill();
            let _ = child.wait();
            panic!("still running after {within:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn binary(name: &str) -> PathBuf {
    let path = programs().join(name);
    assert!(
        path.is_file(),
        "{name} is not built; run `cargo test --workspace`, which builds it, or `cargo build --workspace` before this",
    );
    path
}

/// Where the programs of this build are: beside this one, or a level above it if it
/// is a test, such as `target/debug/deps/binaries-…`.
pub fn programs() -> PathBuf {
    let mut folder = std::env::current_exe().expect("a path of our own");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}
