//! The results as Markdown, in aligned tables that are readable in a terminal and in a browser.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bench::measure::load::FixedRate;
use bench::measure::stats::Spread;
use bench::measure::table::{counted, digits, table, thousands};

use crate::results::{
    ABOUT_THE_BARS, Figure, Key, Kind, Measured, Quantity, Request, Results, Verdict,
};

/// All of `results.md`, with links to the charts beside it.
pub(crate) fn whole(results: &Results, pictures: &[&str]) -> String {
    let mut text = String::from(
        "<!-- Written by scripts/compare.sh; the next run overwrites changes. -->\n\n\
         # The frameworks, measured\n\n",
    );
    text += &summary(results);
    text += "## How it was measured\n\n";
    text += &origin(results);
    text += &how_to_read(results);
    for picture in pictures {
        let name = picture.trim_end_matches(".svg");
        let _ = write!(text, "![{name}]({picture})\n\n");
    }
    text += &under_load(results);
    text += &fixed_rate(results);
    text += &at_rest(results);
    text += &costs(results);
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// What the summary tells, in its order.
const SUMMARY: [(&str, Quantity); 10] = [
    ("requests per second", Quantity::Throughput),
    ("CPU per request", Quantity::CpuPerRequest),
    ("p99 latency at the same rate", Quantity::FixedRateP99),
    ("start to ready, ms", Quantity::StartToReady),
    ("memory idle, MiB", Quantity::MemoryIdle),
    ("memory under load, MiB", Quantity::MemoryUnderLoad),
    ("memory per connection, KiB", Quantity::MemoryPerConnection),
    ("binary of a bare server, MiB", Quantity::BinarySize),
    ("clean build of a bare server, s", Quantity::CleanBuild),
    ("lines of the adapter", Quantity::AdapterLines),
];

/// The results in ten lines: for a quantity with one figure, its range; for one that was
/// measured under several loads, how many pairs of servers differ.
fn summary(results: &Results) -> String {
    let lines = SUMMARY.iter().filter_map(|(title, quantity)| {
        let figures = results.figures.iter();
        let figures: Vec<&Figure> = figures
            .filter(|figure| figure.key.quantity == *quantity)
            .collect();
        let told = if figures.iter().any(|figure| figure.key.request.is_some()) {
            differing(results, &figures)
        } else {
            range(results, figures.first()?)
        };
        Some(format!("- {title}: {}\n", told?))
    });
    let lines: String = lines.collect();
    format!(
        "## In ten lines\n\n\
         A pair of servers differs if one is *ahead* of the other, as explained below. The other\n\
         lines have the lowest and the highest median.\n\n{lines}\n"
    )
}

/// The frameworks and peers with a figure that is not void.
fn ranked<'a>(results: &Results, figure: &'a Figure) -> impl Iterator<Item = &'a Measured> {
    figure.servers.iter().filter(|one| {
        let mut servers = results.servers.iter();
        let is_ranked = servers.any(|server| server.name == one.name && server.kind.is_ranked());
        is_ranked && one.spread.is_some()
    })
}

/// How many pairs differ, and who was behind how often.
fn differing(results: &Results, figures: &[&Figure]) -> Option<String> {
    let (mut pairs, mut differ) = (0, 0);
    let mut behind: BTreeMap<&str, usize> = BTreeMap::new();
    for figure in figures {
        if figure.verdict == Verdict::TooFewRounds {
            return Some("too few rounds to tell".to_owned());
        }
        let servers: Vec<&Measured> = ranked(results, figure).collect();
        pairs += servers.len() * servers.len().saturating_sub(1) / 2;
        for name in servers.iter().flat_map(|one| &one.ahead_of) {
            differ += 1;
            *behind.entry(name).or_default() += 1;
        }
    }
    let mut behind: Vec<_> = behind.into_iter().collect();
    behind.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    let behind = behind.iter().map(|(name, times)| format!("{name} {times}"));
    let behind: Vec<String> = behind.collect();
    let who = if behind.is_empty() {
        String::new()
    } else {
        format!("; behind: {}", behind.join(", "))
    };
    (pairs > 0).then(|| format!("{differ} of {pairs} pairs differ{who}"))
}

