//! The machine: what it is, what runs on it, and what a process takes of it.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failed;
use crate::results::{Machine, Pinned};

/// All processes that were started here and run. Kept in one place, so that whatever
/// ends this program can end them first.
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// A process of ours. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Running {
    id: u32,
}

impl Running {
    pub(crate) fn keep(child: Child) -> Self {
        let id = child.id();
        let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        children.push(child);
        Self { id }
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// How it ended, which it must do in time.
    pub(crate) fn wait(&mut self, within: Duration) -> Result<ExitStatus, Failed> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(format!("it did not end within {within:?}").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        // Never kept while waiting: whatever ends this program wants it, too.
        let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        let child = children.iter_mut().find(|child| child.id() == self.id);
        child.map_or(Ok(None), Child::try_wait)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = children.iter().position(|child| child.id() == self.id) else {
            return;
        };
        end(&mut children.swap_remove(place));
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// Ends what was started here when this program is told to stop, and then itself.
pub(crate) fn end_all_on_signal() -> io::Result<()> {
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
        let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        children.iter_mut().for_each(end);
        std::process::exit(code);
    });
    Ok(())
}

/// A command that runs on these processors only.
pub(crate) fn pinned(program: impl AsRef<std::ffi::OsStr>, on: Option<&[usize]>) -> Command {
    let Some(processors) = on else {
        return Command::new(program);
    };
    let list: Vec<String> = processors.iter().map(ToString::to_string).collect();
    let mut command = Command::new("taskset");
    command.args(["-c", &list.join(",")]).arg(program);
    command
}

/// Whether there is a program of this name.
pub(crate) fn is_installed(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// What a short command says on standard output, without the white space around it.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The processor time that a process has used so far, in microseconds. Linux only.
pub(crate) fn cpu_micros(process: u32) -> Option<f64> {
    let mut nanos = 0;
    // The scheduler counts in nanoseconds, a thread at a time; what `stat` has of the
    // whole process is in steps of 10 ms.
    for thread in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        let counted = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanos += counted.split(' ').next()?.parse::<u64>().ok()?;
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let micros = nanos as f64 / 1e3;
    Some(micros)
}

/// What a process has in memory, now and at the most so far, in KiB. Linux only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) now_kib: f64,
    pub(crate) most_kib: f64,
}

pub(crate) fn memory(process: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let kib = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(Memory {
        now_kib: kib("VmRSS:")?,
        most_kib: kib("VmHWM:")?,
    })
}

/// The threads of each core, by the numbers that `taskset` knows them by.
fn cores() -> Vec<Vec<usize>> {
    let siblings = |processor: usize| -> Option<Vec<usize>> {
        let folder = format!("/sys/devices/system/cpu/cpu{processor}/topology");
        list(&fs::read_to_string(format!("{folder}/thread_siblings_list")).ok()?)
    };
    // What this process may run on can be less than what there is.
    let allowed = fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            list(line?)
        });
    let Some(allowed) = allowed else {
        let count = thread::available_parallelism().map_or(1, usize::from);
        return (0..count).map(|processor| vec![processor]).collect();
    };
    let mut cores: Vec<Vec<usize>> = Vec::new();
    for &processor in &allowed {
        if cores.iter().any(|core| core.contains(&processor)) {
            continue;
        }
        let mut core = siblings(processor).unwrap_or_else(|| vec![processor]);
        core.retain(|sibling| allowed.contains(sibling));
        cores.push(core);
    }
    cores
}

/// Numbers as Linux lists them: `0-3,8`.
fn list(text: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        numbers.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(numbers)
}

/// Half of the cores for the servers, half for the load, where there are four.
fn apart(cores: &[Vec<usize>]) -> Option<Pinned> {
    if cores.len() < 4 {
        return None;
    }
    let (servers, load) = cores.split_at(cores.len() / 2);
    Some(Pinned {
        servers: servers.concat(),
        load: load.concat(),
    })
}

