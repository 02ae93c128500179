//! The frame of every `main`: the command line, a runtime, and an exit status that
//! tells what happened.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use crate::env::{ConfigError, Env};
use crate::serve::config::ServiceConfig;
use crate::serve::healthcheck;

/// A service runs on a quarter of the cores: it shares the machine with four
/// others and with whoever asks them. More threads would not answer more, but
/// hand work to each other, which costs a third of the processor time.
const SHARE_OF_CORES: usize = 4;

/// How long the end waits for what still runs on the runtime's threads. What a
/// shutdown waits for is over by then; a name that is still looked up is not.
const RUNTIME_END: Duration = Duration::from_secs(1);

const USAGE: &str = "\
One service of the shop. Environment variables configure it; its README lists them.

    (no argument)    run until SIGTERM or SIGINT
    healthcheck      ask the one that runs, on HOST and PORT, whether it is alive:
                     exit status 0 if it is, 1 if not
    --help           this text
    --version        its version";

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

/// Does what the command line asks for: nothing, and the service runs until it
/// stops by itself; `healthcheck`, and it is asked whether it is alive.
///
/// The exit status is 0 after a clean shutdown or a good answer, 2 for a bad
/// environment variable or argument, 1 for any other failure, which is said on
/// standard error in one line each.
pub fn run<C: AsRef<ServiceConfig>>(
    read: impl FnOnce(Env<'static>) -> Result<C, ConfigError>,
    serve: impl AsyncFnOnce(C) -> Result<(), RunError>,
) -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(|one| one.to_string_lossy()).collect();
    match arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>()[..] {
        [] => until_stopped(async || serve(read(Env::process())?).await),
        ["healthcheck"] => until_stopped(async || {
            let config = read(Env::process())?;
            let sentence = healthcheck::check(config.as_ref()).await;
            say(&sentence.map_err(RunError::Start)?);
            Ok(())
        }),
        ["--help" | "-h"] => {
            say(USAGE);
            ExitCode::SUCCESS
        }
        ["--version" | "-V"] => {
            say(env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        [
            "healthcheck" | "--help" | "-h" | "--version" | "-V",
            unknown,
            ..,
        ]
        | [unknown, ..] => {
            eprintln!("unknown argument {unknown:?}: there are healthcheck, --help and --version");
            ExitCode::from(2)
        }
    }
}

/// Runs a service until it stops by itself: the rest of [`run`], for a program that
/// has read arguments of its own.
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
    let result = runtime.map_err(RunError::from).and_then(|runtime| {
        let result = runtime.block_on(service());
        runtime.shutdown_timeout(RUNTIME_END);
        result
    });
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

/// Tells whoever listens; a reader that has gone is no failure.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_is_stuck_does_not_keep_the_process_from_ending() {
        let started = Instant::now();
        let status = until_stopped(async || {
            tokio::task::spawn_blocking(|| thread::sleep(20 * RUNTIME_END));
            Ok(())
        });
        assert_eq!(status, ExitCode::SUCCESS);
        assert!(
            started.elapsed() < 10 * RUNTIME_END,
            "{:?}",
            started.elapsed()
        );
    }
}