/// The lowest and the highest median, and whose they are.
fn range(results: &Results, figure: &Figure) -> Option<String> {
    let medians = || ranked(results, figure).filter_map(|one| Some((one.spread?.median, one)));
    let (least, lowest) = medians().min_by(|(one, _), (other, _)| one.total_cmp(other))?;
    let (most, highest) = medians().max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    let digits = number_digits(figure.key.quantity, most);
    let number = |number| thousands(number, digits);
    let verdict = match figure.verdict {
        Verdict::Exact | Verdict::Different => String::new(),
        Verdict::NoDifference | Verdict::TooFewRounds => format!("; {figure}"),
    };
    Some(format!(
        "{} ({}) to {} ({}){verdict}",
        number(least),
        lowest.name,
        number(most),
        highest.name
    ))
}

/// The origin of the figures.
fn origin(results: &Results) -> String {
    let machine = &results.machine;
    let shared = if machine.is_virtual {
        ", a virtual machine"
    } else {
        ""
    };
    let memory = machine
        .memory_gib
        .map(|gib| format!(", {gib} GiB of memory"));
    let pinned = match &machine.pinned {
        Some(pinned) => format!(
            "servers on processors {}, load on {}",
            list(&pinned.servers),
            list(&pinned.load)
        ),
        None => "servers and load share all cores; with four or more, they would be separated"
            .to_owned(),
    };
    let commit = results
        .commit
        .as_deref()
        .unwrap_or("none: not a git checkout");
    let dirty = if results.dirty {
        ", with changes that are not committed"
    } else {
        ""
    };
    let load = machine
        .load
        .map_or("unknown".to_owned(), |load| format!("{load}"));
    let versions: Vec<String> = results
        .versions
        .iter()
        .map(
            |(name, version)| match version.strip_prefix(name.as_str()) {
                Some(version) => format!("{name}{version}"),
                None => format!("{name} {version}"),
            },
        )
        .collect();
    let mut lines = vec![
        ("taken", results.taken.clone()),
        ("command", format!("`{}`", results.command)),
        ("commit", format!("{commit}{dirty}")),
        (
            "machine",
            format!(
                "{}, {} cores{}{shared}",
                machine.processor,
                machine.cores,
                memory.unwrap_or_default()
            ),
        ),
        ("cores", pinned),
        ("profile", format!("`{}`", results.settings.profile)),
        ("system", machine.system.clone()),
        ("load before", format!("{load} processes")),
        ("versions", versions.join(", ")),
    ];
    let servers = results.servers.iter();
    lines.extend(servers.map(|server| (server.name.as_str(), format!("`{}`", server.what))));
    let lines = lines
        .iter()
        .map(|(name, value)| format!("- {name}: {value}\n"));
    lines.collect::<String>() + "\n"
}

fn how_to_read(results: &Results) -> String {
    let Results { settings, .. } = results;
    format!(
        "{ABOUT_THE_BARS}\n\n\
         All servers that `compare` starts have the same number of threads: one for each four cores,\n\
         like every service of the shop. *rocket, own server* does the work of the floor on the\n\
         server that Rocket's `launch` starts. Like the floor, it keeps nothing else of the contract\n\
         and is not ranked.\n\n\
         Each figure is the median of {rounds}, with the lowest and the highest in brackets. In a\n\
         round all servers are started anew and measured in turn, in random order (seed {seed});\n\
         each load lasts {seconds} s. *Of floor* is the ratio to hyper without a framework: the\n\
         median of the ratios of each round.\n\n\
         A server is *ahead* of another if a rank test (Mann and Whitney) finds that equal servers\n\
         would differ this much less than once in 400 times. With six rounds, each round of one must\n\
         be better than each round of the other; with ten, one round may be an exception. Otherwise\n\
         the figures show no difference. The floor is not ranked. How the compiler lays out code\n\
         changes such figures by some per cent from one build to the next; the rounds do not show\n\
         that.\n\n",
        rounds = counted(settings.rounds as u64, "round"),
        seed = settings.seed,
        seconds = settings.seconds,
    )
}

