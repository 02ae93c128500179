//! The results, as in `results.json`.

use std::collections::BTreeMap;
use std::fmt;

use bench::measure::machine::Machine;
use bench::measure::stats::{self, Better, Spread};
use serde::{Deserialize, Serialize};

/// A whole run.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Results {
    /// When the run began, RFC 3339 in UTC.
    pub(crate) taken: String,
    pub(crate) command: String,
    /// The commit that was measured; none outside of a git checkout.
    pub(crate) commit: Option<String>,
    /// Whether files differ from that commit.
    pub(crate) dirty: bool,
    pub(crate) machine: Machine,
    /// The versions of programs and crates, by name.
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) settings: Settings,
    pub(crate) servers: Vec<Server>,
    pub(crate) figures: Vec<Figure>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings {
    pub(crate) rounds: usize,
    /// The build profile of the servers.
    pub(crate) profile: String,
    /// The duration of each load.
    pub(crate) seconds: u64,
    pub(crate) connections: Vec<u32>,
    /// Requests per second of the load at a fixed rate, by request.
    pub(crate) fixed_rates: BTreeMap<Request, u32>,
    pub(crate) fixed_rate_tool: String,
    /// The seed of the random order of the servers.
    pub(crate) seed: u64,
}

/// A server of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The program and its arguments, or the URL of a peer.
    pub(crate) what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Bare hyper, the base line. It is not ranked.
    Floor,
    /// The work of the floor on a framework's own server. It is not ranked.
    OwnServer,
    Framework,
    /// Another server, by its URL.
    Peer,
}

impl Kind {
    /// Whether it keeps the whole contract, so that it can be compared with others.
    pub(crate) fn is_ranked(self) -> bool {
        matches!(self, Self::Framework | Self::Peer)
    }
}

impl Server {
    /// Its name in tables and charts; a star refers to [`ABOUT_THE_BARS`].
    pub(crate) fn label(&self) -> String {
        let is_in_process = self.kind == Kind::Framework && self.name == "rocket";
        let star = if is_in_process { "*" } else { "" };
        format!("{}{star}", self.name)
    }
}

/// A note that every table and chart shows.
pub(crate) const ABOUT_THE_BARS: &str = "These are this lab's implementations. \
    * Rocket answers through its in-process client, not through its own server.";

/// The kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    Health,
    OneProduct,
    Page,
    Create,
    Mix,
}

impl Request {
    pub(crate) const ALL: [Self; 5] = [
        Self::Health,
        Self::OneProduct,
        Self::Page,
        Self::Create,
        Self::Mix,
    ];

    /// The title in tables and charts.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Health => "GET /health",
            Self::OneProduct => "one product",
            Self::Page => "a page of 100",
            Self::Create => "create",
            Self::Mix => "a mix",
        }
    }

    /// Whether it creates products.
    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Mix)
    }
}

/// A measured quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Quantity {
    Throughput,
    LatencyP50,
    LatencyP99,
    CpuPerRequest,
    FixedRateP50,
    FixedRateP99,
    FixedRateP999,
    StartToReady,
    MemoryIdle,
    MemoryUnderLoad,
    MemoryPerConnection,
    BinarySize,
    Crates,
    CleanBuild,
    IncrementalBuild,
    AdapterLines,
}

impl Quantity {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Throughput => "requests per second",
            Self::LatencyP50 | Self::FixedRateP50 => "p50, ms",
            Self::LatencyP99 | Self::FixedRateP99 => "p99, ms",
            Self::FixedRateP999 => "p99.9, ms",
            Self::CpuPerRequest => "CPU per request, µs",
            Self::StartToReady => "start to ready, ms",
            Self::MemoryIdle => "memory idle, MiB",
            Self::MemoryUnderLoad => "memory under load, MiB",
            Self::MemoryPerConnection => "memory per connection, KiB",
            Self::BinarySize => "binary, MiB",
            Self::Crates => "crates in the tree",
            Self::CleanBuild => "clean build, s",
            Self::IncrementalBuild => "incremental build, s",
            Self::AdapterLines => "lines of the adapter",
        }
    }

    pub(crate) fn better(self) -> Better {
        match self {
            Self::Throughput => Better::More,
            _ => Better::Less,
        }
    }

    /// Whether it is counted once, without a spread.
    pub(crate) fn is_exact(self) -> bool {
        matches!(self, Self::BinarySize | Self::Crates | Self::AdapterLines)
    }
}

