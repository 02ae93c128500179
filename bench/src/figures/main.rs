//! Measures the shop on this machine, a section at a time. `scripts/figures.sh` builds and runs it.
//!
//! In reading order:
//!
//! | module | contents |
//! |---|---|
//! | `lab` | the state of a run, which all sections share |
//! | `shop` | the five services, on free ports |
//! | `record` | the numbers of a section, and their table |
//! | `cost` | CPU per request beside `nginx` |
//! | `gateway` | the gateway beside nginx and haproxy, which `proxies` starts; and its `layers` |
//! | `load` | throughput, orders, large lists, telemetry |
//! | `footprint` | start, memory, lines of code |
//! | `failure` | services that hang or return, slow heads |
//! | `lab_mode` | what recording spans, faults and viewers of the console cost |
//!
//! Each figure is the median of several rounds. Compared things are measured in turn in every
//! round, so that other activity of the machine affects all of them.

mod cost;
mod failure;
mod footprint;
mod gateway;
mod lab;
mod lab_mode;
mod layers;
mod load;
mod nginx;
mod proxies;
mod record;
mod shop;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use bench::Failed;
use bench::measure::{machine, process};

use lab::{Lab, Plan};

/// A group of measurements.
struct Section {
    name: &'static str,
    measure: fn(&mut Lab) -> Result<(), Failed>,
}

const fn section(name: &'static str, measure: fn(&mut Lab) -> Result<(), Failed>) -> Section {
    Section { name, measure }
}

/// The sections. Those that are quick or often quoted come first.
const SECTIONS: [Section; 15] = [
    section("cost", cost::beside_nginx),
    section("gateway", gateway::measure),
    section("startup", footprint::startup),
    section("memory", footprint::memory),
    section("throughput", load::throughput),
    section("order", load::orders),
    section("page", load::pages),
    section("slow-head", failure::slow_heads),
    section("idle", footprint::idle),
    section("hung", failure::hung),
    section("recovery", failure::recovery),
    section("telemetry", load::telemetry),
    section("lab-mode", lab_mode::requests),
    section("viewers", lab_mode::viewers),
    section("lines", footprint::lines),
];

/// What to measure.
struct Options {
    plan: Plan,
    sections: Vec<&'static Section>,
    /// The file for the report.
    out: Option<PathBuf>,
}

/// Reads the arguments that `scripts/figures.sh` passes on.
fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut plan, mut rounds, mut wanted) = (Plan::full(), None, Vec::new());
    let mut out = None;
    let mut all: Vec<&Section> = SECTIONS.iter().collect();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--smoke" => {
                plan = Plan::smoke();
                // Counting the tests builds all of them.
                all.retain(|one| one.name != "lines");
            }
            "--rounds" => {
                let value = arguments.next().unwrap_or_default();
                let number = value.parse().ok().filter(|one| (1..=50).contains(one));
                let wrong = || format!("--rounds is \"{value}\", expected 1 to 50");
                rounds = Some(number.ok_or_else(wrong)?);
            }
            "--out" => {
                let file = arguments.next().filter(|file| !file.is_empty());
                out = Some(file.ok_or("--out needs the name of a file")?.into());
            }
            name => {
                let section = SECTIONS.iter().find(|one| one.name == name);
                let names = || SECTIONS.map(|one| one.name).join(", ");
                let wrong = || format!("unknown section {name}; use {}", names());
                wanted.push(section.ok_or_else(wrong)?);
            }
        }
    }
    plan.rounds = rounds.unwrap_or(plan.rounds);
    Ok(Options {
        plan,
        sections: if wanted.is_empty() { all } else { wanted },
        out,
    })
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("figures.sh: {wrong}; --help lists all");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(voids) => {
            eprintln!("{voids} figures are VOID because requests failed; the tables mark them.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("figures.sh: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the sections. Returns the number of void figures.
fn run(options: Options) -> Result<usize, Failed> {
    let Options {
        plan,
        sections,
        out,
    } = options;
    // Servers inherit the limit: a connection needs a file descriptor on both sides.
    rlimit::increase_nofile_limit(8192)?;
    harness::process::kill_all_on_signal()?;
    for (tool, users) in TOOLS {
        let is_needed = sections.iter().any(|one| users.contains(&one.name));
        if is_needed && process::find(tool).is_none() {
            return Err(format!(
                "{tool} was not found, which {} needs; install it with \"apt install {tool}\" or \
                 \"brew install {tool}\"",
                users.join(" and "),
            )
            .into());
        }
    }
    let report = out.map(|path| {
        File::create(&path)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))
    });
    let mut lab = Lab::open(plan, report.transpose()?)?;
    let names: Vec<_> = sections.iter().map(|one| one.name).collect();
    if let Some(report) = &mut lab.report {
        writeln!(
            report,
            "<!-- Written by scripts/figures.sh; the next run overwrites changes. -->\n\n\
             # Figures: {}\n",
            names.join(", ")
        )?;
    }
    lab.tell(&format!("{}\n", origin()))?;
    for section in sections {
        section.name.clone_into(&mut lab.progress.stage);
        let measured = (section.measure)(&mut lab);
        lab.progress.done();
        measured.map_err(|error| format!("{}: {error}", section.name))?;
    }
    println!("\nThe raw numbers are in {}/.", lab.scratch.display());
    Ok(lab.voids)
}

