//! What a check has found.

use std::fmt::{self, Display};

/// All that was asked of a program, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    cases: Vec<Case>,
}

/// One thing that was asked.
#[derive(Clone, Debug)]
pub struct Case {
    /// What was asked.
    pub asked: String,
    /// What came.
    pub came: String,
    /// What was expected.
    pub expected: String,
    /// Whether the two agree.
    pub is_good: bool,
}

impl Report {
    /// Notes what was asked, what came and what should have.
    pub fn expect(&mut self, asked: &str, came: String, expected: impl Into<String>) {
        let expected = expected.into();
        let is_good = came == expected;
        self.note(asked, came, expected, is_good);
    }

    /// The same where what came may be one of several things.
    pub fn note(&mut self, asked: &str, came: String, expected: impl Into<String>, is_good: bool) {
        self.cases.push(Case {
            asked: asked.to_owned(),
            came,
            expected: expected.into(),
            is_good,
        });
    }

    /// How many cases there are.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// The cases that are not as expected.
    pub fn wrong(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| !case.is_good)
    }
}

/// A line a case; for one that is not as expected what came, and what should have.
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