fn under_load(results: &Results) -> String {
    let mut text = String::from(
        "## As fast as they can\n\n\
         On each connection, `wrk` sends the next request when it has the answer. The latency is that\n\
         of a busy server: it follows from throughput and the number of connections. CPU is the\n\
         processor time of the server alone, including the kernel.\n\n",
    );
    for request in Request::ALL {
        for connections in &results.settings.connections {
            let figure =
                |quantity| results.figure(Key::under_load(quantity, request, *connections));
            let Some(rate) = figure(Quantity::Throughput) else {
                continue;
            };
            let _ = write!(
                text,
                "### {}, {}\n\n",
                title(request),
                counted(u64::from(*connections), "connection")
            );
            text += &side_by_side(
                results,
                &[
                    Some(rate),
                    figure(Quantity::CpuPerRequest),
                    figure(Quantity::LatencyP50),
                    figure(Quantity::LatencyP99),
                ],
            );
        }
    }
    text
}

fn fixed_rate(results: &Results) -> String {
    let mut text = String::new();
    for (request, rate) in &results.settings.fixed_rates {
        let figure = |quantity| results.figure(Key::at_fixed_rate(quantity, *request));
        let rate = thousands(f64::from(*rate), 0);
        let _ = write!(
            text,
            "### {}, {rate} requests per second\n\n",
            title(*request)
        );
        text += &side_by_side(
            results,
            &[
                figure(Quantity::FixedRateP50),
                figure(Quantity::FixedRateP99),
                figure(Quantity::FixedRateP999),
            ],
        );
    }
    if text.is_empty() {
        return text;
    }
    let tool = &results.settings.fixed_rate_tool;
    let tool = [FixedRate::Oha, FixedRate::Hey]
        .into_iter()
        .find(|one| one.name() == tool);
    let tool = tool.map_or(String::new(), |tool| format!("{tool}\n"));
    format!(
        "## At the same rate\n\n\
         All servers get the same number of requests per second: a quarter of what the slowest\n\
         answered in the first round. This is the latency of a server that is not busy.\n{tool}\n{text}"
    )
}

fn at_rest(results: &Results) -> String {
    let text = "## Start and memory\n\n\
         The start lasts from the start of the process to its first 200 of `GET /health`. Memory is\n\
         resident memory: a second after the start; the highest under a load of reads (created\n\
         products would count for the shop, not for the framework); and the increase for each of\n\
         many idle connections, without the kernel's part.\n\n";
    section(
        results,
        text,
        &[
            Quantity::StartToReady,
            Quantity::MemoryIdle,
            Quantity::MemoryUnderLoad,
            Quantity::MemoryPerConnection,
        ],
    )
}

fn costs(results: &Results) -> String {
    let text = "## What it costs to build\n\n\
         For the smallest server on each framework (`bench/src/`), built without the others and\n\
         without the shop: the stripped binary of the `dist` profile; the number of crates in its\n\
         tree; and `cargo build` from nothing, with everything downloaded, and after a change in a\n\
         handler. Lines are those of the framework's adapter for product-service, which keeps the\n\
         whole contract, without blank lines, comments and tests.\n\n";
    section(
        results,
        text,
        &[
            Quantity::BinarySize,
            Quantity::Crates,
            Quantity::CleanBuild,
            Quantity::IncrementalBuild,
            Quantity::AdapterLines,
        ],
    )
}

/// A text and a table, if any of it was measured.
fn section(results: &Results, text: &str, quantities: &[Quantity]) -> String {
    let figures = quantities
        .iter()
        .map(|quantity| results.figure(Key::of(*quantity)));
    let figures: Vec<_> = figures.collect();
    if figures.iter().all(Option::is_none) {
        return String::new();
    }
    text.to_owned() + &side_by_side(results, &figures)
}

