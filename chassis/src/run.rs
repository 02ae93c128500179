//! The frame of every `main`: a runtime, and an exit status that tells what
//! happened.

use std::fmt::{self, Display};
use std::io;
use std::num::NonZero;
use std::process::ExitCode;

use crate::config::ConfigError;

/// A service runs on a quarter of the cores: it shares the machine with four
/// others and with whoever asks them. More threads would not answer more, but
/// hand work to each other, which costs a third of the processor time.
const SHARE_OF_CORES: usize = 4;

/// Why a service could not start or had to stop.
#[derive(Debug)]
pub enum RunError {
    /// Exit status 2: an environment variable is wrong.
    Config(ConfigError),
    /// Exit status 1: something else is, such as a port in use.
    Start(String),
}

impl Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Start(cause) => cause.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

impl From<ConfigError> for RunError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Start(error.to_string())
    }
}

impl From<reqwest::Error> for RunError {
    fn from(error: reqwest::Error) -> Self {
        Self::Start(format!("cannot set up calls to other services: {error}"))
    }
}

/// Runs a service until it stops by itself: 0 after a clean shutdown, 2 for a
/// bad environment variable, 1 for any other failure, which is said on standard
/// error in one line each.
pub fn run(service: impl AsyncFnOnce() -> Result<(), RunError>) -> ExitCode {
    if let Some(argument) = std::env::args().nth(1) {
        eprintln!(
            "unknown argument {argument:?}: the service is configured by environment variables, see its README"
        );
        return ExitCode::from(2);
    }
    until_stopped(service)
}

/// The same for a program that has read arguments of its own.
pub fn until_stopped(service: impl AsyncFnOnce() -> Result<(), RunError>) -> ExitCode {
    // A connection is a file to the system, which by its default lets a process
    // have 1,024 of them, or 256. Where it does not let that be raised, the
    // service does with what there is.
    let _ = rlimit::increase_nofile_limit(rlimit::INFINITY);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let workers = cores.div_ceil(SHARE_OF_CORES);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build();
    let result = runtime
        .map_err(RunError::from)
        .and_then(|runtime| runtime.block_on(service()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if matches!(error, RunError::Config(_)) {
                2
            } else {
                1
            })
        }
    }
}