/// The quantity of a figure, and the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<Request>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<u32>,
    pub(crate) quantity: Quantity,
}

impl Key {
    pub(crate) fn of(quantity: Quantity) -> Self {
        Self {
            request: None,
            connections: None,
            quantity,
        }
    }

    pub(crate) fn under_load(quantity: Quantity, request: Request, connections: u32) -> Self {
        Self {
            request: Some(request),
            connections: Some(connections),
            quantity,
        }
    }

    pub(crate) fn at_fixed_rate(quantity: Quantity, request: Request) -> Self {
        Self {
            request: Some(request),
            ..Self::of(quantity)
        }
    }
}

/// A quantity for all servers.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figure {
    #[serde(flatten)]
    pub(crate) key: Key,
    pub(crate) better: Better,
    pub(crate) verdict: Verdict,
    pub(crate) servers: Vec<Measured>,
}

/// The conclusion from the figures of the frameworks and peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// Counted, not measured, so every difference is real.
    Exact,
    TooFewRounds,
    NoDifference,
    /// Some are ahead of others.
    Different,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    pub(crate) name: String,
    /// One for each round.
    pub(crate) samples: Vec<f64>,
    /// None if the figure is void.
    pub(crate) spread: Option<Spread>,
    /// The ratio to the floor: the median of the ratios of each round.
    pub(crate) of_floor: Option<f64>,
    /// The frameworks and peers that this server is ahead of.
    pub(crate) ahead_of: Vec<String>,
    /// Why the figure is void, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) void: Option<String>,
}

/// The measurements so far.
#[derive(Debug, Default)]
pub(crate) struct Samples(BTreeMap<Key, BTreeMap<usize, Vec<Sample>>>);

/// A measurement, or why it failed.
pub(crate) type Sample = Result<f64, String>;

impl Samples {
    /// Adds a measurement of the server with this index, rounded to three decimals.
    pub(crate) fn add(&mut self, key: Key, server: usize, sample: Sample) {
        let servers = self.0.entry(key).or_default();
        let sample = sample.map(|number| (number * 1e3).round() / 1e3);
        servers.entry(server).or_default().push(sample);
    }

    /// The medians so far, of the servers that have measurements.
    pub(crate) fn medians(&self, key: Key) -> impl Iterator<Item = f64> {
        let servers = self.0.get(&key).into_iter().flatten();
        servers.filter_map(|(_, samples)| {
            let good: Vec<f64> = samples.iter().filter_map(|one| one.clone().ok()).collect();
            Some(Spread::of(&good)?.median)
        })
    }

    pub(crate) fn figures(&self, servers: &[Server]) -> Vec<Figure> {
        let figures = self.0.iter();
        figures
            .map(|(key, samples)| figure(*key, samples, servers))
            .collect()
    }
}

