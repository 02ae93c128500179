//! Exercise 5: a program that takes the place of product-service in the running shop.

use std::env;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::Duration;

use chassis::testkit::Got;
use shop_tests::program::programs;
use shop_tests::raw::{Connection, request};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::answers::{JSON, PATIENCE, told};
use crate::report::Report;

/// Longer than any of the scripts takes, with all that each waits for.
const SCRIPT: Duration = Duration::from_mins(2);

/// Within this a service has read what it was sent, on a busy machine, too.
const READ_BY_THEN: Duration = Duration::from_millis(500);

pub(crate) async fn check(program: &str) -> Result<Report, String> {
    let program = programs().join(program);
    if !program.is_file() {
        return Err(format!("{} is not built", program.display()));
    }
    let shop = Shop::new()?;
    let started = shop.run("start.sh", &[]).await?;
    if !started.worked {
        return Err(format!("the shop does not start: {}", started.last_line()));
    }
    let mut report = Report::default();

    let words = ["product", "poem", "--program", &program.to_string_lossy()];
    let swapped = shop.run("swap.sh", &words).await?;
    // It says first what is wrong, and then what the log has of it.
    let complaint = swapped
        .said
        .lines()
        .find(|line| line.starts_with("product-service "));
    let complaint = complaint.and_then(|line| line.split(". The end of").next());
    let came = if swapped.worked {
        "it is in the shop"
    } else {
        complaint.unwrap_or("it failed")
    };
    report.expect(
        "scripts/swap.sh product poem, your program",
        came.to_owned(),
        "it is in the shop",
    );
    if !swapped.worked {
        return Ok(report);
    }

    let played = shop.run("demo.sh", &[]).await?;
    let failure = played
        .said
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("✗ step"));
    let came = if !played.worked {
        failure.unwrap_or("it failed")
    } else if played.said.contains("SKIPPED") {
        "a part of it was skipped"
    } else {
        "all of it passes"
    };
    report.expect("scripts/demo.sh", came.to_owned(), "all of it passes");

    let answer = match shop.begin_request().await {
        Ok(connection) => {
            let swapping = shop.run("swap.sh", &["product", "rocket"]);
            let (swapped, answered) = tokio::join!(swapping, shop.finish_request(connection));
            let swapped = swapped?;
            let end = if !swapped.worked {
                swapped.last_line()
            } else if swapped.said.contains("Killed ") {
                "and it had to be killed"
            } else {
                "and it has stopped"
            };
            match told(&answered) {
                answer if answer.starts_with("201 ") => format!("201, {end}"),
                other => format!("{other}, {end}"),
            }
        }
        Err(cause) => cause,
    };
    let asked = "scripts/swap.sh product rocket, a request in flight";
    report.expect(asked, answer, "201, and it has stopped");
    Ok(report)
}

/// A shop of its own, on free ports. Dropped, it is stopped.
struct Shop {
    base_port: u16,
    run_dir: PathBuf,
}

/// What came of a script.
struct Ran {
    worked: bool,
    said: String,
}

impl Ran {
    fn last_line(&self) -> &str {
        self.said
            .trim_end()
            .lines()
            .last()
            .unwrap_or("it said nothing")
    }
}

impl Shop {
    fn new() -> Result<Self, String> {
        let run_dir = env::temp_dir().join(format!("exercise-5-{}", process::id()));
        fs::create_dir_all(&run_dir)
            .map_err(|cause| format!("{} cannot be made: {cause}", run_dir.display()))?;
        Ok(Self {
            base_port: five_free_ports().ok_or("no five ports in a row are free from 20000 on")?,
            run_dir,
        })
    }

    /// Runs one of the scripts on this shop.
    async fn run(&self, script: &str, words: &[&str]) -> Result<Ran, String> {
        let mut command = tokio::process::Command::from(self.command(script));
        let running = command.args(words).kill_on_drop(true).output();
        let ended = timeout(SCRIPT, running).await;
        let ended =
            ended.map_err(|_| format!("scripts/{script} has not ended within {SCRIPT:?}"))?;
        let ended = ended.map_err(|cause| format!("scripts/{script} cannot be run: {cause}"))?;
        let said = [ended.stdout, ended.stderr].concat();
        Ok(Ran {
            worked: ended.status.success(),
            said: String::from_utf8_lossy(&said).into_owned(),
        })
    }

    fn command(&self, script: &str) -> Command {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
        let mut command = Command::new(scripts.join(script));
        command
            .env("BASE_PORT", self.base_port.to_string())
            .env("RUN_DIR", &self.run_dir)
            .env("BIN_DIR", programs())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        // What the demo looks for in the logs has to be there.
        for variable in ["LOG_LEVEL", "LOG_FORMAT", "RUST_LOG"] {
            command.env_remove(variable);
        }
        command
    }

    fn product_service(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.base_port + 1).into()
    }

    /// Sends product-service a request but for the end, and gives it time to read that.
    async fn begin_request(&self) -> Result<Connection, String> {
        let address = self.product_service();
        // `open` is for one that must be there.
        let there = TcpStream::connect(address).await;
        there.map_err(|cause| format!("no connection: {cause}"))?;
        let mut connection = Connection::open(address).await;
        let (begin, _) = request_in_two();
        connection.send(&begin).await.map_err(broken)?;
        sleep(READ_BY_THEN).await;
        Ok(connection)
    }

    /// Sends the end once the service has begun to stop, and reads the answer.
    async fn finish_request(&self, mut connection: Connection) -> Result<Got, String> {
        // One that stops takes no more connections.
        let deadline = Instant::now() + PATIENCE;
        let address = self.product_service();
        while Instant::now() < deadline && TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
        let (_, end) = request_in_two();
        connection.send(&end).await.map_err(broken)?;
        let answer = timeout(PATIENCE, connection.answer(false)).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err calls it")]
fn broken(cause: io::Error) -> String {
    format!("the connection broke off: {cause}")
}

/// A request, and the end of its body by itself.
fn request_in_two() -> (Vec<u8>, Vec<u8>) {
    let body = br#"{"name":"Kettle","price":1}"#;
    let mut begin = request("POST", "/api/products", JSON, body);
    let end = begin.split_off(begin.len() - 5);
    (begin, end)
}

impl Drop for Shop {
    fn drop(&mut self) {
        // Whatever could not be stopped or removed, there is nobody left to tell.
        let _ = self.command("stop.sh").stdout(Stdio::null()).status();
        let _ = fs::remove_dir_all(&self.run_dir);
    }
}

/// The first of five ports in a row that nobody has, below those that a system hands
/// out by itself.
fn five_free_ports() -> Option<u16> {
    let offset = u16::try_from(process::id() % 1000).ok()?;
    let candidates = (0..1000).map(|n| 20_000 + (offset + n) % 1000 * 5);
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    candidates
        .into_iter()
        .find(|&base| (base..base + 5).all(is_free))
}
