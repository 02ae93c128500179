//! What a program that takes minutes is about.

use std::io::{IsTerminal, Write};

/// What is being done, on standard error: one line that changes where somebody sees
/// it, else one a round.
#[derive(Debug)]
pub struct Progress {
    /// The part of the whole, such as `round 2 of 7`.
    pub stage: String,
    told: String,
    on_terminal: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            stage: String::new(),
            told: String::new(),
            on_terminal: std::io::stderr().is_terminal(),
        }
    }
}

impl Progress {
    /// Tells what is being done to this server.
    pub fn tell(&mut self, what: &str, server: &str) {
        if self.on_terminal {
            eprint!("\r\x1b[K{}: {what}, {server}", self.stage);
            // Nothing is lost with a line that is not seen.
            let _ = std::io::stderr().flush();
        } else if self.told != self.stage {
            self.told.clone_from(&self.stage);
            eprintln!("{}", self.stage);
        }
    }

    /// Leaves no line behind.
    pub fn done(&self) {
        if self.on_terminal {
            eprint!("\r\x1b[K");
        }
    }
}
