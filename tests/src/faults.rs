//! A list of failed expectations.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

/// Returns `fault` as an error unless `holds`.
pub fn good(holds: bool, fault: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault.into()) }
}

/// Collects failed expectations, so that one run of a table shows every failing case on every
/// service, not only the first.
#[derive(Debug, Default)]
pub struct Faults {
    found: Vec<String>,
    /// The service of the following cases.
    of: String,
    /// The number of passed cases of each service.
    passed: BTreeMap<String, u32>,
}

impl Faults {
    /// The following cases are about this service, on this framework.
    pub fn of(&mut self, service: &str, framework: &str) {
        self.of = format!("{service} on {framework}");
    }

    /// Adds a fault unless `got` equals `expected`.
    #[expect(clippy::needless_pass_by_value, reason = "as assert_eq! takes them")]
    pub fn expect<T: PartialEq + Debug>(&mut self, what: impl Display, got: T, expected: T) {
        self.ensure(what, got == expected, || {
            format!("got {got:?}, expected {expected:?}")
        });
    }

    /// Adds the fault of `finding`, if any.
    pub fn check(&mut self, what: impl Display, finding: Result<(), String>) {
        match finding {
            Ok(()) => *self.passed.entry(self.of.clone()).or_default() += 1,
            Err(fault) if self.of.is_empty() => self.found.push(format!("{what}: {fault}")),
            Err(fault) => self.found.push(format!("[{}] {what}: {fault}", self.of)),
        }
    }

    /// Adds `fault` unless `good`.
    pub fn ensure(&mut self, what: impl Display, good: bool, fault: impl FnOnce() -> String) {
        self.check(what, if good { Ok(()) } else { Err(fault()) });
    }

    /// Prints the number of passed cases, which `cargo test -- --show-output` shows. Fails the
    /// test if there is any fault.
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
