//! Measures the shop on this machine, a section at a time. `scripts/figures.sh` builds
//! what it needs and runs it.
//!
//! In reading order:
//!
//! | module | what is in it |
//! |---|---|
//! | `lab` | what every section works with |
//! | `shop` | the five services, on free ports |
//! | `record` | what a section measured, and its table |
//! | `cost` | CPU per request beside `nginx` |
//! | `load` | throughput, orders, large lists, telemetry |
//! | `footprint` | start, memory, lines of code |
//! | `failure` | services that hang or return, heads that never end |
//!
//! Each figure is the median of rounds. Whatever is compared is measured in turn in
//! every round, so that what else the machine does affects all of it.

mod cost;
mod failure;
mod footprint;
mod lab;
mod load;
mod nginx;
mod record;
mod shop;

use std::collections::BTreeMap;
use std::process::ExitCode;

use bench::Failed;
use bench::measure::{machine, process};

use lab::{Lab, Plan};

/// A part of what is measured.
struct Section {
    name: &'static str,
    measure: fn(&mut Lab) -> Result<(), Failed>,
}

const fn section(name: &'static str, measure: fn(&mut Lab) -> Result<(), Failed>) -> Section {
    Section { name, measure }
}

/// In this order: what is quick, and what is quoted most, comes first.
const SECTIONS: [Section; 12] = [
    section("cost", cost::beside_nginx),
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
    section("lines", footprint::lines),
];

/// Reads what `scripts/figures.sh` hands on.
fn options(
    mut arguments: impl Iterator<Item = String>,
) -> Result<(Plan, Vec<&'static Section>), String> {
    let (mut plan, mut rounds, mut wanted) = (Plan::full(), None, Vec::new());
    let mut all: Vec<&Section> = SECTIONS.iter().collect();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--smoke" => {
                plan = Plan::smoke();
                // Counting the tests builds them all.
                all.retain(|one| one.name != "lines");
            }
            "--rounds" => {
                let value = arguments.next().unwrap_or_default();
                let number = value.parse().ok().filter(|one| (1..=50).contains(one));
                let wrong = || format!("--rounds is \"{value}\", expected 1 to 50");
                rounds = Some(number.ok_or_else(wrong)?);
            }
            name => {
                let section = SECTIONS.iter().find(|one| one.name == name);
                let names = || SECTIONS.map(|one| one.name).join(", ");
                let wrong = || format!("there is no section {name}; there are {}", names());
                wanted.push(section.ok_or_else(wrong)?);
            }
        }
    }
    plan.rounds = rounds.unwrap_or(plan.rounds);
    Ok((plan, if wanted.is_empty() { all } else { wanted }))
}

fn main() -> ExitCode {
    let (plan, sections) = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("figures.sh: {wrong}; --help lists all");
            return ExitCode::from(2);
        }
    };
    match run(plan, &sections) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(voids) => {
            eprintln!("{voids} figures are VOID because requests failed; the tables say which.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("figures.sh: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How many figures are void.
fn run(plan: Plan, sections: &[&Section]) -> Result<usize, Failed> {
    // Servers inherit it: a connection is a file on both sides.
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
    let mut lab = Lab::open(plan)?;
    println!("{}", origin());
    for section in sections {
        section.name.clone_into(&mut lab.progress.stage);
        let measured = (section.measure)(&mut lab);
        lab.progress.done();
        measured.map_err(|error| format!("{}: {error}", section.name))?;
    }
    println!("\nThe raw numbers are in {}/.", lab.scratch.display());
    Ok(lab.voids)
}

/// What must be installed, and the sections that run it.
const TOOLS: [(&str, &[&str]); 2] = [
    (
        "wrk",
        &[
            "cost",
            "memory",
            "throughput",
            "order",
            "page",
            "hung",
            "telemetry",
        ],
    ),
    ("nginx", &["cost"]),
];

/// Where and of what the figures are.
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
        let (plan, sections) = options(line.split_whitespace().map(str::to_owned))?;
        Ok((plan.rounds, sections.iter().map(|one| one.name).collect()))
    }

    #[test]
    fn options_are_read_and_a_wrong_one_is_named() {
        let all = SECTIONS.map(|one| one.name);
        assert_eq!(parse(""), Ok((7, all.to_vec())));
        assert_eq!(
            parse("cost --rounds 3 order"),
            Ok((3, vec!["cost", "order"]))
        );
        assert_eq!(parse("--smoke").expect("good").0, 1);
        for (line, said) in [
            ("--rounds 0", "--rounds is \"0\", expected 1 to 50"),
            ("--rounds", "--rounds is \"\", expected 1 to 50"),
            (
                "ordre",
                "there is no section ordre; there are cost, startup",
            ),
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