/// A row for each server and a column for each figure, and below, the verdict on each figure.
fn side_by_side(results: &Results, figures: &[Option<&Figure>]) -> String {
    let figures: Vec<&Figure> = figures.iter().flatten().copied().collect();
    let mut head = vec!["server".to_owned()];
    for figure in &figures {
        head.push(figure.key.quantity.title().to_owned());
        head.push("of floor".to_owned());
    }
    let mut rows = Vec::new();
    for server in &results.servers {
        let of_it = |figure: &&Figure| {
            figure
                .servers
                .iter()
                .position(|one| one.name == server.name)
        };
        let measured: Vec<Option<&Measured>> = figures
            .iter()
            .map(|figure| of_it(figure).map(|place| &figure.servers[place]))
            .collect();
        if measured.iter().all(Option::is_none) {
            continue;
        }
        let mut row = vec![server.label()];
        for (one, figure) in measured.into_iter().zip(&figures) {
            let cell = one.map(|one| cell(one, figure.key.quantity));
            row.push(cell.unwrap_or("–".to_owned()));
            let share = one.and_then(|one| one.of_floor);
            let share = share.filter(|_| server.kind != Kind::Floor);
            row.push(share.map_or(String::new(), |share| format!("{share:.2}")));
        }
        rows.push(row);
    }
    let mut text = table(&head, &rows) + "\n";
    for figure in figures {
        if figure.verdict == Verdict::Exact && figure.servers.iter().all(|one| one.void.is_none()) {
            continue;
        }
        let _ = writeln!(text, "- {}: {figure}", figure.key.quantity.title());
    }
    text + "\n"
}

fn cell(measured: &Measured, quantity: Quantity) -> String {
    let Some(Spread {
        median,
        least,
        greatest,
    }) = measured.spread
    else {
        return "VOID".to_owned();
    };
    let digits = number_digits(quantity, greatest);
    let number = |number| thousands(number, digits);
    if measured.samples.len() < 2 {
        return number(median);
    }
    format!(
        "{} ({}–{})",
        number(median),
        number(least),
        number(greatest)
    )
}

/// The decimals of figures of which this is the greatest.
fn number_digits(quantity: Quantity, greatest: f64) -> usize {
    match quantity {
        Quantity::Crates | Quantity::AdapterLines => 0,
        _ => digits(greatest),
    }
}

fn title(request: Request) -> String {
    let title = request.title();
    let (first, rest) = title.split_at(1);
    first.to_uppercase() + rest
}

fn list(numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn a_table_has_each_server_once_with_spread_share_and_verdict() {
        let text = whole(&results(), &["throughput.svg"]);
        let section = text.split("### One product, 32 connections\n\n").nth(1);
        let section = section.and_then(|text| text.split("\n##").next());
        assert_eq!(
            section.expect("the section"),
            "\
| server         |    requests per second | of floor |
| -------------- | ---------------------: | -------: |
| hyper          | 19,000 (18,000–20,000) |          |
| axum           | 14,250 (13,500–15,000) |     0.75 |
| rocket*        |   9,500 (9,000–10,000) |     0.50 |
| warp           | 14,252 (13,365–15,150) |     0.75 |
| 127.0.0.1:9000 |                   VOID |          |

- requests per second: axum and warp ahead of rocket; VOID: 127.0.0.1:9000 (12 of 3,000 requests failed)
"
        );
        for said in [
            "- machine: A processor, 2 cores, 8 GiB of memory, a virtual machine",
            "- command: `scripts/compare.sh --quick`\n",
            "- commit: 0123abc\n",
            "- memory idle, MiB: no difference\n",
            "\n\n![throughput](throughput.svg)\n\n## As fast",
            "hides pauses (coordinated omission)",
            "\n- requests per second: 2 of 3 pairs differ; behind: rocket 2\n",
            "\n- memory idle, MiB: ",
        ] {
            assert!(text.contains(said), "{said} is not in:\n{text}");
        }
        assert!(!text.contains("binary, MiB"), "no section without figures");
    }
}
