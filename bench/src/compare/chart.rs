//! The results as charts: a dot for each round, a bar from the lowest to the highest, and a line
//! at the median. If two bars overlap, the servers may be equal.
//!
//! The SVG is written by hand. A chart library would add axes and colours, but these must be
//! readable on white and on black, which a style sheet in the picture solves.

use std::fmt::Write as _;

use bench::measure::table::{counted, digits, thousands};

use crate::results::{ABOUT_THE_BARS, Figure, Key, Kind, Quantity, Request, Results, Server};

/// Pixels.
const NAME: f64 = 124.0;
const PANEL: f64 = 270.0;
const GAP: f64 = 34.0;
const ROW: f64 = 17.0;
const HEAD: f64 = 74.0;
const PANEL_HEAD: f64 = 30.0;
const PANEL_FOOT: f64 = 30.0;

/// A grid of panels, one for each figure, with the same servers in each.
struct Grid<'a> {
    title: &'a str,
    /// A note for the reader.
    note: String,
    /// The panels of each line, with their heading and figure.
    lines: Lines<'a>,
}

/// All charts that have figures: file names and contents.
pub(crate) fn all(results: &Results) -> Vec<(String, String)> {
    let grid = |title, better, lines| Grid {
        title,
        note: format!(
            "{better} is better. A dot for each round, a bar from the lowest to the highest, a line at the median."
        ),
        lines,
    };
    let memory = [
        Quantity::MemoryIdle,
        Quantity::MemoryUnderLoad,
        Quantity::MemoryPerConnection,
        Quantity::StartToReady,
    ];
    let cost = [
        Quantity::BinarySize,
        Quantity::Crates,
        Quantity::AdapterLines,
        Quantity::CleanBuild,
        Quantity::IncrementalBuild,
    ];
    let throughput = under_load(results, Quantity::Throughput);
    let cpu = under_load(results, Quantity::CpuPerRequest);
    let latency = at_fixed_rate(results);
    let charts = [
        (
            "throughput",
            grid("Requests per second", "More", throughput),
        ),
        ("cpu", grid("CPU per request, in microseconds", "Less", cpu)),
        (
            "latency",
            grid("Latency at the same rate, in milliseconds", "Less", latency),
        ),
        (
            "memory",
            grid("Start and memory", "Less", by_themselves(results, &memory)),
        ),
        (
            "cost",
            grid(
                "What it costs to build",
                "Less",
                by_themselves(results, &cost),
            ),
        ),
    ];
    charts
        .into_iter()
        .filter(|(_, grid)| !grid.lines.is_empty())
        .map(|(name, grid)| (format!("{name}.svg"), draw(&grid, results)))
        .collect()
}

type Lines<'a> = Vec<Vec<(String, &'a Figure)>>;

/// A line for each request, a panel for each number of connections.
fn under_load(results: &Results, quantity: Quantity) -> Lines<'_> {
    let panel = |request: Request, count: u32| {
        let heading = format!(
            "{}, {}",
            request.title(),
            counted(u64::from(count), "connection")
        );
        let figure = results.figure(Key::under_load(quantity, request, count))?;
        Some((heading, figure))
    };
    let line = |request| {
        let counts = results.settings.connections.iter();
        counts.filter_map(|count| panel(request, *count)).collect()
    };
    let lines = Request::ALL.into_iter().map(line);
    let lines: Lines<'_> = lines.filter(|line: &Vec<_>| !line.is_empty()).collect();
    if lines.iter().all(|line| line.len() == 1) {
        return in_lines(&lines.concat());
    }
    lines
}

/// Panels in no particular order, three in a line.
fn in_lines<'a>(panels: &[(String, &'a Figure)]) -> Lines<'a> {
    panels.chunks(3).map(<[_]>::to_vec).collect()
}

/// A line for each request, a panel for each percentile.
fn at_fixed_rate(results: &Results) -> Lines<'_> {
    let percentiles = [
        (Quantity::FixedRateP50, "p50"),
        (Quantity::FixedRateP99, "p99"),
        (Quantity::FixedRateP999, "p99.9"),
    ];
    let line = |(request, rate): (&Request, &u32)| {
        let rate = thousands(f64::from(*rate), 0);
        let panel = |(quantity, name)| {
            let heading = format!("{}, {rate}/s: {name}", request.title());
            Some((
                heading,
                results.figure(Key::at_fixed_rate(quantity, *request))?,
            ))
        };
        percentiles.into_iter().filter_map(panel).collect()
    };
    results.settings.fixed_rates.iter().map(line).collect()
}

