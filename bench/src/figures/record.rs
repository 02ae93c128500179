//! The numbers of a section: raw in a file, medians in a table.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;

use bench::Failed;
use bench::measure::load::{Loaded, Paced};
use bench::measure::stats::Spread;
use bench::measure::table::{digits, table, thousands};

use crate::lab::Lab;

/// How a column shows its numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Show {
    /// Only the median.
    Median,
    /// The median, the lowest and the highest.
    Spread,
}

/// The numbers of a section, by row and column.
#[derive(Debug)]
pub(crate) struct Record {
    /// A line for each number: row, column, number.
    raw: File,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    columns: Vec<(&'static str, Vec<f64>)>,
    /// Why its figures are void, if they are.
    void: Option<String>,
}

impl Record {
    /// Prints the heading; the raw numbers go to a file named after the section.
    pub(crate) fn open(lab: &mut Lab, title: &str, text: &str) -> Result<Self, Failed> {
        let path = lab.scratch.join(format!("{}.tsv", lab.progress.stage));
        lab.progress.done();
        lab.tell(&format!("\n## {title}\n\n{}\n\n", wrapped(text)))?;
        let raw = File::create(&path)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        Ok(Self {
            raw,
            rows: Vec::new(),
        })
    }

    pub(crate) fn add(
        &mut self,
        row: &str,
        column: &'static str,
        number: f64,
    ) -> Result<(), Failed> {
        writeln!(self.raw, "{row}\t{column}\t{number:.4}")?;
        let columns = &mut self.row(row).columns;
        match columns.iter_mut().find(|(name, _)| *name == column) {
            Some((_, numbers)) => numbers.push(number),
            None => columns.push((column, vec![number])),
        }
        Ok(())
    }

    /// Marks the figures of this row as void if requests failed.
    pub(crate) fn check(&mut self, row: &str, loaded: &Loaded) {
        if let Some(void) = loaded.void() {
            self.row(row).void = Some(void);
        }
    }

    /// The same for a load at a fixed rate, which also fails if it does not reach the rate.
    pub(crate) fn check_rate(&mut self, row: &str, paced: &Paced, rate: u32) {
        if let Some(void) = paced.void(rate) {
            self.row(row).void = Some(void);
        }
    }

    fn row(&mut self, name: &str) -> &mut Row {
        let place = self.rows.iter().position(|row| row.name == name);
        let place = place.unwrap_or_else(|| {
            self.rows.push(Row {
                name: name.to_owned(),
                columns: Vec::new(),
                void: None,
            });
            self.rows.len() - 1
        });
        &mut self.rows[place]
    }

    /// Prints the table, and counts the void figures.
    pub(crate) fn print(
        &self,
        lab: &mut Lab,
        head: &str,
        columns: &[(&'static str, Show)],
    ) -> Result<(), Failed> {
        lab.progress.done();
        lab.voids += self.rows.iter().filter(|row| row.void.is_some()).count();
        lab.tell(&self.table(head, columns))
    }

    /// Prints another table of the same rows.
    pub(crate) fn print_also(
        &self,
        lab: &mut Lab,
        head: &str,
        columns: &[(&'static str, Show)],
    ) -> Result<(), Failed> {
        lab.tell(&format!("\n{}", self.table(head, columns)))
    }

    fn table(&self, head: &str, columns: &[(&'static str, Show)]) -> String {
        let mut heads = vec![head];
        heads.extend(columns.iter().map(|(name, _)| *name));
        let cells = |row: &Row| {
            let mut cells = vec![row.name.clone()];
            cells.extend(columns.iter().map(|(name, show)| row.cell(name, *show)));
            cells
        };
        let rows: Vec<Vec<String>> = self.rows.iter().map(cells).collect();
        let mut text = table(&heads, &rows);
        for row in &self.rows {
            if let Some(void) = &row.void {
                let _ = writeln!(text, "VOID: {}: {void}", row.name);
            }
        }
        text
    }
}

impl Row {
    fn cell(&self, column: &str, show: Show) -> String {
        if self.void.is_some() {
            return "VOID".to_owned();
        }
        let numbers = self.columns.iter().find(|(name, _)| *name == column);
        let spread = numbers.and_then(|(_, numbers)| Spread::of(numbers));
        let Some(spread) = spread else {
            return "–".to_owned();
        };
        let (least, greatest) = (spread.least, spread.greatest);
        let written = |number| thousands(number, digits(greatest));
        let median = written(spread.median);
        match show {
            Show::Spread if least < greatest => {
                format!("{median} ({}–{})", written(least), written(greatest))
            }
            Show::Median | Show::Spread => median,
        }
    }
}

/// Wraps a text at 80 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line + 1 + word.chars().count() > 80 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            let space = if line.is_empty() { "" } else { " " };
            line.push_str(space);
            line.push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_a_terminal() {
        let text = "Requests a second, beside nginx. ".repeat(9);
        let wrapped = wrapped(&text);
        assert!(wrapped.lines().all(|line| (60..=80).contains(&line.len())));
        assert!(wrapped.split_whitespace().eq(text.split_whitespace()));
    }

    #[test]
    fn a_table_has_medians_spreads_and_void_figures_and_fits_a_terminal() {
        let mut record = Record {
            raw: File::create("/dev/null").expect("opens"),
            rows: Vec::new(),
        };
        for ratio in [1.72, 1.60, 1.85] {
            record.add("one user", "ratio", ratio).expect("is written");
            record.add("one user", "a second", 12_345.6).expect("is");
        }
        record.add("orders", "ratio", 23.25).expect("is written");
        let failed = Loaded {
            requests: 100,
            seconds: 1.0,
            failed: 3,
            p50_ms: 1.0,
            p99_ms: 2.0,
        };
        record.check("one product", &failed);
        let columns = [("a second", Show::Median), ("ratio", Show::Spread)];
        assert_eq!(
            record.table("request", &columns),
            "\
| request     | a second |            ratio |
| ----------- | -------: | ---------------: |
| one user    |   12,346 | 1.72 (1.60–1.85) |
| orders      |        – |             23.2 |
| one product |     VOID |             VOID |
VOID: one product: 3 of 100 requests failed
"
        );
    }
}
