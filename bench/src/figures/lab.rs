//! The state of a run, which all sections share.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bench::Failed;
use bench::measure::load::{Generator, Load, Loaded};
use bench::measure::process;
use bench::measure::progress::Progress;
use bench::measure::server::{self, Started};
use reqwest::blocking::Client;

/// The number of connections of most loads.
pub(crate) const CONNECTIONS: u32 = 32;

/// The amount of measurement.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// The duration of each load.
    pub(crate) seconds: u64,
    /// Routes of a service in `throughput`.
    pub(crate) routes: usize,
    /// Users of the big shop of `page`.
    pub(crate) many_users: u64,
    /// Connections of `idle`.
    pub(crate) idle: u32,
    /// Calls of a layer in `gateway`, each round.
    pub(crate) calls: u32,
}

impl Plan {
    pub(crate) fn full() -> Self {
        Self {
            rounds: 7,
            seconds: 2,
            routes: 3,
            many_users: 1_000_000,
            idle: 1500,
            calls: 20_000,
        }
    }

    /// A check that it works. The figures mean nothing.
    pub(crate) fn smoke() -> Self {
        Self {
            rounds: 1,
            seconds: 1,
            routes: 1,
            many_users: 2000,
            idle: 100,
            calls: 200,
        }
    }
}

/// A run.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) plan: Plan,
    /// The folder of the programs that are measured.
    pub(crate) programs: PathBuf,
    /// The folder of logs and raw numbers.
    pub(crate) scratch: PathBuf,
    pub(crate) http: Client,
    pub(crate) progress: Progress,
    /// The number of void figures so far.
    pub(crate) voids: usize,
    /// Where the tables are written besides standard output.
    pub(crate) report: Option<File>,
}

impl Lab {
    pub(crate) fn open(plan: Plan, report: Option<File>) -> Result<Self, Failed> {
        let program = std::env::current_exe()?;
        let programs = program.parent().ok_or("a program is in a folder")?;
        let scratch = std::env::var_os("RUN_DIR").unwrap_or("run/figures".into());
        let scratch = std::path::absolute(scratch)?;
        std::fs::create_dir_all(&scratch)
            .map_err(|error| format!("{} cannot be created: {error}", scratch.display()))?;
        Ok(Self {
            plan,
            programs: programs.to_owned(),
            scratch,
            http: Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(20))
                .build()?,
            progress: Progress::default(),
            voids: 0,
            report,
        })
    }

    /// Prints a text of the report.
    pub(crate) fn tell(&mut self, text: &str) -> Result<(), Failed> {
        print!("{text}");
        if let Some(report) = &mut self.report {
            report.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    pub(crate) fn generator(&self) -> Generator<'_> {
        Generator {
            processors: None,
            output: &self.scratch,
        }
    }

    /// Runs a load for the duration of the plan.
    pub(crate) fn load(&self, load: &Load, connections: u32) -> Result<Loaded, Failed> {
        self.generator().wrk(load, connections, self.plan.seconds)
    }

    /// Runs a load, and returns also the processor time of these processes, in microseconds.
    pub(crate) fn load_on(
        &self,
        processes: &[u32],
        load: &Load,
        connections: u32,
    ) -> Result<(Loaded, f64), Failed> {
        let before = cpu(processes)?;
        let loaded = self.load(load, connections)?;
        Ok((loaded, cpu(processes)? - before))
    }

    /// Runs a load that does not count, to warm up. A smoke test skips it.
    pub(crate) fn warm_up(&self, load: &Load, connections: u32) -> Result<(), Failed> {
        if self.plan.rounds > 1 {
            self.generator().wrk(load, connections, 1)?;
        }
        Ok(())
    }

    /// The bare server of this name, with as many threads as a service if its framework allows
    /// setting them from outside.
    pub(crate) fn bare(&self, name: &str) -> Result<Started, Failed> {
        let mut command = server::command(&self.programs.join("bare"), None);
        let threads = threads_of_a_service().to_string();
        command
            .arg(name)
            .env("TOKIO_WORKER_THREADS", &threads)
            .env("ROCKET_WORKERS", &threads);
        server::start(command, &self.scratch.join("bare.log"))
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.scratch.join(format!("{name}.log"))
    }
}

/// One thread for each four cores, as in `chassis::serve::run`.
fn threads_of_a_service() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.div_ceil(4)
}

/// The processor time of some processes so far, in microseconds.
pub(crate) fn cpu(processes: &[u32]) -> Result<f64, Failed> {
    let used = processes.iter().map(|id| process::cpu_micros(*id));
    let sum: Option<f64> = used.sum();
    sum.ok_or_else(|| {
        "processor time can be read only on Linux, and only of a running process".into()
    })
}

/// A count as a number to calculate with.
pub(crate) fn number(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let number = count as f64;
    number
}

/// Empties a log, which would grow by gigabytes. Servers append to it, so they continue at the
/// beginning.
pub(crate) fn empty(log: &Path) -> Result<(), Failed> {
    Ok(std::fs::File::create(log).map(drop)?)
}
