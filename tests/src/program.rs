//! The built services as processes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use harness::PATIENCE;
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
    process: Process,
    address: SocketAddr,
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
        let mut command = command(name, variables);
        command.env("PORT", port.to_string());
        let process = Process::start(process::piped(&mut command)).expect("the program starts");
        // The port has to be in the first line.
        let first = process.wait_for(|line| Some(line.to_owned()), PATIENCE);
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
        self.process.kill();
    }

    /// The service that it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
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
        self.process.stdout.next(within)
    }

    /// Reads its standard output on, or no longer: then the pipe fills up.
    pub fn read_output(&self, reads: bool) {
        self.process.stdout.pause(!reads);
    }

    /// Sends it a signal, such as `TERM`, `STOP` or `CONT`.
    pub fn signal(&self, signal: &str) {
        self.process.signal(signal).expect("it runs");
    }

    /// Waits until it has ended by itself, without reading what it wrote; returns
    /// its exit status, if no signal ended it.
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

/// Runs a service that must not come up, or a program that ends by itself, and waits
/// until it has. Arguments follow the name: `user-service healthcheck`.
pub fn run(name: &str, variables: &[(&str, &str)]) -> Ended {
    let ended = process::run(&mut command(name, variables), PATIENCE);
    ended.unwrap_or_else(|fault| panic!("{name}: {fault}"))
}

/// A program of this build, with nothing in its environment but `variables`.
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
