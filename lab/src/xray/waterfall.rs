//! A trace as a waterfall: a row for each request, with a bar for its time.
//!
//! ```text
//! gateway POST /api/orders            ━━━━━━━━━━━━━━━━━━━━━━━━    8.13 201
//! └ order POST /api/orders              ━━━━━━━━━━━━━━━━━━━━━     6.37 201
//!   ├ user GET /api/users/{id}           ─━━━━━─                  2.94 200
//! ```

use std::collections::HashSet;

use crate::xray::screen::{Hue, Ink, Line, Style, fitting, folded, milliseconds, path_in};
use crate::xray::trace::{Kind, Row, Span, Trace, in_words, short};

/// Where the bars are, and how long they can be.
const BAR: usize = 36;
const BAR_WIDTH: usize = 24;

/// Where the duration ends, and where the outcome begins.
const MS_END: usize = BAR + BAR_WIDTH + 8;
const OUTCOME: usize = MS_END + 1;
const OUTCOME_WIDTH: usize = 11;

/// The deepest row that is indented further.
const DEEPEST: usize = 8;

/// A gap that a note tells: this long, this share of the call, and this share of the trace.
const GAP_MS: f64 = 20.0;
const GAP_OF_CALL: f64 = 0.5;
const GAP_OF_ALL: f64 = 0.1;

/// The trace as lines of text.
pub fn draw(trace: &Trace, style: Style) -> String {
    let rows = trace.rows();
    let mut text = heading(trace, style);
    text.push('\n');
    text.push_str(&ruler(trace.duration_ms, style));
    let mut guides = Guides::default();
    for row in &rows {
        let before = guides.before(row, style);
        text.push_str(&line(row, &before, trace.duration_ms, style));
        let below = guides.below(style);
        for note in notes(row, trace.duration_ms) {
            for part in folded(&note, 78_usize.saturating_sub(below.chars().count())) {
                let line = Line::new(style).add(Ink::Dim, &below);
                text.push_str(&line.add(Ink::Yellow, &part).end());
            }
        }
    }
    text.push('\n');
    text.push_str(&legend(&rows, style));
    text.push_str(&remarks(trace, style));
    text
}

/// What the trace is about.
pub(super) fn heading(trace: &Trace, style: Style) -> String {
    let root = trace.spans.first();
    let services: HashSet<_> = trace.spans.iter().map(|span| &*span.service).collect();
    let outcome = root.map_or_else(String::new, Span::outcome);
    let wrong = root.is_some_and(Span::went_wrong);
    let took = format!(
        " after {} ms",
        milliseconds(root.map_or(0.0, |root| root.duration_ms))
    );
    let mut text = Line::new(style)
        .add(Ink::Bold, root.map_or("", |root| &root.name))
        .add(Ink::Plain, "  ")
        .add(if wrong { Ink::Red } else { Ink::Bold }, &outcome)
        .add(Ink::Plain, &took)
        .end();
    let plural =
        |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let counted = format!(
        "{}, {}",
        plural(trace.cut.map_or(trace.spans.len(), |cut| cut.of), "span"),
        plural(services.len(), "service")
    );
    let created = trace
        .spans
        .iter()
        .find_map(|span| span.attributes.created.as_deref());
    let facts = [
        Some(("request", &*trace.request_id, Some(&*trace.start))),
        Some(("trace", &*trace.trace_id, Some(&*counted))),
        created.map(|path| ("created", path, None)),
    ];
    for (what, value, beside) in facts.into_iter().flatten() {
        let line = Line::new(style).add(Ink::Dim, what).to(9);
        let line = line.add(Ink::Plain, value);
        let line = match beside {
            // A long id has the line for itself.
            Some(beside) if value.chars().count() < 44 => line.to(55).add(Ink::Dim, beside),
            _ => line,
        };
        text.push_str(&line.end());
    }
    text
}

