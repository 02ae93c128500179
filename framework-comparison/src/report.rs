//! The findings of the probes, as a table, as Markdown or as JSON.

use std::fmt::Write;
use std::iter::once;

use serde_json::{Map, Value, json};

use crate::Framework;
use crate::probes::{Finding, NOT_ASKED};

/// The format of the findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An aligned table for a terminal.
    Table,
    /// A Markdown table for each group.
    Markdown,
    /// An array with an object for each probe.
    Json,
}

impl Format {
    /// The format of this name. The error lists the known names.
    pub fn named(name: &str) -> Result<Self, String> {
        match name {
            "table" => Ok(Self::Table),
            "markdown" => Ok(Self::Markdown),
            "json" => Ok(Self::Json),
            _ => Err(format!(
                "unknown format {name:?}; use table, markdown or json"
            )),
        }
    }

    /// Writes the findings of these frameworks.
    pub fn write(self, frameworks: &[Framework], findings: &[Finding]) -> String {
        match self {
            Self::Table => table(frameworks, findings),
            Self::Markdown => markdown(frameworks, findings),
            Self::Json => json(frameworks, findings),
        }
    }
}

/// The answer of the lab's adapters: the most frequent one, then those that differ, by name.
fn lab(frameworks: &[Framework], finding: &Finding) -> String {
    let count = |cell: &String| finding.lab.iter().filter(|other| *other == cell).count();
    let Some(most) = finding.lab.iter().max_by_key(|cell| count(cell)) else {
        return String::new();
    };
    let others = frameworks.iter().zip(&finding.lab);
    let others = others.filter(|(_, cell)| *cell != most);
    let others = others.map(|(framework, cell)| format!("{}: {cell}", framework.name));
    once(most.clone())
        .chain(others)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The cells of a row.
fn row(frameworks: &[Framework], finding: &Finding) -> Vec<String> {
    let defaults = finding.defaults.iter().cloned();
    once(finding.probe.to_owned())
        .chain(defaults)
        .chain(once(lab(frameworks, finding)))
        .collect()
}

fn heading(frameworks: &[Framework]) -> Vec<String> {
    let names = frameworks.iter().map(|framework| framework.name.to_owned());
    once("probe".to_owned())
        .chain(names)
        .chain(once("the lab".to_owned()))
        .collect()
}

/// The number of probes where each framework by itself answers like its adapter in the lab.
fn by_itself(frameworks: &[Framework], findings: &[Finding]) -> String {
    let asked = || {
        findings
            .iter()
            .filter(|finding| !finding.lab.iter().any(|cell| cell == NOT_ASKED))
    };
    let each = frameworks.iter().enumerate().map(|(place, framework)| {
        let same = asked().filter(|finding| finding.defaults[place] == finding.lab[place]);
        format!("{} {}", framework.name, same.count())
    });
    let each: Vec<_> = each.collect();
    format!(
        "Of {} probes, each framework by itself answers like the lab in: {}.\n\
         {NOT_ASKED}: no route of the lab panics. In the tests one does, and the answer is 500 JSON.",
        asked().count(),
        each.join(", ")
    )
}

fn table(frameworks: &[Framework], findings: &[Finding]) -> String {
    let rows: Vec<_> = findings
        .iter()
        .map(|finding| row(frameworks, finding))
        .collect();
    let heading = heading(frameworks);
    let widths: Vec<_> = (0..heading.len())
        .map(|column| {
            let cells = rows.iter().chain([&heading]).map(|row| row[column].len());
            cells.max().unwrap_or_default()
        })
        .collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut text = format!("{}\n", line(&heading));
    let mut group = "";
    for (finding, row) in findings.iter().zip(&rows) {
        if finding.group != group {
            group = finding.group;
            let _ = writeln!(text, "\n{group}");
        }
        let _ = writeln!(text, "{}", line(row));
    }
    let _ = writeln!(text, "\n{}", by_itself(frameworks, findings));
    text
}

fn markdown(frameworks: &[Framework], findings: &[Finding]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = String::new();
    let mut group = "";
    for finding in findings {
        if finding.group != group {
            group = finding.group;
            let heading = heading(frameworks);
            let rule = vec!["---".to_owned(); heading.len()];
            let _ = write!(text, "### {group}\n\n{}{}", line(&heading), line(&rule));
        }
        text.push_str(&line(&row(frameworks, finding)));
        if findings
            .iter()
            .rfind(|other| other.group == group)
            .map(|last| last.probe)
            == Some(finding.probe)
        {
            text.push('\n');
        }
    }
    let _ = writeln!(text, "{}", by_itself(frameworks, findings));
    text
}

fn json(frameworks: &[Framework], findings: &[Finding]) -> String {
    let each = |cells: &[String]| -> Map<String, Value> {
        let names = frameworks.iter().map(|framework| framework.name.to_owned());
        names.zip(cells.iter().map(|cell| json!(cell))).collect()
    };
    let findings: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "group": finding.group,
                "probe": finding.probe,
                "defaults": each(&finding.defaults),
                "lab": each(&finding.lab),
            })
        })
        .collect();
    format!("{:#}\n", Value::from(findings))
}
