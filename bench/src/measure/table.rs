//! Tables and numbers as people read them.

use std::fmt::Write as _;

/// Decimals that a number of this size is worth.
pub fn digits(number: f64) -> usize {
    match number {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    }
}

/// A number with a comma between thousands.
pub fn thousands(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

/// A number of things: `1 round`, `2 rounds`.
pub fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// A Markdown table: the first column to the left, the others to the right, unless
/// there are but two.
pub fn table<R: AsRef<[String]>>(head: &[impl AsRef<str>], rows: &[R]) -> String {
    let head: Vec<&str> = head.iter().map(AsRef::as_ref).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row.as_ref()[column].chars().count());
        cells
            .chain([head[column].chars().count(), 3])
            .max()
            .unwrap_or(3)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let is_left = |column: usize| column == 0 || head.len() == 2;
    let line = |cells: &[&str]| {
        let mut line = String::from("|");
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            let _ = if is_left(column) {
                write!(line, " {cell:<width$} |")
            } else {
                write!(line, " {cell:>width$} |")
            };
        }
        line + "\n"
    };
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| {
            let last = if is_left(column) { "-" } else { ":" };
            "-".repeat(*width - 1) + last
        })
        .collect();
    let mut text = line(&head);
    text += &line(&rule.iter().map(String::as_str).collect::<Vec<_>>());
    for row in rows {
        text += &line(&row.as_ref().iter().map(String::as_str).collect::<Vec<_>>());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        for (number, digits, expected) in [
            (0.0, 0, "0"),
            (999.4, 0, "999"),
            (1000.0, 0, "1,000"),
            (1_234_567.8, 1, "1,234,567.8"),
            (-1234.0, 0, "-1,234"),
        ] {
            assert_eq!(thousands(number, digits), expected);
        }
    }
}
