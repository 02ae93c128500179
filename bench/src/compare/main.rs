//! Measures the five frameworks side by side: product-service's API on each of them, and on bare
//! hyper. `scripts/compare.sh` builds and runs it.
//!
//! In reading order:
//!
//! | module | contents |
//! |---|---|
//! | `plan` | the amount of measurement, and the command line |
//! | `run` | a round and its measurements |
//! | `results` | the results, as in `results.json` |
//! | `servers` | the servers, as processes or by their URL |
//! | `cost` | builds, binaries, crates and lines |
//! | `page`, `chart` | the results for people |
//!
//! `bench::measure` has the parts that `figures` also uses: load generators, statistics,
//! processes, the machine.
//!
//! A round starts every server anew. For each quantity it then measures all servers in turn, in
//! random order. Reading comes before writing, because created products use memory.

mod chart;
mod cost;
mod page;
mod plan;
mod results;
mod run;
mod servers;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench::Failed;
use bench::measure::load::{FixedRate, Generator};
use bench::measure::machine;
use bench::measure::progress::Progress;
use bench::measure::table::counted;
use reqwest::blocking::Client;

use plan::{Options, options};
use results::{Results, Samples, Settings};
use run::Run;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = match options(arguments.iter().cloned()) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("compare.sh: {wrong}");
            return ExitCode::from(2);
        }
    };
    let command = format!("scripts/compare.sh {}", arguments.join(" "));
    match run(&options, command.trim()) {
        Ok(results) if results.voids() > 0 => {
            eprintln!(
                "{} figures are VOID, because requests failed or a rate was not reached; the tables mark them.",
                results.voids()
            );
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare.sh: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options, command: &str) -> Result<Results, Failed> {
    // Servers inherit the limit: each of a thousand connections needs a file descriptor on
    // both sides.
    rlimit::increase_nofile_limit(8192)?;
    harness::process::kill_all_on_signal()?;
    let began = Instant::now();
    let fixed_rate = FixedRate::installed().ok_or("neither oha nor hey is installed")?;
    let http = Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()?;
    let programs = std::env::current_exe()?;
    let programs = programs.parent().ok_or("a program is in a folder")?;
    let mut contenders = servers::ours(programs)?;
    for url in &options.peers {
        contenders.push(servers::peer(url, &http, &contenders)?);
    }
    let scratch = PathBuf::from(std::env::var_os("RUN_DIR").unwrap_or("run/compare".into()));
    for folder in [&scratch, &options.out] {
        fs::create_dir_all(folder)
            .map_err(|error| format!("{} cannot be created: {error}", folder.display()))?;
    }
    let (commit, dirty) = machine::commit();
    let machine = machine::describe();
    let seed = fastrand::u64(1..1_000_000);
    let pinned = machine.pinned.clone();
    let mut run = Run {
        plan: &options.plan,
        contenders: &contenders,
        http,
        fixed_rate,
        servers_on: pinned.as_ref().map(|pinned| pinned.servers.as_slice()),
        generator: Generator {
            processors: pinned.as_ref().map(|pinned| pinned.load.as_slice()),
            output: &scratch,
        },
        random: fastrand::Rng::with_seed(seed),
        samples: Samples::default(),
        fixed_rates: BTreeMap::new(),
        progress: Progress::default(),
    };
    let taken = jiff::Timestamp::now();
    let seconds = options.plan.seconds_a_round(contenders.len()) * options.plan.rounds as u64;
    eprintln!(
        "{} servers, {}: about {} of load{}.",
        contenders.len(),
        counted(options.plan.rounds as u64, "round"),
        counted(seconds.div_ceil(60), "minute"),
        if options.plan.builds > 0 {
            ", and then the builds"
        } else {
            ""
        }
    );
    if pinned.is_none() {
        eprintln!(
            "Servers and load share all {} cores; with four or more, they would be separated.",
            machine.cores
        );
    }
    for round in 1..=options.plan.rounds {
        run.progress.stage = format!("round {round} of {}", options.plan.rounds);
        run.round()?;
    }
    run.costs()?;
    run.progress.done();

    let servers: Vec<_> = contenders.iter().map(|one| one.server.clone()).collect();
    let results = Results {
        taken: format!("{taken:.0}"),
        command: command.to_owned(),
        commit,
        dirty,
        machine,
        versions: machine::versions(fixed_rate.name()),
        settings: Settings {
            rounds: options.plan.rounds,
            profile: std::env::var("PROFILE").unwrap_or_else(|_| "dist".to_owned()),
            seconds: options.plan.seconds,
            connections: options.plan.connections.clone(),
            fixed_rates: run.fixed_rates,
            fixed_rate_tool: fixed_rate.name().to_owned(),
            seed,
        },
        figures: run.samples.figures(&servers),
        servers,
    };
    write(&results, &options.out)?;
    println!("{}", page::whole(&results, &[]));
    println!(
        "{} s. Written to {}: results.json, results.md and the charts.",
        began.elapsed().as_secs(),
        options.out.display()
    );
    Ok(results)
}

fn write(results: &Results, out: &Path) -> Result<(), Failed> {
    let json = serde_json::to_string_pretty(results)? + "\n";
    for (name, text) in [("results.json".to_owned(), json)]
        .into_iter()
        .chain(for_people(results))
    {
        let path = out.join(name);
        fs::write(&path, text)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    Ok(())
}

/// The charts, and the page that shows them: file names and contents.
fn for_people(results: &Results) -> Vec<(String, String)> {
    let mut files = chart::all(results);
    let pictures: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let page = page::whole(results, &pictures);
    files.push(("results.md".to_owned(), page));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Quantity;

    /// After a change to the texts, `UPDATE_RESULTS=1` writes the pages anew from the same
    /// figures.
    #[test]
    fn the_pages_of_the_docs_match_their_figures() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/frameworks");
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let results: Results = serde_json::from_str(&read("results.json")).expect("figures");
        for (name, text) in for_people(&results) {
            if std::env::var_os("UPDATE_RESULTS").is_some() {
                fs::write(folder.join(&name), &text).expect("is written");
            }
            assert!(
                read(&name) == text,
                "docs/frameworks/{name} differs; run UPDATE_RESULTS=1 cargo test -p bench"
            );
        }
    }
    /// docs/frameworks/choosing.md quotes the results.
    #[test]
    fn the_advice_quotes_the_figures() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/frameworks");
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file");
        let results: Results = serde_json::from_str(&read("results.json")).expect("figures");
        let ranked = 5;
        let throughput = results.figures.iter();
        let throughput = throughput.filter(|figure| figure.key.quantity == Quantity::Throughput);
        let (mut pairs, mut differ, mut rocket) = (0, 0, 0);
        for figure in throughput {
            pairs += ranked * (ranked - 1) / 2;
            let slower = figure.servers.iter().flat_map(|server| &server.ahead_of);
            differ += slower.clone().count();
            rocket += slower.filter(|name| *name == "rocket").count();
        }
        let advice = read("choosing.md").replace("\n  ", " ");
        for quoted in [
            format!("{differ} of {pairs} pairs differ"),
            format!("in {rocket} of them the slower one is Rocket"),
        ] {
            assert!(
                advice.contains(&quoted),
                "choosing.md does not say {quoted:?}"
            );
        }
    }
}