/// The times above the bars.
fn ruler(total_ms: f64, style: Style) -> String {
    let middle = milliseconds(total_ms / 2.0);
    let last = milliseconds(total_ms);
    Line::new(style)
        .to(BAR)
        .add(Ink::Dim, "0")
        .to(BAR + BAR_WIDTH / 2 - middle.len() / 2)
        .add(Ink::Dim, &middle)
        .to(BAR + BAR_WIDTH - last.len())
        .add(Ink::Dim, &last)
        .to(MS_END - 2)
        .add(Ink::Dim, "ms")
        .end()
}

fn line(row: &Row<'_>, before: &str, total_ms: f64, style: Style) -> String {
    let named = row.named();
    let service = row.span.worker();
    let attempt = row.span.attributes.attempt.filter(|number| *number > 1);
    let attempt = attempt.map_or_else(String::new, |number| format!(" #{number}"));
    let is_call = named.kind == Kind::Client;
    let name = if is_call {
        // There is no request that says more.
        " call".to_owned()
    } else {
        format!(" {}", named.name)
    };
    let hue = Ink::Of(Hue::of(service));
    let mut line = Line::new(style);
    let mut left = BAR - 1;
    for (ink, text) in [
        (Ink::Dim, before),
        (hue, short(service)),
        (Ink::Bold, &attempt),
        (if is_call { Ink::Dim } else { Ink::Plain }, &name),
    ] {
        let text = fitting(&path_in(text, left), left, style);
        left -= text.chars().count();
        line = line.add(ink, &text);
    }
    let bar = Bar::of(row, total_ms);
    line = line.to(BAR + bar.from);
    for (ink, part) in bar.parts(style, hue) {
        line = line.add(ink, &part);
    }
    let ms = if row.span.attributes.not_made.is_some() {
        style.glyphs().none.to_owned()
    } else {
        milliseconds(row.span.duration_ms)
    };
    let wrong = row.span.went_wrong();
    let outcome = fitting(&row.span.outcome(), OUTCOME_WIDTH, style);
    line.to(MS_END - ms.chars().count())
        .add(Ink::Plain, &ms)
        .to(OUTCOME)
        .add(if wrong { Ink::Red } else { Ink::Plain }, &outcome)
        .end()
}

/// A bar in columns: from where to where, and in which part of it the service works.
struct Bar {
    from: usize,
    to: usize,
    work: Option<(usize, usize)>,
    wrong: bool,
}

impl Bar {
    fn of(row: &Row<'_>, total_ms: f64) -> Self {
        let (from, to) = columns(row.span, total_ms);
        let worked = match (row.answer, row.span.kind) {
            (Some(answer), _) => Some(columns(answer, total_ms)),
            (None, Kind::Server) => Some((from, to)),
            (None, Kind::Client) => None,
        };
        Self {
            from,
            to,
            work: worked.map(|(first, last)| {
                let first = first.clamp(from, to - 1);
                (first, last.clamp(first + 1, to))
            }),
            wrong: row.span.went_wrong(),
        }
    }

    fn parts(&self, style: Style, hue: Ink) -> Vec<(Ink, String)> {
        let glyphs = style.glyphs();
        let many = |glyph: char, count: usize| glyph.to_string().repeat(count);
        // Where it went wrong is where it ended.
        let to = if self.wrong { self.to - 1 } else { self.to };
        let (first, last) = self.work.unwrap_or((to, to));
        let (first, last) = (first.min(to), last.min(to));
        let mut parts = vec![
            (Ink::Dim, many(glyphs.wait, first - self.from)),
            (hue, many(glyphs.work, last - first)),
            (Ink::Dim, many(glyphs.wait, to - last)),
        ];
        if self.wrong {
            parts.push((Ink::Red, glyphs.fail.to_string()));
        }
        parts
    }
}

/// The columns of a span: one at least.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a column from 0 to 24; what is beyond, or no number, is at an end"
)]
fn columns(span: &Span, total_ms: f64) -> (usize, usize) {
    let column = |ms: f64| (ms / total_ms * BAR_WIDTH as f64).clamp(0.0, BAR_WIDTH as f64);
    let from = (column(span.offset_ms).floor() as usize).min(BAR_WIDTH - 1);
    let to = column(span.end_ms()).ceil() as usize;
    (from, to.clamp(from + 1, BAR_WIDTH))
}

