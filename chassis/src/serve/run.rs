//! The main function of all services: the command line, the runtime, and the exit status.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use crate::env::{ConfigError, Env};
use crate::serve::config::ServiceConfig;
use crate::serve::healthcheck;

/// A service runs on a quarter of the cores, because it shares the machine with four others
/// and their clients. More threads would not answer more requests: they would pass work to
/// each other, which costs a third of the processor time.
const SHARE_OF_CORES: usize = 4;

/// How long the process waits for threads of the runtime that are still busy at the end, for
/// example with a DNS look-up. The work that a shutdown waits for has ended by then.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(1);

const USAGE: &str = "\
    (no argument)    run until SIGTERM or SIGINT
    healthcheck      ask the running service, on HOST and PORT, whether it is
                     alive: exit status 0 if it is, 1 if not
    --help           print this text
    --version        print the name and the version

Environment variables, with their defaults and what they may be:

";

/// More than the table has: the variables that are read only with a collector.
const TELEMETRY: &str = "
With a collector, all OTEL_* variables in docs/architecture.md count. NO_COLOR
disables the colours of LOG_FORMAT=pretty.";

/// Why a service could not start, or had to stop.
#[derive(Debug)]
pub enum RunError {
    /// Exit status 2: an environment variable is invalid.
    Config(ConfigError),
    /// Exit status 1: another failure, such as a port in use.
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

/// Runs the command of the command line. Without an argument, `read` reads the configuration
/// and `serve` runs the service until it stops. `healthcheck` asks a running service whether it
/// is alive.
///
/// The exit status is 0 for success, 2 for an invalid environment variable or argument, and 1
/// for any other failure. Each failure is one line on standard error.
///
/// ```no_run
/// use chassis::serve::config::ServiceConfig;
/// use chassis::serve::run;
///
/// struct Config(ServiceConfig);
///
/// impl AsRef<ServiceConfig> for Config {
///     fn as_ref(&self) -> &ServiceConfig {
///         &self.0
///     }
/// }
///
/// let exit_code = run(
///     |mut env| {
///         let config = Config(ServiceConfig::read(&mut env, "things-service", 8006));
///         env.finish(config)
///     },
///     async |Config(service)| {
///         println!("would listen on {}", service.listen);
///         Ok(())
///     },
/// );
/// ```
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
            print(&sentence.map_err(RunError::Start)?);
            Ok(())
        }),
        ["--help" | "-h"] => {
            let (name, variables) = describe(read);
            print(&format!(
                "{name}, one service of the shop\n\n{USAGE}{variables}{TELEMETRY}"
            ));
            ExitCode::SUCCESS
        }
        ["--version" | "-V"] => {
            let (name, _) = describe(read);
            print(&format!("{name} {}", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        [
            "healthcheck" | "--help" | "-h" | "--version" | "-V",
            unknown,
            ..,
        ]
        | [unknown, ..] => {
            eprintln!("unknown argument {unknown:?}; use healthcheck, --help or --version");
            ExitCode::from(2)
        }
    }
}

/// The default name of the service whose configuration `read` reads, and the text of `--help`
/// on its environment variables.
pub fn describe<C: AsRef<ServiceConfig>>(
    read: impl FnOnce(Env<'static>) -> Result<C, ConfigError>,
) -> (String, String) {
    let env = Env::new(|_| None);
    let variables = env.variables();
    let name = read(env).map(|config| config.as_ref().name.clone());
    (name.unwrap_or_default(), variables.help())
}

/// Runs a service until it stops. For a program that reads its own arguments; others call
/// [`run`].
pub fn until_stopped(service: impl AsyncFnOnce() -> Result<(), RunError>) -> ExitCode {
    // Each connection needs a file descriptor, and the default limit is 1,024 or 256. If the
    // limit cannot be raised, the service runs with the limit it has.
    let _ = rlimit::increase_nofile_limit(rlimit::INFINITY);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let workers = cores.div_ceil(SHARE_OF_CORES);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build();
    let result = runtime.map_err(RunError::from).and_then(|runtime| {
        let result = runtime.block_on(service());
        runtime.shutdown_timeout(RUNTIME_TIMEOUT);
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

/// Prints `text`. A closed standard output is not a failure.
fn print(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_busy_thread_does_not_stop_the_process_from_ending() {
        let started = Instant::now();
        let status = until_stopped(async || {
            tokio::task::spawn_blocking(|| thread::sleep(20 * RUNTIME_TIMEOUT));
            Ok(())
        });
        assert_eq!(status, ExitCode::SUCCESS);
        assert!(
            started.elapsed() < 10 * RUNTIME_TIMEOUT,
            "{:?}",
            started.elapsed()
        );
    }
}