fn figure(key: Key, samples: &BTreeMap<usize, Vec<Sample>>, servers: &[Server]) -> Figure {
    let better = key.quantity.better();
    let void = |samples: &[Sample]| samples.iter().find_map(|one| one.clone().err());
    let good: BTreeMap<usize, Vec<f64>> = samples
        .iter()
        .filter_map(|(place, samples)| {
            let good: Result<Vec<f64>, _> = samples.iter().cloned().collect();
            Some((*place, good.ok()?))
        })
        .collect();
    let kind = |place: &usize| servers[*place].kind;
    let floor = good.iter().find(|(place, _)| kind(place) == Kind::Floor);
    let ranked = || good.iter().filter(|(place, _)| kind(place).is_ranked());

    let measured: Vec<Measured> = samples
        .iter()
        .map(|(place, samples)| {
            let numbers = good.get(place);
            let is_ranked = numbers.is_some() && kind(place).is_ranked();
            let others = ranked().filter(|_| is_ranked && !key.quantity.is_exact());
            Measured {
                name: servers[*place].name.clone(),
                samples: samples.iter().filter_map(|one| one.clone().ok()).collect(),
                spread: numbers.and_then(|numbers| Spread::of(numbers)),
                of_floor: numbers
                    .zip(floor)
                    .and_then(|(numbers, (_, floor))| stats::share(numbers, floor)),
                ahead_of: others
                    .filter(|(_, other)| better.is_ahead(&good[place], other))
                    .map(|(other, _)| servers[*other].name.clone())
                    .collect(),
                void: void(samples),
            }
        })
        .collect();
    let rounds = ranked().map(|(_, numbers)| numbers.len()).max();
    let verdict = if key.quantity.is_exact() {
        Verdict::Exact
    } else if !stats::can_tell(rounds.unwrap_or(0)) {
        Verdict::TooFewRounds
    } else if measured.iter().all(|one| one.ahead_of.is_empty()) {
        Verdict::NoDifference
    } else {
        Verdict::Different
    };
    Figure {
        key,
        better,
        verdict,
        servers: measured,
    }
}

/// The verdict as text: which servers are ahead of which others.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict {
            Verdict::Exact => write!(f, "counted, not measured")?,
            Verdict::TooFewRounds => write!(f, "too few rounds to tell")?,
            Verdict::NoDifference => write!(f, "no difference")?,
            Verdict::Different => {
                // Group servers that are ahead of the same others.
                let mut groups: Vec<(Vec<&str>, &[String])> = Vec::new();
                for one in self.servers.iter().filter(|one| !one.ahead_of.is_empty()) {
                    match groups
                        .iter_mut()
                        .find(|(_, behind)| *behind == one.ahead_of)
                    {
                        Some((ahead, _)) => ahead.push(&one.name),
                        None => groups.push((vec![&one.name], &one.ahead_of)),
                    }
                }
                groups.sort_by_key(|(_, behind)| std::cmp::Reverse(behind.len()));
                for (i, (ahead, behind)) in groups.iter().enumerate() {
                    let semicolon = if i == 0 { "" } else { "; " };
                    let (ahead, behind) = (and(ahead), and(behind));
                    write!(f, "{semicolon}{ahead} ahead of {behind}")?;
                }
            }
        }
        let voids = self
            .servers
            .iter()
            .filter_map(|one| Some((&one.name, one.void.as_ref()?)));
        for (i, (name, void)) in voids.enumerate() {
            let before = if i == 0 { "; VOID: " } else { ", " };
            write!(f, "{before}{name} ({void})")?;
        }
        Ok(())
    }
}