/// The tools that must be installed, and the sections that use them.
const TOOLS: [(&str, &[&str]); 2] = [
    (
        "wrk",
        &[
            "cost",
            "gateway",
            "memory",
            "throughput",
            "order",
            "page",
            "hung",
            "telemetry",
            "lab-mode",
        ],
    ),
    ("nginx", &["cost"]),
];

/// The machine and the version that the figures are from.
fn origin() -> String {
    let machine = machine::describe();
    let (commit, dirty) = machine::commit();
    let versions: BTreeMap<&str, String> = [
        ("rustc", process::output("rustc", &["--version"])),
        ("commit", commit),
    ]
    .into_iter()
    .filter_map(|(name, version)| Some((name, version?)))
    .collect();
    let version = |name| versions.get(name).map_or("unknown", String::as_str);
    let shared = if machine.is_virtual { ", virtual" } else { "" };
    let load = machine
        .load
        .map_or("unknown".to_owned(), |load| load.to_string());
    format!(
        "{}, commit {}{}\n{}, {} cores{shared}\n{}\n{}, load before {load}",
        format_args!("{:.0}", jiff::Timestamp::now()),
        version("commit"),
        if dirty { " with changes" } else { "" },
        machine.processor,
        machine.cores,
        machine.system,
        version("rustc"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(usize, Vec<&'static str>), String> {
        let options = options(line.split_whitespace().map(str::to_owned))?;
        let sections = options.sections.iter().map(|one| one.name);
        Ok((options.plan.rounds, sections.collect()))
    }

    #[test]
    fn options_are_read_and_the_error_names_a_wrong_one() {
        let all = SECTIONS.map(|one| one.name);
        assert_eq!(parse(""), Ok((7, all.to_vec())));
        assert_eq!(
            parse("cost --rounds 3 order"),
            Ok((3, vec!["cost", "order"]))
        );
        assert_eq!(parse("--smoke").expect("good").0, 1);
        for (line, said) in [
            ("--rounds 0", "--rounds is \"0\", expected 1 to 50"),
            ("--out", "--out needs the name of a file"),
            ("--rounds", "--rounds is \"\", expected 1 to 50"),
            ("ordre", "unknown section ordre; use cost, gateway"),
        ] {
            let wrong = parse(line).expect_err(line);
            assert!(wrong.starts_with(said), "{wrong}");
        }
    }

    #[test]
    fn the_help_names_each_section() {
        let script = include_str!("../../../scripts/figures.sh");
        for section in &SECTIONS {
            let line = format!("\n    {} ", section.name);
            assert!(script.contains(&line), "{}", section.name);
        }
    }
}
