//! A description of the machine, and the versions of the programs on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;

use serde::{Deserialize, Serialize};

use super::process::{is_installed, output};

/// The machine of a measurement.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The model of the processor.
    pub processor: String,
    /// The number of cores, not of their threads.
    pub cores: usize,
    /// The total memory.
    pub memory_gib: Option<f64>,
    /// The operating system and its kernel.
    pub system: String,
    /// Whether it is a virtual machine.
    pub is_virtual: bool,
    /// The load average of the last minute before the measurement.
    pub load: Option<f64>,
    /// The processors of the servers and of the load generators; none if they share all.
    pub pinned: Option<Pinned>,
}

/// The processors of the servers and of the load generators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    /// For the servers.
    pub servers: Vec<usize>,
    /// For the load generators.
    pub load: Vec<usize>,
}

/// The threads of each core, by the numbers that `taskset` knows them by.
fn cores() -> Vec<Vec<usize>> {
    let siblings = |processor: usize| -> Option<Vec<usize>> {
        let folder = format!("/sys/devices/system/cpu/cpu{processor}/topology");
        list(&fs::read_to_string(format!("{folder}/thread_siblings_list")).ok()?)
    };
    // This process may be limited to some of the processors.
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

/// Half of the cores for the servers and half for the load, if there are at least four.
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

/// This machine.
pub fn describe() -> Machine {
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

/// The current commit, and whether files differ from it. The results do not count.
pub fn commit() -> (Option<String>, bool) {
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]);
    let changes = ["status", "--porcelain", "--", ".", ":!docs/frameworks"];
    let dirty = commit.is_some() && output("git", &changes).is_some();
    (commit, dirty)
}

/// The versions of the programs and crates that a figure depends on.
pub fn versions(fixed_rate: &str) -> BTreeMap<String, String> {
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
    // The first words of the first line; the rest names its authors.
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

/// The versions of a crate in Cargo.lock.
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
    fn servers_and_load_have_separate_cores_or_share_all_if_there_are_few() {
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
}