fn and(names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

impl Results {
    pub(crate) fn figure(&self, key: Key) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.key == key)
    }

    /// The number of void figures.
    pub(crate) fn voids(&self) -> usize {
        let all = self.figures.iter().flat_map(|figure| &figure.servers);
        all.filter(|one| one.void.is_some()).count()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn server(name: &str, kind: Kind) -> Server {
        Server {
            name: name.to_owned(),
            kind,
            what: format!("bare {name}"),
        }
    }

    /// Six rounds of throughput: two equal servers, a slower one, and one with a failed round.
    pub(crate) fn results() -> Results {
        let servers = vec![
            server("hyper", Kind::Floor),
            server("axum", Kind::Framework),
            server("rocket", Kind::Framework),
            server("warp", Kind::Framework),
            server("127.0.0.1:9000", Kind::Peer),
        ];
        let mut samples = Samples::default();
        let rate = Key::under_load(Quantity::Throughput, Request::OneProduct, 32);
        let paced = Key::at_fixed_rate(Quantity::FixedRateP99, Request::OneProduct);
        let memory = Key::of(Quantity::MemoryIdle);
        for round in 0..6 {
            let drift = 1000.0 - 20.0 * f64::from(round);
            let even = if round % 2 == 0 { 1.01 } else { 0.99 };
            samples.add(paced, 1, Ok(1.5));
            samples.add(rate, 0, Ok(20.0 * drift));
            samples.add(rate, 1, Ok(15.0 * drift));
            samples.add(rate, 2, Ok(10.0 * drift));
            samples.add(rate, 3, Ok(15.0 * drift * even));
            samples.add(
                rate,
                4,
                if round == 3 {
                    Err("12 of 3,000 requests failed".to_owned())
                } else {
                    Ok(99_999.0)
                },
            );
            for (place, mib) in [(0, 4.0), (1, 6.0), (2, 7.0), (3, 6.0)] {
                samples.add(
                    memory,
                    place,
                    Ok(mib + f64::from(round % 3) * if place == 2 { -1.0 } else { 0.1 }),
                );
            }
        }
        samples.add(Key::of(Quantity::Crates), 1, Ok(60.0));
        samples.add(Key::of(Quantity::Crates), 2, Ok(140.0));
        Results {
            taken: "2026-01-01T12:00:00Z".to_owned(),
            command: "scripts/compare.sh --quick".to_owned(),
            commit: Some("0123abc".to_owned()),
            dirty: false,
            machine: Machine {
                processor: "A processor".to_owned(),
                cores: 2,
                memory_gib: Some(8.0),
                system: "Debian, Linux 6.1".to_owned(),
                is_virtual: true,
                load: Some(0.5),
                pinned: None,
            },
            versions: BTreeMap::from([("axum".to_owned(), "0.8.9".to_owned())]),
            settings: Settings {
                rounds: 6,
                profile: "dist".to_owned(),
                seconds: 1,
                connections: vec![32],
                fixed_rates: BTreeMap::from([(Request::OneProduct, 4000)]),
                fixed_rate_tool: "hey".to_owned(),
                seed: 7,
            },
            figures: samples.figures(&servers),
            servers,
        }
    }

    #[test]
    fn written_results_can_be_read_back() {
        let results = results();
        let json = serde_json::to_string_pretty(&results).expect("serialises");
        let read: Results = serde_json::from_str(&json).expect("parses");
        assert_eq!(read, results);
        assert!(json.contains(r#""request": "one-product""#), "{json}");
    }

    #[test]
    fn a_server_is_ahead_only_beyond_the_spread_and_the_floor_never_is() {
        let results = results();
        let rate = Key::under_load(Quantity::Throughput, Request::OneProduct, 32);
        let figure = results.figure(rate).expect("measured");
        assert_eq!(figure.verdict, Verdict::Different);
        assert_eq!(
            figure.to_string(),
            "axum and warp ahead of rocket; VOID: 127.0.0.1:9000 (12 of 3,000 requests failed)"
        );
        let [hyper, axum, .., peer] = &figure.servers[..] else {
            panic!("{figure:?}");
        };
        assert!(hyper.ahead_of.is_empty());
        assert_eq!((hyper.of_floor, axum.of_floor), (Some(1.0), Some(0.75)));
        assert_eq!((peer.spread, peer.of_floor), (None, None), "it is void");
        assert_eq!(results.voids(), 1);
    }

    #[test]
    fn within_the_spread_there_is_no_difference_and_counts_have_no_verdict() {
        let results = results();
        let verdict = |quantity| results.figure(Key::of(quantity)).expect("measured").verdict;
        assert_eq!(verdict(Quantity::MemoryIdle), Verdict::NoDifference);
        assert_eq!(verdict(Quantity::Crates), Verdict::Exact);
    }
}
