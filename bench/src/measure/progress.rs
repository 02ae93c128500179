//! The progress of a program that takes minutes.

use std::io::{IsTerminal, Write};

/// Progress on standard error: on a terminal one line that changes, otherwise a line for each
/// stage.
#[derive(Debug)]
pub struct Progress {
    /// The current stage, such as `round 2 of 7`.
    pub stage: String,
    shown: String,
    on_terminal: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            stage: String::new(),
            shown: String::new(),
            on_terminal: std::io::stderr().is_terminal(),
        }
    }
}

impl Progress {
    /// Shows the current measurement and server.
    pub fn show(&mut self, what: &str, server: &str) {
        if self.on_terminal {
            eprint!("\r\x1b[K{}: {what}, {server}", self.stage);
            // A line that cannot be written is no loss.
            let _ = std::io::stderr().flush();
        } else if self.shown != self.stage {
            self.shown.clone_from(&self.stage);
            eprintln!("{}", self.stage);
        }
    }

    /// Removes the line from the terminal.
    pub fn done(&self) {
        if self.on_terminal {
            eprint!("\r\x1b[K");
        }
    }
}
