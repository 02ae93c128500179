//! Processes: started here, ended here, and what they take of the machine.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failed;

/// All processes that were started here and run. Kept in one place, so that whatever
/// ends this program can end them first.
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// A process of ours. Dropped, it is ended.
#[derive(Debug)]
pub struct Running {
    id: u32,
}

impl Running {
    /// Keeps a process that was just started.
    pub fn keep(child: Child) -> Self {
        let id = child.id();
        let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        children.push(child);
        Self { id }
    }

    /// What the system calls it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How it ended, which it must do in time.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus, Failed> {
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

    /// How it ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
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
pub fn end_all_on_signal() -> io::Result<()> {
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

/// Sends a signal, such as `STOP`, to a process.
pub fn signal(process: u32, signal: &str) -> Result<(), Failed> {
    let status = Command::new("kill")
        .args([format!("-{signal}"), process.to_string()])
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("process {process} did not get the signal {signal}").into()),
    }
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
    use super::*;

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