pub(crate) fn describe() -> Machine {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let value = line.trim_start_matches([' ', '\t', ':', '=']);
        Some(value.trim_matches('"').trim().to_owned())
    };
    let processors = read("/proc/cpuinfo");
    let mac = || output("sysctl", &["-n", "machdep.cpu.brand_string"]);
    let kernel = output("uname", &["-srm"]).unwrap_or_default();
    let name = value(&read("/etc/os-release"), "PRETTY_NAME");
    let memory = value(&read("/proc/meminfo"), "MemTotal");
    let memory = memory.and_then(|kib| kib.strip_suffix(" kB")?.parse::<f64>().ok());
    let cores = cores();
    let pinned = apart(&cores).filter(|_| is_installed("taskset"));
    Machine {
        processor: value(&processors, "model name")
            .or_else(mac)
            .unwrap_or_else(|| "unknown".to_owned()),
        cores: cores.len(),
        memory_gib: memory.map(|kib| (kib / 1024.0 / 1024.0 * 10.0).round() / 10.0),
        system: name.map_or(kernel.clone(), |name| format!("{name}, {kernel}")),
        is_virtual: value(&processors, "flags")
            .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        load: read("/proc/loadavg")
            .split(' ')
            .next()
            .and_then(|load| load.parse().ok()),
        pinned,
    }
}

/// The commit that is checked out, and whether files differ from it. The results
/// themselves do not count.
pub(crate) fn commit() -> (Option<String>, bool) {
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]);
    let changes = ["status", "--porcelain", "--", ".", ":!docs/frameworks"];
    let dirty = commit.is_some() && output("git", &changes).is_some();
    (commit, dirty)
}

/// The versions of what a figure depends on.
pub(crate) fn versions(fixed_rate: &str) -> BTreeMap<String, String> {
    let lock = fs::read_to_string(Path::new("Cargo.lock")).unwrap_or_default();
    let crates = [
        "axum",
        "rocket",
        "poem",
        "warp",
        "actix-web",
        "hyper",
        "tokio",
    ];
    let mut versions: BTreeMap<String, String> = crates
        .into_iter()
        .map(|name| (name.to_owned(), locked(&lock, name)))
        .collect();
    // The first words of its first line: the others say who wrote it.
    let wrk = |text: String| text.split(" [").next().map(str::to_owned);
    let mut add = |name: &str, version: Option<String>| {
        let version = version.unwrap_or_else(|| "unknown".to_owned());
        versions.insert(name.to_owned(), version);
    };
    add("rustc", output("rustc", &["--version"]));
    add("wrk", output("wrk", &["-v"]).and_then(wrk));
    add(
        fixed_rate,
        output(fixed_rate, &["--version"]).or_else(|| {
            output(
                "dpkg-query",
                &["-W", "-f", "${Package} ${Version}", fixed_rate],
            )
        }),
    );
    versions
}

/// The versions of a crate that Cargo.lock has.
fn locked(lock: &str, name: &str) -> String {
    let name = format!("name = \"{name}\"");
    let packages = lock.split("[[package]]");
    let of_it = packages.filter(|package| package.lines().any(|line| line == name));
    let version = |package: &str| {
        let line = package
            .lines()
            .find_map(|line| line.strip_prefix("version = "));
        line.map(|version| version.trim_matches('"').to_owned())
    };
    let versions: Vec<String> = of_it.filter_map(version).collect();
    versions.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read_as_linux_writes_them() {
        assert_eq!(list("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(list("5"), Some(vec![5]));
        assert_eq!(list(""), None);
        assert_eq!(list("a-b"), None);
    }

    #[test]
    fn server_and_load_never_share_a_core_and_share_all_where_there_are_few() {
        let two_threads_each: Vec<_> = (0..4).map(|core| vec![core, core + 4]).collect();
        let expected = Pinned {
            servers: vec![0, 4, 1, 5],
            load: vec![2, 6, 3, 7],
        };
        assert_eq!(apart(&two_threads_each), Some(expected));
        assert_eq!(apart(&[vec![0], vec![1], vec![2]]), None);
    }

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock = "[[package]]\nname = \"http\"\nversion = \"0.2.12\"\n\n\
            [[package]]\nname = \"http\"\nversion = \"1.5.0\"\n\n\
            [[package]]\nname = \"http-body\"\nversion = \"1.1.0\"\n";
        assert_eq!(locked(lock, "http"), "0.2.12, 1.5.0");
        assert_eq!(locked(lock, "absent"), "");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_works_takes_processor_time_and_memory() {
        let busy = Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn();
        let busy = Running::keep(busy.expect("a shell"));
        let deadline = Instant::now() + Duration::from_secs(10);
        while cpu_micros(busy.id()).expect("Linux counts it") < 1000.0 {
            assert!(
                Instant::now() < deadline,
                "it has not worked for a millisecond"
            );
        }
        let memory = memory(busy.id()).expect("Linux knows it");
        assert!(memory.now_kib > 0.0 && memory.most_kib >= memory.now_kib);
    }
}
