//! The built services as processes.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
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

/// A running service. Dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stderr: Option<ChildStderr>,
    lines: Receiver<String>,
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
        let mut child = command(name, variables)
            .env("PORT", "0")
            .spawn()
            .expect("the program starts");
        let (send, lines) = channel();
        let stdout = child.stdout.take().expect("piped");
        // A thread, because a full pipe would stop the program.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let stderr = child.stderr.take();
        let mut program = Self {
            child,
            stderr,
            lines,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        };
        let Some(first) = program.line(PATIENCE) else {
            panic!("{name} did not start: {:?}", program.ended(PATIENCE));
        };
        let first: Value = serde_json::from_str(&first).expect("the first log line is JSON");
        let port = first["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        program
            .address
            .set_port(port.unwrap_or_else(|| panic!("{name}: no port in its first line {first}")));
        program
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its next line on standard output, if one comes in time.
    pub fn line(&self, within: Duration) -> Option<String> {
        self.lines.recv_timeout(within).ok()
    }

    /// Sends it a signal: `TERM` or `INT`.
    pub fn signal(&self, signal: &str) {
        // The shell's own kill: not every machine has a program of that name.
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {}", self.child.id())])
            .status()
            .expect("a shell");
        assert!(sent.success(), "kill -{signal} failed");
    }

    /// Waits until it has ended by itself.
    pub fn ended(&mut self, within: Duration) -> Ended {
        let status = wait(&mut self.child, within);
        let mut stderr = String::new();
        if let Some(mut pipe) = self.stderr.take() {
            // Not text is not what is expected either; the test will say so.
            let _ = pipe.read_to_string(&mut stderr);
        }
        let stdout: Vec<String> = self.lines.iter().collect();
        Ended {
            status,
            stdout: stdout.join("\n"),
            stderr,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a service that must not come up, and waits until it has ended.
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

/// The program is two levels above the test: `target/debug/deps/binaries-…`.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a path of our own");
    let profile = test.ancestors().nth(2).expect("a target directory");
    let path = profile.join(name);
    assert!(
        path.is_file(),
        "{name} is not built; run `cargo test --workspace`, which builds it, or `cargo build --workspace` before this",
    );
    path
}