/// What a row needs besides its line.
fn notes(row: &Row<'_>, total_ms: f64) -> Vec<String> {
    let (span, named) = (row.span, row.named());
    let mut notes = Vec::new();
    notes.extend(span.why_not_made());
    let was_made = span.attributes.not_made.is_none();
    match span.attributes.circuit.as_deref() {
        Some("closed") | None => {}
        Some("half_open") if was_made => {
            notes.push("circuit is half open: this call finds out whether to close it".to_owned());
        }
        Some(state) if was_made => notes.push(format!("circuit is {}", in_words(state))),
        Some(_) => {}
    }
    if let Some(gap) = named.gap_ms
        && gap >= GAP_MS
        && gap >= GAP_OF_CALL * span.duration_ms
        && gap >= GAP_OF_ALL * total_ms
    {
        notes.push(format!(
            "{} ms of it outside of {}: connecting, or in a queue",
            milliseconds(gap),
            short(&named.service)
        ));
    }
    if span.parent_missing {
        notes.push("whoever called it is missing: no service has that span".to_owned());
    }
    notes
}

/// The lines beside the tree.
#[derive(Default)]
struct Guides {
    /// For each depth, whether further rows of that depth follow.
    open: Vec<bool>,
}

impl Guides {
    /// What is before the name of `row`.
    fn before(&mut self, row: &Row<'_>, style: Style) -> String {
        self.open.truncate(row.depth);
        let mut text = self.lines(style);
        if row.depth > 0 {
            let glyphs = style.glyphs();
            text.push_str(if row.is_last {
                glyphs.last
            } else {
                glyphs.child
            });
        }
        self.open.push(!row.is_last);
        text
    }

    /// What is before a note on the row that `before` was called with: its own line goes on.
    fn below(&self, style: Style) -> String {
        self.lines(style) + "  "
    }

    /// The lines of the rows above, from depth 1 on: roots have none.
    fn lines(&self, style: Style) -> String {
        let above = self.open.iter().skip(1).take(DEEPEST);
        let line = |is_open: &bool| if *is_open { style.glyphs().line } else { "  " };
        above.map(line).collect()
    }
}

/// What the characters mean that are there.
fn legend(rows: &[Row<'_>], style: Style) -> String {
    let glyphs = style.glyphs();
    let any = |test: fn(&Row<'_>) -> bool| rows.iter().any(test);
    let parts = [
        Some(format!("{} the service works", glyphs.work)),
        any(|row| row.span.kind == Kind::Client)
            .then(|| format!("{} its caller waits", glyphs.wait)),
        any(|row| row.span.went_wrong()).then(|| format!("{} failed", glyphs.fail)),
        any(|row| row.span.attributes.attempt.is_some_and(|number| number > 1))
            .then(|| "#2 the second attempt".to_owned()),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    Line::new(style).add(Ink::Dim, &parts.join("   ")).end()
}

/// What is missing, and what was corrected.
pub(super) fn remarks(trace: &Trace, style: Style) -> String {
    let mut remarks = Vec::new();
    if let Some(cut) = trace.cut {
        remarks.push(format!("Only {} of {} spans are shown.", cut.shown, cut.of));
    }
    if !trace.unavailable.is_empty() {
        let these = trace.unavailable.join(", ");
        remarks.push(format!(
            "Could not be asked, so their spans are missing: {these}."
        ));
    }
    let mut seen = HashSet::new();
    for span in &trace.spans {
        if span.shifted_ms != 0.0 && seen.insert(&span.service) {
            let (by, direction) = if span.shifted_ms < 0.0 {
                (-span.shifted_ms, "ahead")
            } else {
                (span.shifted_ms, "behind")
            };
            let by = if by < 10_000.0 {
                format!("{} ms", milliseconds(by))
            } else {
                format!("{:.0} s", (by / 1e3).min(1e12))
            };
            let service = &span.service;
            remarks.push(format!(
                "The clock of {service} is {by} {direction}: corrected."
            ));
        }
    }
    let mut text = String::new();
    for remark in remarks.iter().flat_map(|remark| folded(remark, 80)) {
        text.push_str(&Line::new(style).add(Ink::Yellow, &remark).end());
    }
    text
}
