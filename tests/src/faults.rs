//! A list of what was not as expected.

use std::fmt::{Debug, Display};

/// Says what is wrong unless it holds.
pub fn good(holds: bool, fault: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault.into()) }
}

/// Collects what is not as expected, so that one run of a table shows every
/// case that fails, on every service, not the first alone.
#[derive(Debug, Default)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Notes that `what` is `got` where it should be `expected`.
    #[expect(clippy::needless_pass_by_value, reason = "as assert_eq! takes them")]
    pub fn expect<T: PartialEq + Debug>(&mut self, what: impl Display, got: T, expected: T) {
        if got != expected {
            self.0
                .push(format!("{what}: got {got:?}, expected {expected:?}"));
        }
    }

    /// Notes what `finding` says, if it says anything.
    pub fn check(&mut self, what: impl Display, finding: Result<(), String>) {
        if let Err(fault) = finding {
            self.0.push(format!("{what}: {fault}"));
        }
    }

    /// Notes `fault` unless `good`.
    pub fn ensure(&mut self, what: impl Display, good: bool, fault: impl FnOnce() -> String) {
        if !good {
            self.0.push(format!("{what}: {}", fault()));
        }
    }

    /// Fails the test if there was any.
    #[track_caller]
    pub fn finish(self) {
        assert!(
            self.0.is_empty(),
            "{} not as expected:\n{}",
            self.0.len(),
            self.0.join("\n")
        );
    }
}