/// A panel for each of these quantities.
fn by_themselves<'a>(results: &'a Results, quantities: &[Quantity]) -> Lines<'a> {
    let panel = |quantity: &Quantity| {
        let figure = results.figure(Key::of(*quantity))?;
        Some((quantity.title().to_owned(), figure))
    };
    let panels: Vec<_> = quantities.iter().filter_map(panel).collect();
    in_lines(&panels)
}

fn draw(grid: &Grid<'_>, results: &Results) -> String {
    let servers: Vec<&Server> = results
        .servers
        .iter()
        .filter(|server| {
            let mut figures = grid.lines.iter().flatten();
            figures.any(|(_, figure)| figure.servers.iter().any(|one| one.name == server.name))
        })
        .collect();
    let columns = grid.lines.iter().map(Vec::len).max().unwrap_or(0);
    // Wide enough for the note, too.
    let width = NAME + whole(columns.max(2)) * (PANEL + GAP);
    let panel = PANEL_HEAD + whole(servers.len()) * ROW + PANEL_FOOT;
    let height = HEAD + whole(grid.lines.len()) * panel + 4.0;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{title}">
<style>
  svg {{ font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif }}
  .title {{ font-size: 16px; font-weight: 600 }} .head {{ font-weight: 600 }} .soft {{ font-size: 11px }}
  .bar {{ fill: currentColor; opacity: .28 }} .dot {{ fill: currentColor; opacity: .6 }} .median {{ stroke: currentColor; stroke-width: 3 }}
  .paper {{ fill: #fff }} text {{ fill: #1f2328 }} text.soft {{ fill: #59636e }} .rule {{ stroke: #d9dee3 }}
  .framework {{ color: #0b62c4 }} .peer {{ color: #a8480a }} .floor {{ color: #6e7781 }}
  @media (prefers-color-scheme: dark) {{
    .paper {{ fill: #0d1117 }} text {{ fill: #f0f6fc }} text.soft {{ fill: #9da7b1 }} .rule {{ stroke: #2f363e }}
    .framework {{ color: #6cb0ff }} .peer {{ color: #ffa057 }} .floor {{ color: #9da7b1 }}
  }}
</style>
<rect class="paper" width="100%" height="100%"/>
<text class="title" x="12" y="24">{title}</text>
<text class="soft" x="12" y="43">{note}</text>
<text class="soft" x="12" y="59">{about}</text>
"#,
        title = escaped(grid.title),
        note = escaped(&grid.note),
        about = escaped(ABOUT_THE_BARS),
    );
    for (row, line) in grid.lines.iter().enumerate() {
        let top = HEAD + whole(row) * panel + PANEL_HEAD;
        for (place, server) in servers.iter().enumerate() {
            let (x, y) = (NAME - 12.0, top + whole(place) * ROW + 12.0);
            let name = escaped(&shortened(&server.label()));
            let _ = writeln!(
                svg,
                r#"<text x="{x}" y="{y}" text-anchor="end">{name}</text>"#
            );
        }
        for (column, (heading, figure)) in line.iter().enumerate() {
            let left = NAME + whole(column) * (PANEL + GAP);
            draw_panel(&mut svg, left, top, heading, figure, &servers);
        }
    }
    svg + "</svg>\n"
}

/// Draws one figure, on an axis from 0 to beyond its highest value.
fn draw_panel(
    svg: &mut String,
    left: f64,
    top: f64,
    heading: &str,
    figure: &Figure,
    servers: &[&Server],
) {
    let spreads = figure.servers.iter().filter_map(|one| one.spread);
    let greatest = spreads.map(|spread| spread.greatest).fold(0.0, f64::max);
    let step = step(greatest);
    let steps = (greatest / step).ceil().max(1.0);
    let at = |number: f64| left + (number / (steps * step) * PANEL).max(0.0);
    let bottom = top + whole(servers.len()) * ROW;
    let decimals = [1.0, 0.1].into_iter().filter(|most| step < *most).count();

    let head = top - 9.0;
    let heading = escaped(heading);
    let _ = writeln!(
        svg,
        r#"<text class="head" x="{left}" y="{head}">{heading}</text>"#
    );
    let mut mark = 0.0;
    while mark <= steps {
        let (x, number) = (at(mark * step), mark * step);
        let label = thousands(number, decimals);
        let (foot, label_at) = (bottom + 3.0, bottom + 16.0);
        let _ = writeln!(
            svg,
            r#"<line class="rule" x1="{x:.1}" y1="{top}" x2="{x:.1}" y2="{foot}"/><text class="soft" x="{x:.1}" y="{label_at}" text-anchor="middle">{label}</text>"#
        );
        mark += 1.0;
    }
    for (place, server) in servers.iter().enumerate() {
        let Some(measured) = figure.servers.iter().find(|one| one.name == server.name) else {
            continue;
        };
        let (y, text_y) = (top + whole(place) * ROW, top + whole(place) * ROW + 12.0);
        let Some(spread) = measured.spread else {
            let x = left + 4.0;
            let _ = writeln!(
                svg,
                r#"<text class="soft" x="{x}" y="{text_y}">void</text>"#
            );
            continue;
        };
        let class = match server.kind {
            Kind::Floor | Kind::OwnServer => "floor",
            Kind::Framework => "framework",
            Kind::Peer => "peer",
        };
        let number = |number| thousands(number, digits(spread.greatest));
        let _ = writeln!(
            svg,
            r#"<g class="{class}"><title>{name}: {median} ({least}–{greatest})</title>"#,
            name = escaped(&server.label()),
            median = number(spread.median),
            least = number(spread.least),
            greatest = number(spread.greatest),
        );
        let (from, to) = (at(spread.least), at(spread.greatest));
        let (long, bar, middle) = (to - from, y + 4.0, y + 8.5);
        let _ = writeln!(
            svg,
            r#"<rect class="bar" x="{from:.1}" y="{bar}" width="{long:.1}" height="9" rx="2"/>"#
        );
        for sample in &measured.samples {
            let x = at(*sample);
            let _ = writeln!(
                svg,
                r#"<circle class="dot" cx="{x:.1}" cy="{middle}" r="2"/>"#
            );
        }
        let (x, low, high) = (at(spread.median), y + 2.0, y + 15.0);
        let _ = writeln!(
            svg,
            r#"<line class="median" x1="{x:.1}" y1="{low}" x2="{x:.1}" y2="{high}"/></g>"#
        );
    }
}

/// A step of 1, 2 or 5 times a power of ten, three to six of which reach `greatest`.
fn step(greatest: f64) -> f64 {
    if greatest <= 0.0 {
        return 1.0;
    }
    let rough = greatest / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(power)
}

/// A name that fits beside a panel.
fn shortened(name: &str) -> String {
    const MOST: usize = 18;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A count as a coordinate.
fn whole(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let count = count as f64;
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn a_chart_has_a_dot_for_each_round_of_each_server_and_marks_void_figures() {
        let charts = all(&results());
        let names: Vec<&str> = charts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["throughput.svg", "latency.svg", "memory.svg", "cost.svg"]
        );
        let (_, svg) = &charts[0];
        // Four servers of six rounds; the fifth is void.
        assert_eq!(svg.matches("class=\"dot\"").count(), 4 * 6);
        assert_eq!(svg.matches("class=\"median\"").count(), 4);
        assert_eq!(svg.matches(">void<").count(), 1);
        assert!(svg.contains("<title>axum: 14,250 (13,500–15,000)</title>"));
        assert!(svg.contains("prefers-color-scheme: dark"));
        assert!(svg.contains(">rocket*</text>") && svg.contains(ABOUT_THE_BARS));
    }

    #[test]
    fn no_value_lies_beyond_the_end_of_an_axis() {
        for greatest in [0.004, 0.9, 1.0, 7.0, 99.0, 12_345.0, 50_000.0] {
            let step = step(greatest);
            let steps = (greatest / step).ceil();
            assert!(
                (2.0..=6.0).contains(&steps),
                "{greatest}: {steps} of {step}"
            );
        }
    }

    #[test]
    fn names_of_peers_are_escaped() {
        assert_eq!(escaped("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert_eq!(shortened("axum at 127.0.0.1:9000"), "axum at 127.0.0.1…");
    }
}
