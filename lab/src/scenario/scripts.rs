//! The scripts that stop and start the processes of a shop on this machine.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio::sync::Mutex;

/// `scripts/start.sh` and `scripts/stop.sh`.
#[derive(Clone, Debug)]
pub struct Scripts {
    /// The directory that has them.
    root: PathBuf,
    /// Locked while one runs, so that there is one at a time.
    running: Arc<Mutex<()>>,
}

impl Scripts {
    /// Those in `root`, the directory of the repository.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            running: Arc::default(),
        }
    }

    /// Runs one of them to its end, even if the caller does not wait for it: a shop that is half
    /// started is of no use. Returns its output; the error is a sentence.
    pub async fn run(
        &self,
        script: &str,
        words: &[&str],
        variables: &BTreeMap<String, String>,
    ) -> Result<String, String> {
        let mut command = Command::new(self.root.join("scripts").join(script));
        command
            .args(words)
            .envs(variables)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            // Ctrl-C is for this program, which mends the shop then.
            .process_group(0);
        let called = format!("scripts/{script} {}", words.join(" "));
        let running = Arc::clone(&self.running).lock_owned().await;
        let ended = tokio::task::spawn_blocking(move || {
            let ended = command.output();
            drop(running);
            ended
        });
        let ended = ended.await.map_err(|cause| format!("{called}: {cause}"))?;
        let ended = ended.map_err(|cause| format!("{called}: {cause}"))?;
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        if ended.status.success() {
            return Ok(said);
        }
        let why = String::from_utf8_lossy(&ended.stderr);
        let why = why.lines().next().unwrap_or("it did not say why");
        Err(format!("{called} failed: {why}"))
    }
}
