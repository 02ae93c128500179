//! Measures the five frameworks beside each other: product-service's API on each of
//! them, and on bare hyper. `scripts/compare.sh` builds what it needs and runs it.
//!
//! In reading order:
//!
//! | room | what is in it |
//! |---|---|
//! | `main` | what is measured, and in which order |
//! | `stats` | what may be said about figures that differ from round to round |
//! | `results` | what was measured, as it stands in `results.json` |
//! | `servers` | the servers, as processes or by their URL |
//! | `load` | the load generators, and what they say |
//! | `cost` | builds, binaries, crates and lines |
//! | `machine` | the machine, and what a process takes of it |
//! | `table`, `chart` | the results for people |
//!
//! A round starts every server afresh and measures each quantity of all of them in
//! turn, in an order drawn by lot for each quantity. What only reads comes before
//! what writes: products that were created would weigh on the memory.

mod chart;
mod cost;
mod load;
mod machine;
mod results;
mod servers;
mod stats;
mod table;

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;

use cost::Workshop;
use load::{FixedRate, Generator, Target};
use results::{Key, Kind, Quantity, Request, Results, Sample, Samples, Settings};
use servers::{Contender, Launch, Started};

/// Why something could not be measured, in a sentence.
pub(crate) type Failed = Box<dyn std::error::Error>;

/// How much is measured.
#[derive(Clone, Debug)]
struct Plan {
    rounds: usize,
    seconds: u64,
    requests: Vec<Request>,
    connections: Vec<u32>,
    at_fixed_rate: Vec<Request>,
    /// The fixed rate, as a share of what the slowest answers.
    of_slowest: f64,
    idle_connections: u32,
    /// How often each is built from nothing; 0 leaves out all builds.
    builds: usize,
}

impl Plan {
    fn full() -> Self {
        Self {
            rounds: 10,
            seconds: 2,
            requests: Request::ALL.to_vec(),
            connections: vec![1, 32, 256],
            at_fixed_rate: vec![Request::OneProduct, Request::Page, Request::Create],
            of_slowest: 0.25,
            idle_connections: 1000,
            builds: 3,
        }
    }

    /// Under five minutes: one number of connections.
    fn quick() -> Self {
        Self {
            // The fewest that can tell anything.
            rounds: 6,
            seconds: 1,
            connections: vec![32],
            at_fixed_rate: vec![Request::OneProduct],
            builds: 0,
            ..Self::full()
        }
    }

    /// Seconds, to see that it works: its figures tell nothing.
    fn smoke() -> Self {
        Self {
            rounds: 1,
            requests: vec![Request::OneProduct, Request::Mix],
            connections: vec![8],
            // Held on any machine, however busy.
            of_slowest: 0.05,
            idle_connections: 100,
            ..Self::quick()
        }
    }

    /// How long a round of so many servers takes, about: starting and stopping, too.
    fn seconds_a_round(&self, servers: usize) -> u64 {
        let loads = self.requests.len() * self.connections.len() + self.at_fixed_rate.len();
        // wrk and hey take a moment longer than they are told to.
        let load = loads as u64 * (self.seconds * 1000 + 60);
        (servers as u64 * (load + 500) + 1000) / 1000
    }
}

/// What the command line asks for.
#[derive(Debug)]
struct Options {
    plan: Plan,
    peers: Vec<String>,
    out: PathBuf,
}

