//! The result of a check.

use std::fmt::{self, Display};

/// All requests of a check, and their results.
#[derive(Clone, Debug, Default)]
pub struct Report {
    cases: Vec<Case>,
}

/// A request and its result.
#[derive(Clone, Debug)]
pub struct Case {
    /// The request.
    pub asked: String,
    /// The summary of the response.
    pub came: String,
    /// The expected summary.
    pub expected: String,
    /// Whether the response is right.
    pub is_good: bool,
}

impl Report {
    /// Adds a case, which is right if `came` equals `expected`.
    pub fn expect(&mut self, asked: &str, came: String, expected: impl Into<String>) {
        let expected = expected.into();
        let is_good = came == expected;
        self.note(asked, came, expected, is_good);
    }

    /// Adds a case that may have several right answers.
    pub fn note(&mut self, asked: &str, came: String, expected: impl Into<String>, is_good: bool) {
        self.cases.push(Case {
            asked: asked.to_owned(),
            came,
            expected: expected.into(),
            is_good,
        });
    }

    /// The number of cases.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there are no cases.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// The cases that are wrong.
    pub fn wrong(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| !case.is_good)
    }
}

/// A line for each case. A wrong case also shows the actual and the expected answer.
impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.cases.iter().map(|case| case.asked.chars().count());
        let width = width.max().unwrap_or(0);
        for Case {
            asked,
            came,
            expected,
            is_good,
        } in &self.cases
        {
            if *is_good {
                writeln!(f, "  ok    {asked:width$}  {came}")?;
            } else {
                writeln!(f, "  FAIL  {asked}")?;
                writeln!(f, "        came      {came}")?;
                writeln!(f, "        expected  {expected}")?;
            }
        }
        Ok(())
    }
}
