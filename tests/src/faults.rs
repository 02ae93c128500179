//! A list of what was not as expected.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

/// Says what is wrong unless it holds.
pub fn good(holds: bool, fault: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault.into()) }
}

/// Collects what is not as expected, so that one run of a table shows every
/// case that fails, on every service, not the first alone.
#[derive(Debug, Default)]
pub struct Faults {
    found: Vec<String>,
    /// Whom the cases are about, from now on.
    of: String,
    /// How many cases each has passed.
    passed: BTreeMap<String, u32>,
}

impl Faults {
    /// What follows is about this service, on this framework.
    pub fn of(&mut self, service: &str, framework: &str) {
        self.of = format!("{service} on {framework}");
    }

    /// Notes that `what` is `got` where it should be `expected`.
    #[expect(clippy::needless_pass_by_value, reason = "as assert_eq! takes them")]
    pub fn expect<T: PartialEq + Debug>(&mut self, what: impl Display, got: T, expected: T) {
        self.ensure(what, got == expected, || {
            format!("got {got:?}, expected {expected:?}")
        });
    }

    /// Notes what `finding` says, if it says anything.
    pub fn check(&mut self, what: impl Display, finding: Result<(), String>) {
        match finding {
            Ok(()) => *self.passed.entry(self.of.clone()).or_default() += 1,
            Err(fault) if self.of.is_empty() => self.found.push(format!("{what}: {fault}")),
            Err(fault) => self.found.push(format!("[{}] {what}: {fault}", self.of)),
        }
    }

    /// Notes `fault` unless `good`.
    pub fn ensure(&mut self, what: impl Display, good: bool, fault: impl FnOnce() -> String) {
        self.check(what, if good { Ok(()) } else { Err(fault()) });
    }

    /// Tells how many cases each has passed, which `cargo test -- --show-output`
    /// shows; fails the test if there was any fault.
    #[track_caller]
    pub fn finish(self) {
        for (of, passed) in self.passed.iter().filter(|(of, _)| !of.is_empty()) {
            println!("passed on {of}: {passed}");
        }
        assert!(
            self.found.is_empty(),
            "{} not as expected:\n{}",
            self.found.len(),
            self.found.join("\n")
        );
    }
}