/// Reads what `scripts/compare.sh` hands on.
fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut plan, mut rounds, mut peers) = (Plan::full(), None, Vec::new());
    let mut out = PathBuf::from("docs/frameworks");
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--quick" => plan = Plan::quick(),
            "--smoke" => plan = Plan::smoke(),
            "--rounds" => {
                let value = value()?;
                let number = value
                    .parse()
                    .ok()
                    .filter(|number| (1..=50).contains(number));
                let wrong = || format!("--rounds is \"{value}\", expected 1 to 50");
                rounds = Some(number.ok_or_else(wrong)?);
            }
            "--peer" => peers.push(value()?),
            "--out" => out = PathBuf::from(value()?),
            _ => return Err(format!("there is no option {argument}; --help lists them")),
        }
    }
    plan.rounds = rounds.unwrap_or(plan.rounds);
    Ok(Options { plan, peers, out })
}

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
                "{} figures are VOID: requests failed, or a rate was not held. The tables say which.",
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
    // Servers inherit it: a thousand connections have a file each, on both sides.
    rlimit::increase_nofile_limit(8192)?;
    machine::end_all_on_signal()?;
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
            .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
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
        fixed_rates: std::collections::BTreeMap::new(),
        progress: Progress::new(),
    };
    let taken = jiff::Timestamp::now();
    let seconds = options.plan.seconds_a_round(contenders.len()) * options.plan.rounds as u64;
    eprintln!(
        "{} servers, {}: about {} of load{}.",
        contenders.len(),
        table::counted(options.plan.rounds as u64, "round"),
        table::counted(seconds.div_ceil(60), "minute"),
        if options.plan.builds > 0 {
            ", and then the builds"
        } else {
            ""
        }
    );
    if pinned.is_none() {
        eprintln!(
            "Servers and load share all {} cores: four are needed to keep them apart.",
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
    println!("{}", table::whole(&results, &[]));
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

/// The charts, and the page that shows them: names of files, and what is in them.
fn for_people(results: &Results) -> Vec<(String, String)> {
    let mut files = chart::all(results);
    let pictures: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let page = table::whole(results, &pictures);
    files.push(("results.md".to_owned(), page));
    files
}

/// A run that is under way.
struct Run<'a> {
    plan: &'a Plan,
    contenders: &'a [Contender],
    http: Client,
    fixed_rate: FixedRate,
    servers_on: Option<&'a [usize]>,
    generator: Generator<'a>,
    random: fastrand::Rng,
    samples: Samples,
    /// Requests a second, the same in all rounds.
    fixed_rates: std::collections::BTreeMap<Request, u32>,
    progress: Progress,
}

impl Run<'_> {
    fn round(&mut self) -> Result<(), Failed> {
        self.at_rest()?;
        let mut processes = Vec::new();
        let mut targets = Vec::new();
        for contender in self.contenders {
            self.progress.tell("starting", &contender.server.name);
            let started = contender.launch.as_ref().map(|launch| self.start(launch));
            let started = started.transpose()?;
            let url = started.as_ref().map(Started::url);
            targets.push(servers::prepare(
                url.as_ref().unwrap_or(&contender.server.what),
                &self.http,
            )?);
            processes.push(started);
        }
        let process = |place: usize| processes[place].as_ref().map(|one| one.process.id());

        for writes in [false, true] {
            let mut loads = Vec::new();
            for request in self
                .plan
                .requests
                .iter()
                .filter(|one| one.writes() == writes)
            {
                loads.extend(self.plan.connections.iter().map(|count| (*request, *count)));
            }
            self.random.shuffle(&mut loads);
            for (request, connections) in loads {
                for place in self.order() {
                    self.load(place, &targets[place], process(place), request, connections)?;
                }
            }
            for request in &self.plan.at_fixed_rate {
                if request.writes() == writes {
                    self.fixed_rate(*request, &targets)?;
                }
            }
            if !writes {
                for place in 0..targets.len() {
                    let memory = process(place).and_then(machine::memory);
                    if let Some(memory) = memory {
                        let key = Key::of(Quantity::MemoryUnderLoad);
                        self.samples.add(key, place, Ok(memory.most_kib / 1024.0));
                    }
                }
            }
        }
        Ok(())
    }

    /// What servers take that have nothing to do: fresh ones, which no load has made
    /// larger than they need to be.
    fn at_rest(&mut self) -> Result<(), Failed> {
        let mut fresh = Vec::new();
        for place in self.order() {
            let contender = &self.contenders[place];
            let Some(launch) = &contender.launch else {
                continue;
            };
            self.progress
                .tell("start and memory", &contender.server.name);
            let started = self.start(launch)?;
            let milliseconds = started.ready_after.as_secs_f64() * 1e3;
            self.samples
                .add(Key::of(Quantity::StartToReady), place, Ok(milliseconds));
            fresh.push((place, started));
        }
        thread::sleep(Duration::from_secs(1));
        for (place, started) in fresh {
            let memory = || machine::memory(started.process.id());
            let Some(idle) = memory() else { continue };
            let count = self.plan.idle_connections;
            let open = servers::open_idle(started.address, count)?;
            let held = memory().unwrap_or(idle);
            drop(open);
            self.samples.add(
                Key::of(Quantity::MemoryIdle),
                place,
                Ok(idle.now_kib / 1024.0),
            );
            let each = (held.now_kib - idle.now_kib) / f64::from(count);
            self.samples
                .add(Key::of(Quantity::MemoryPerConnection), place, Ok(each));
        }
        Ok(())
    }

    fn start(&self, launch: &Launch) -> Result<Started, Failed> {
        let errors = self.generator.output.join("server.err");
        servers::start(launch, self.servers_on, &errors)
    }

    /// All servers, in an order drawn by lot.
    fn order(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.contenders.len()).collect();
        self.random.shuffle(&mut order);
        order
    }

    /// As many requests of one kind as a server answers.
    fn load(
        &mut self,
        place: usize,
        target: &Target,
        process: Option<u32>,
        request: Request,
        connections: u32,
    ) -> Result<(), Failed> {
        let what = format!("{}, {connections} connections", request.title());
        self.progress
            .tell(&what, &self.contenders[place].server.name);
        let cpu = || process.and_then(machine::cpu_micros);
        let before = cpu();
        let load = self
            .generator
            .wrk(target, request, connections, self.plan.seconds)?;
        let used = cpu().zip(before).map(|(after, before)| after - before);
        // A thread that ended takes its share with it.
        let used = used.filter(|used| *used > 0.0);
        let void = load.void();
        let sample = |number| -> Sample { void.clone().map_or(Ok(number), Err) };
        let mut add = |quantity, number| {
            let key = Key::under_load(quantity, request, connections);
            self.samples.add(key, place, sample(number));
        };
        add(Quantity::Throughput, load.rate());
        add(Quantity::LatencyP50, load.p50_ms);
        add(Quantity::LatencyP99, load.p99_ms);
        if let Some(used) = used {
            #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
            let requests = load.requests.max(1) as f64;
            add(Quantity::CpuPerRequest, used / requests);
        }
        Ok(())
    }

    /// The same number of requests a second to all: a share of what the slowest of
    /// them answered in the first round.
    fn fixed_rate(&mut self, request: Request, targets: &[Target]) -> Result<(), Failed> {
        let rate = self.fixed_rates.get(&request).copied();
        let rate = rate.unwrap_or_else(|| {
            let mut counts = self.plan.connections.iter().copied();
            let connections = counts.find(|count| *count > 1).unwrap_or(1);
            let key = Key::under_load(Quantity::Throughput, request, connections);
            let slowest = self.samples.medians(key).reduce(f64::min);
            even(slowest.unwrap_or(0.0) * self.plan.of_slowest)
        });
        self.fixed_rates.insert(request, rate);
        for place in self.order() {
            let what = format!("{}, {rate} a second", request.title());
            self.progress
                .tell(&what, &self.contenders[place].server.name);
            let seconds = self.plan.seconds;
            let target = &targets[place];
            let paced = self
                .generator
                .at_rate(self.fixed_rate, target, request, rate, seconds)?;
            let void = paced.void(rate);
            for (quantity, number) in [
                (Quantity::FixedRateP50, paced.p50_ms),
                (Quantity::FixedRateP99, paced.p99_ms),
                (Quantity::FixedRateP999, paced.p999_ms),
            ] {
                let key = Key::at_fixed_rate(quantity, request);
                let sample = void.clone().map_or(Ok(number), Err);
                self.samples.add(key, place, sample);
            }
        }
        Ok(())
    }

    /// What is built and counted, of the floor and the frameworks.
    fn costs(&mut self) -> Result<(), Failed> {
        "builds".clone_into(&mut self.progress.stage);
        let built: Vec<(usize, &str)> = self
            .contenders
            .iter()
            .enumerate()
            .filter(|(_, contender)| contender.server.kind != Kind::Peer)
            .map(|(place, contender)| (place, contender.server.name.as_str()))
            .collect();
        for &(place, name) in &built {
            self.progress.tell("crates and lines", name);
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            if let Some(crates) = cost::crates(name) {
                self.samples
                    .add(Key::of(Quantity::Crates), place, Ok(crates as f64));
            }
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            if let Some(lines) = cost::room_lines(&cost::room(name)) {
                self.samples
                    .add(Key::of(Quantity::RoomLines), place, Ok(lines as f64));
            }
        }
        if self.plan.builds == 0 {
            return Ok(());
        }
        let workshop = Workshop::open(&self.generator.output.join("builds"))?;
        for &(place, name) in &built {
            self.progress.tell("the smallest server", name);
            #[expect(clippy::cast_precision_loss, reason = "bytes of a program")]
            let bytes = workshop.size(name, "dist")? as f64;
            let key = Key::of(Quantity::BinarySize);
            self.samples.add(key, place, Ok(bytes / 1024.0 / 1024.0));
        }
        for round in 1..=self.plan.builds {
            self.progress.stage = format!("builds, round {round} of {}", self.plan.builds);
            let mut order = built.clone();
            self.random.shuffle(&mut order);
            for (place, name) in order {
                self.progress.tell("a clean build", name);
                let clean = workshop.clean_build(name)?;
                // The first one has to make what later ones go by.
                workshop.incremental_build(name, 0)?;
                let again = workshop.incremental_build(name, round)?;
                for (quantity, took) in [
                    (Quantity::CleanBuild, clean),
                    (Quantity::IncrementalBuild, again),
                ] {
                    let sample = Ok(took.as_secs_f64());
                    self.samples.add(Key::of(quantity), place, sample);
                }
            }
        }
        Ok(())
    }
}

