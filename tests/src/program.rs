//! The built services as processes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use harness::TIMEOUT;
use harness::process::{self, Process, address_in};

pub use harness::process::Ended;

/// The five programs.
pub const SERVICES: [&str; 5] = [
    "user-service",
    "product-service",
    "order-service",
    "notification-service",
    "analytics-service",
];

/// The arrows of the diagram in the README: caller and upstream.
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

/// All programs that keep the contract: the five, and product-service on the other four
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

/// The service that one of the [`PROGRAMS`] runs.
pub fn service_in(program: &'static str) -> &'static str {
    if program.starts_with("framework-comparison") {
        "product-service"
    } else {
        program
    }
}

/// The variables with the base URLs of the upstreams of one of the [`PROGRAMS`].
pub fn upstream_variables(program: &'static str) -> &'static [&'static str] {
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

/// The service that such a variable is for.
pub fn found_by(variable: &str) -> &'static str {
    let name = variable.trim_end_matches("_URL").replace('_', "-");
    let found = SERVICES
        .into_iter()
        .find(|service| service.eq_ignore_ascii_case(&name));
    found.unwrap_or_else(|| panic!("{variable} is not the variable of a service"))
}

/// A running service. It is killed when it is dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    variables: Vec<(String, String)>,
    process: Process,
    address: SocketAddr,
}

impl Program {
    /// Starts one of the [`PROGRAMS`] on a free port, with only `variables` in its environment.
    /// Waits for its first log line, which contains the port. Panics if it does not start.
    pub fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        Self::try_start(name, variables).unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// Starts one of the [`PROGRAMS`]. The error is a sentence.
    pub fn try_start(name: &str, variables: &[(&str, &str)]) -> Result<Self, String> {
        Self::start_at(0, name, variables)
    }

    /// Starts one of the [`PROGRAMS`] at a port where the test can
    /// [restart it](Self::come_back).
    pub fn start_to_come_back(name: &str, variables: &[(&str, &str)]) -> Self {
        // Below the ports that systems assign automatically, so that no other program gets
        // this one while the service is down.
        const PORTS: std::ops::Range<u16> = 20_000..30_000;
        static TAKEN: AtomicU16 = AtomicU16::new(0);
        for _ in PORTS {
            // Other tests have another process id, so they usually try other ports.
            let number =
                u32::from(TAKEN.fetch_add(1, Ordering::Relaxed)) + std::process::id() % 1000 * 613;
            let place = number % u32::try_from(PORTS.len()).expect("a few");
            let port = PORTS.start + u16::try_from(place).expect("one of a few");
            let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            // Another program may have taken the port in the meantime.
            if is_free && let Ok(program) = Self::start_at(port, name, variables) {
                return program;
            }
        }
        panic!("no port of {PORTS:?} is free for {name}");
    }

    /// Starts it at `port`. Fails if it ends before it listens.
    fn start_at(port: u16, name: &str, variables: &[(&str, &str)]) -> Result<Self, String> {
        let mut command = command(name, variables);
        command.env("PORT", port.to_string());
        let process = Process::start(process::piped(&mut command)).expect("the program starts");
        // The first line must contain the port.
        let first = process.wait_for(|line| Some(line.to_owned()), TIMEOUT);
        let first = first.map_err(|fault| format!("{name} {fault}"))?;
        let address = address_in(&first).ok_or_else(|| {
            format!("{name} begins with {first:?}, and not with a line of JSON that has its port")
        })?;
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Ok(Self {
            name: name.to_owned(),
            variables: variables.iter().map(owned).collect(),
            process,
            address,
        })
    }

    /// Kills it, and restarts it at the same address with the same variables. Its records are
    /// lost.
    pub fn come_back(&mut self) {
        self.start_again(self.address.port());
    }

    /// Kills it, and restarts it at another address, so that no client confuses the two.
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

    /// Kills it. Then its port refuses connections.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// The name of the service.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its next line on standard output, if it arrives in time.
    pub fn line(&self, within: Duration) -> Option<String> {
        self.process.stdout.next(within)
    }

    /// Continues or stops reading its standard output. If nobody reads, the pipe fills up.
    pub fn read_output(&self, reads: bool) {
        self.process.stdout.pause(!reads);
    }

    /// Sends it a signal, such as `TERM`, `STOP` or `CONT`.
    pub fn signal(&self, signal: &str) {
        self.process.signal(signal).expect("it runs");
    }

    /// Waits until it has ended by itself, without reading its output. Returns the exit status,
    /// if no signal ended it.
    pub fn exited(&self, within: Duration) -> Option<i32> {
        let status = self.process.wait(within);
        status.unwrap_or_else(|fault| self.fail(&fault)).code()
    }

    /// Waits until it has ended by itself.
    pub fn ended(&self, within: Duration) -> Ended {
        let ended = self.process.ended(within);
        ended.unwrap_or_else(|fault| self.fail(&fault))
    }

    fn fail(&self, fault: &str) -> ! {
        panic!("{}: {fault}", self.name)
    }
}

/// Runs a program that ends by itself, or a service that must not start, and waits for its end.
/// Arguments follow the name: `user-service healthcheck`.
pub fn run(name: &str, variables: &[(&str, &str)]) -> Ended {
    let ended = process::run(&mut command(name, variables), TIMEOUT);
    ended.unwrap_or_else(|fault| panic!("{name}: {fault}"))
}

/// A program of this build, with only `variables` in its environment.
fn command(name: &str, variables: &[(&str, &str)]) -> Command {
    let mut words = name.split(' ');
    let mut command = Command::new(binary(words.next().unwrap_or_default()));
    command
        .args(words)
        .env_clear()
        .envs(variables.iter().copied());
    command
}

fn binary(name: &str) -> PathBuf {
    let path = programs().join(name);
    assert!(
        path.is_file(),
        "{name} is not built; run `cargo test --workspace`, which builds it, or `cargo build --workspace` before this",
    );
    path
}

/// The folder of the programs of this build: that of this program, or for a test such as
/// `target/debug/deps/binaries-…` the folder above.
pub fn programs() -> PathBuf {
    let mut folder = std::env::current_exe().expect("a path of our own");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}
