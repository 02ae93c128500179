//! What processes run on, and what they take of the machine.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A command that runs on these processors only.
pub fn pinned(program: impl AsRef<std::ffi::OsStr>, on: Option<&[usize]>) -> Command {
    let Some(processors) = on else {
        return Command::new(program);
    };
    let list: Vec<String> = processors.iter().map(ToString::to_string).collect();
    let mut command = Command::new("taskset");
    command.args(["-c", &list.join(",")]).arg(program);
    command
}

/// Whether there is a program of this name.
pub fn is_installed(name: &str) -> bool {
    find(name).is_some()
}

/// The program of this name. Debian has some, such as nginx, where only root looks.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into()]);
    let mut programs = folders.map(|folder| folder.join(name));
    programs.find(|program| program.is_file())
}

/// What a short command says on standard output, without the white space around it.
pub fn output(program: &str, arguments: &[&str]) -> Option<String> {
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
pub fn cpu_micros(process: u32) -> Option<f64> {
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
pub struct Memory {
    /// Now.
    pub now_kib: f64,
    /// At the most so far.
    pub most_kib: f64,
}

/// What a process has in memory.
pub fn memory(process: u32) -> Option<Memory> {
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use harness::process::Process;

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_works_takes_processor_time_and_memory() {
        let mut busy = Command::new("sh");
        let busy = Process::start(busy.args(["-c", "while :; do :; done"])).expect("a shell");
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
