//! The scripts of the repository, and a shop that they start, swap and stop.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use harness::process::{self, Process};

use crate::program::{SERVICES, programs};

/// Longer than any script runs.
const SCRIPT: Duration = Duration::from_mins(2);

/// All scripts of the repository: the files in `scripts/`, `.ci/` and `exercises/` that begin
/// with `#!/`.
pub fn all() -> io::Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()?;
    let mut folders = vec![
        root.join("scripts"),
        root.join(".ci"),
        root.join("exercises"),
    ];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read(&path)?.starts_with(b"#!/") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A separate shop on free ports, with the programs of this build. It stops when it is dropped.
#[derive(Debug)]
pub struct Shop {
    base_port: u16,
    run_dir: PathBuf,
    variables: Vec<(&'static str, OsString)>,
}

/// The result of a script.
#[derive(Debug)]
pub struct Ran {
    /// Whether its exit status is 0.
    pub worked: bool,
    /// Its output.
    pub said: String,
}

impl Ran {
    /// The last line of its output.
    pub fn last_line(&self) -> &str {
        self.said
            .trim_end()
            .lines()
            .last()
            .unwrap_or("it printed nothing")
    }
}

impl Shop {
    /// A shop in which no service runs yet.
    pub fn new() -> Result<Self, String> {
        static SHOPS: AtomicU16 = AtomicU16::new(0);
        let number = SHOPS.fetch_add(1, Ordering::Relaxed);
        let run_dir = env::temp_dir().join(format!("shop-{}-{number}", std::process::id()));
        fs::create_dir_all(&run_dir)
            .map_err(|cause| format!("{} cannot be created: {cause}", run_dir.display()))?;
        Ok(Self {
            base_port: free_ports(number)
                .ok_or("no six consecutive ports are free from 20000 on")?,
            run_dir,
            variables: Vec::new(),
        })
    }

    /// The same with a variable in the environment of its scripts.
    #[must_use]
    pub fn with(mut self, variable: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((variable, value.into()));
        self
    }

    /// Runs one of the scripts on this shop.
    pub async fn run(&self, script: &str, words: &[&str]) -> Result<Ran, String> {
        self.run_with(script, words, &[]).await
    }

    /// The same with variables in its environment, for this one script.
    pub async fn run_with(
        &self,
        script: &str,
        words: &[&str],
        variables: &[(&str, OsString)],
    ) -> Result<Ran, String> {
        let mut command = self.command(script);
        command.args(words).envs(variables.iter().cloned());
        let ended = process::run_async(&mut command, SCRIPT).await;
        let ended = ended.map_err(|fault| format!("scripts/{script}: {fault}"))?;
        Ok(Ran {
            worked: ended.status == Some(0),
            said: format!("{}\n{}", ended.stdout, ended.stderr),
        })
    }

    /// Starts one of the scripts on this shop. It reads `input`, as from a keyboard.
    pub fn start(
        &self,
        script: &str,
        words: &[&str],
        input: impl Into<Stdio>,
    ) -> Result<Process, String> {
        let mut command = self.command(script);
        Process::start(process::piped(command.args(words)).stdin(input))
    }

    fn command(&self, script: &str) -> Command {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
        let mut command = Command::new(scripts.join(script));
        command
            .env("BASE_PORT", self.base_port.to_string())
            .env("RUN_DIR", &self.run_dir)
            .env("BIN_DIR", programs())
            .env("NO_COLOR", "1");
        // What the demo looks for in the logs has to be there.
        for variable in ["LOG_LEVEL", "LOG_FORMAT", "RUST_LOG"] {
            command.env_remove(variable);
        }
        command.envs(self.variables.iter().cloned());
        command
    }

    /// Where one of the [`SERVICES`] or the gateway listens, if it runs.
    pub fn address(&self, service: &str) -> SocketAddr {
        let names = ["gateway"].into_iter().chain(SERVICES);
        let mut ports = (self.base_port - 1..).zip(names);
        let found = ports.find(|(_, name)| *name == service);
        let (port, _) = found.unwrap_or_else(|| panic!("{service} is no service"));
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// Where instance number `number` of the service listens, if it runs: 2 and so on.
    pub fn further_address(&self, service: &str, number: u16) -> SocketAddr {
        let mut address = self.address(service);
        address.set_port(address.port() + 10 * (number - 1));
        address
    }

    /// Where the scripts keep logs and process ids.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // Whatever could not be stopped or removed, there is nobody left to tell.
        let _ = process::run(&mut self.command("stop.sh"), SCRIPT);
        let _ = fs::remove_dir_all(&self.run_dir);
    }
}

/// The first of five free ports in a row, after a free one for the gateway, for the shop with this
/// number, below those that a system hands out by itself. Shops of one process search from different ports on, since
/// a shop takes its ports only when it starts.
fn free_ports(shop: u16) -> Option<u16> {
    let offset = u16::try_from(std::process::id() % 1000).ok()? + shop % 10 * 100;
    let candidates = (0..1000).map(|n| 20_000 + (offset + n) % 1000 * 6 + 1);
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    candidates
        .into_iter()
        .find(|&base| (base - 1..base + 5).all(is_free))
}
