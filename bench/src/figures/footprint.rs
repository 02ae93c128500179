//! The footprint of the shop before the first request: start, memory, code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bench::Failed;
use bench::measure::lines::code_lines;
use bench::measure::load::Load;
use bench::measure::{process, server};

use crate::lab::{CONNECTIONS, Lab};
use crate::record::{Record, Show};
use crate::shop::{NAMES, Shop};

pub(crate) fn startup(lab: &mut Lab) -> Result<(), Failed> {
    let mut record = Record::open(
        lab,
        "Start to all five ready",
        "In milliseconds, from the start of the first process to the last one's 200 of\n\
         GET /health.",
    )?;
    // The first start reads the programs from disk, so it does not count.
    drop(Shop::open(lab, "shop")?);
    // It is quick and has a wide spread.
    for round in 1..=lab.plan.rounds + 4 {
        lab.progress.show("start", &format!("round {round}"));
        let began = Instant::now();
        let shop = Shop::open(lab, "shop")?;
        record.add("all five", "ms", began.elapsed().as_secs_f64() * 1e3)?;
        drop(shop);
    }
    record.print(lab, "services", &[("ms", Show::Spread)])
}

/// The resident memory of a process, in MiB.
pub(crate) fn resident(process: u32) -> Result<f64, Failed> {
    let memory = process::memory(process).ok_or("memory can be read only on Linux")?;
    Ok(memory.now_kib / 1024.0)
}

pub(crate) fn memory(lab: &mut Lab) -> Result<(), Failed> {
    let mut record = Record::open(
        lab,
        "Resident memory",
        "In MiB, a second after the start and after health checks on 32 connections.",
    )?;
    let shop = Shop::open(lab, "shop")?;
    thread::sleep(Duration::from_secs(1));
    let mut idle = Vec::new();
    for process in shop.processes() {
        idle.push(resident(process)?);
    }
    let mut after = Vec::new();
    for (place, process) in shop.processes().into_iter().enumerate() {
        lab.progress.show("health checks", NAMES[place]);
        let loaded = lab.load(&Load::get(shop.url(place, "/health")), CONNECTIONS)?;
        record.check(NAMES[place], &loaded);
        after.push(resident(process)?);
    }
    for (place, name) in NAMES.iter().enumerate() {
        record.add(name, "idle", idle[place])?;
        record.add(name, "after load", after[place])?;
    }
    record.add("together", "idle", idle.iter().sum())?;
    record.add("together", "after load", after.iter().sum())?;
    let columns = [("idle", Show::Median), ("after load", Show::Median)];
    record.print(lab, "service", &columns)
}

pub(crate) fn idle(lab: &mut Lab) -> Result<(), Failed> {
    let count = lab.plan.idle;
    let mut record = Record::open(
        lab,
        &format!("Resident memory with {count} idle connections"),
        "In MiB, a second after the start and while a service holds connections that have\n\
         had one answer each; and of one of them in KiB.",
    )?;
    let shop = Shop::open(lab, "shop")?;
    thread::sleep(Duration::from_secs(1));
    for (place, name) in NAMES.iter().enumerate() {
        lab.progress.show("idle connections", name);
        let without = resident(shop.process(place))?;
        let open = server::open_idle(shop.address(place), count)?;
        let with = resident(shop.process(place))?;
        drop(open);
        record.add(name, "none", without)?;
        record.add(name, "idle", with)?;
        let each = (with - without) * 1024.0 / f64::from(count);
        record.add(name, "one, KiB", each)?;
    }
    let columns = ["none", "idle", "one, KiB"].map(|column| (column, Show::Median));
    record.print(lab, "service", &columns)
}

pub(crate) fn lines(lab: &mut Lab) -> Result<(), Failed> {
    let mut record = Record::open(
        lab,
        "Lines of code",
        "In src/ of each crate, without tests, blank lines and comments.",
    )?;
    let mut all = 0;
    for krate in crates(Path::new("."))? {
        let lines = lines_in(&krate.join("src"))?;
        all += lines;
        let name = krate.strip_prefix(".").unwrap_or(&krate);
        add_count(&mut record, &name.display().to_string(), lines)?;
    }
    add_count(&mut record, "together", all)?;
    eprintln!("Building the tests to count them.");
    let tests = Command::new("cargo")
        .args(["test", "--workspace", "--quiet", "--", "--list"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !tests.status.success() {
        return Err("the tests do not build; see the output of cargo above".into());
    }
    let listed = String::from_utf8_lossy(&tests.stdout);
    let tests = listed.lines().filter(|line| line.ends_with(": test"));
    add_count(&mut record, "tests", tests.count())?;
    record.print(lab, "crate", &[("lines", Show::Median)])
}

fn add_count(record: &mut Record, name: &str, count: usize) -> Result<(), Failed> {
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let count = count as f64;
    record.add(name, "lines", count)
}

/// The folders with a Cargo.toml and a src/, and those in a folder of crates.
fn crates(root: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() && path.join("src").is_dir() {
            found.push(path);
        } else if path.ends_with("frameworks") {
            found.extend(crates(&path)?);
        }
    }
    found.sort();
    Ok(found)
}

/// The lines of code of all Rust files in a folder, and in those within it.
fn lines_in(folder: &Path) -> Result<usize, Failed> {
    let mut lines = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            lines += lines_in(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            lines += code_lines(&fs::read_to_string(&path)?);
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_is_counted_with_the_folders_in_its_src() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let workspace = fs::read_to_string(root.join("Cargo.toml")).expect("is there");
        let members = workspace.split("members = [").nth(1).expect("has members");
        let members = members.split(']').next().unwrap_or_default();
        let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
        let found = crates(&root).expect("can be read");
        for member in members {
            let is_counted = found.contains(&root.join(member));
            let has_sources = root.join(member).join("src").is_dir();
            assert_eq!(is_counted, has_sources, "{member}");
        }
        let bench = lines_in(&root.join("bench/src")).expect("can be read");
        let figures = lines_in(&root.join("bench/src/figures")).expect("can be read");
        assert!(figures > 100 && bench > figures, "{figures} of {bench}");
    }
}