/// A rate to two digits: a number that can be remembered, and shared evenly by the
/// connections.
fn even(rate: f64) -> u32 {
    let rate = rate.max(f64::from(load::FIXED_RATE_CONNECTIONS));
    let step = 10_f64.powf(rate.log10().floor() - 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate"
    )]
    let rounded = ((rate / step).floor() * step) as u32;
    rounded.next_multiple_of(load::FIXED_RATE_CONNECTIONS)
}

/// What is being done, on standard error: one line that changes where somebody sees
/// it, else one a round.
struct Progress {
    stage: String,
    told: String,
    on_terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Self {
            stage: String::new(),
            told: String::new(),
            on_terminal: std::io::stderr().is_terminal(),
        }
    }

    fn tell(&mut self, what: &str, server: &str) {
        if self.on_terminal {
            eprint!("\r\x1b[K{}: {what}, {server}", self.stage);
            // Nothing is lost with a line that is not seen.
            let _ = std::io::stderr().flush();
        } else if self.told != self.stage {
            self.told.clone_from(&self.stage);
            eprintln!("{}", self.stage);
        }
    }

    fn done(&self) {
        if self.on_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        options(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_and_a_wrong_one_is_named() {
        let given = parse("--rounds 7 --quick --peer http://a --peer http://b --out there");
        let given = given.expect("good options");
        assert_eq!((given.plan.rounds, given.plan.seconds), (7, 1));
        assert_eq!(given.peers, ["http://a", "http://b"]);
        assert_eq!(given.out, Path::new("there"));
        for (line, said) in [
            ("--rounds 0", "--rounds is \"0\", expected 1 to 50"),
            ("--rounds", "--rounds needs a value"),
            ("--fast", "there is no option --fast; --help lists them"),
        ] {
            assert_eq!(parse(line).expect_err(line), said);
        }
    }

    #[test]
    fn a_quick_run_of_all_six_is_under_five_minutes() {
        let quick = Plan::quick();
        assert!(quick.seconds_a_round(6) * quick.rounds as u64 <= 270);
    }

    /// After a change to what is written, `UPDATE_RESULTS=1` writes it of the same figures.
    #[test]
    fn the_pages_of_the_docs_are_what_is_written_of_their_figures() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/frameworks");
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let results: Results = serde_json::from_str(&read("results.json")).expect("figures");
        for (name, text) in for_people(&results) {
            if std::env::var_os("UPDATE_RESULTS").is_some() {
                fs::write(folder.join(&name), &text).expect("is written");
            }
            assert!(
                read(&name) == text,
                "docs/frameworks/{name} is another: UPDATE_RESULTS=1 cargo test -p bench"
            );
        }
    }

    #[test]
    fn a_fixed_rate_is_a_round_number() {
        for (rate, expected) in [(4_935.5, 4_900), (15_000.0, 15_000), (0.0, 20)] {
            assert_eq!(even(rate), expected, "{rate}");
        }
    }
}
