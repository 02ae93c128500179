//! Servers: started, waited for and asked.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::TIMEOUT;
use harness::process::{Process, address_in};
use reqwest::blocking::RequestBuilder;
use serde_json::Value;

use super::process::pinned;
use crate::Failed;

/// A server that was started, and runs.
#[derive(Debug)]
pub struct Started {
    /// Killed when this is dropped.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// From its start to its first 200 of `GET /health`.
    pub ready_after: Duration,
    /// Where its errors are.
    log: PathBuf,
}

impl Started {
    /// Without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits for its first 200 of `GET /health`.
    pub fn wait_until_ready(&mut self) -> Result<(), Failed> {
        let deadline = Instant::now() + TIMEOUT;
        while !is_alive(self.address) {
            if let Some(status) = self.process.status() {
                let (address, said) = (self.address, last_line(&self.log));
                return Err(format!("the server at {address} ended ({status}): {said}").into());
            }
            if Instant::now() > deadline {
                let address = self.address;
                return Err(format!("{address} was not ready within {TIMEOUT:?}").into());
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }
}

/// A program in an environment of its own: nothing that the caller's shell has set,
/// such as `RUST_LOG` or `OTEL_*`, reaches what is measured.
pub fn command(program: &Path, processors: Option<&[usize]>) -> Command {
    let mut command = pinned(program, processors);
    command
        .env_clear()
        // To find taskset.
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null());
    command
}

/// Starts a server that chooses a free port and waits until it is ready. What it says
/// on standard error goes to `errors`.
pub fn start(mut command: Command, errors: &Path) -> Result<Started, Failed> {
    command.stdout(Stdio::piped()).stderr(File::create(errors)?);
    let began = Instant::now();
    let process = Process::start(&mut command)?;
    let address = process
        .wait_for(address_in, TIMEOUT)
        .map_err(|fault| format!("{command:?} {fault}: {}", last_line(errors)))?;
    let mut started = Started {
        process,
        address,
        ready_after: Duration::ZERO,
        log: errors.to_owned(),
    };
    started.wait_until_ready()?;
    started.ready_after = began.elapsed();
    Ok(started)
}

/// Starts a server that was told this address, without waiting for it. What it says
/// goes to the end of the file `log`.
pub fn start_at(mut command: Command, address: SocketAddr, log: &Path) -> Result<Started, Failed> {
    let file = File::options().create(true).append(true).open(log)?;
    command.stdout(file.try_clone()?).stderr(file);
    Ok(Started {
        process: Process::start(&mut command)?,
        address,
        ready_after: Duration::ZERO,
        log: log.to_owned(),
    })
}

fn last_line(log: &Path) -> String {
    let said = std::fs::read_to_string(log).unwrap_or_default();
    said.trim().lines().last().unwrap_or_default().to_owned()
}

// Not by `harness::raw`: the start of a server is measured to its first answer, every 0.2 ms
// and without a runtime, and an idle connection is to cost this program as little as it can.
const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: shop\r\n\r\n";

fn is_alive(address: SocketAddr) -> bool {
    ask_health(address).is_ok_and(|(_, answer)| answer.starts_with(b"HTTP/1.1 200"))
}

/// Asks `GET /health` on a connection of its own, which stays open.
fn ask_health(address: SocketAddr) -> std::io::Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(HEALTH)?;
    let mut answer = vec![0; 2048];
    let length = stream.read(&mut answer)?;
    answer.truncate(length);
    Ok((stream, answer))
}

/// Opens so many connections, each of which has had one answer and is kept.
pub fn open_idle(address: SocketAddr, count: u32) -> Result<Vec<TcpStream>, Failed> {
    let open = |_| ask_health(address).map(|(stream, _)| stream);
    let streams: std::io::Result<Vec<_>> = (0..count).map(open).collect();
    streams.map_err(|error| {
        format!("{count} connections to {address} cannot be opened at once: {error}").into()
    })
}

/// The JSON of an answer that must have this status.
pub fn answered(request: RequestBuilder, expected: u16) -> Result<Value, Failed> {
    let answer = request.send().map_err(|error| plain(&error))?;
    let (url, status) = (answer.url().clone(), answer.status().as_u16());
    let body = answer.bytes().map_err(|error| plain(&error))?;
    if status != expected {
        return Err(format!("{url} answered {status}, expected {expected}").into());
    }
    serde_json::from_slice(&body).map_err(|error| format!("{url} is not JSON: {error}").into())
}

/// An error with what caused it, which reqwest leaves to be asked for.
pub fn plain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_environment_reaches_a_server_but_where_programs_are() {
        assert!(std::env::vars_os().count() > 1, "cargo sets some");
        let output = command(Path::new("/usr/bin/env"), None)
            .env("PORT", "0")
            .output();
        let said = String::from_utf8(output.expect("runs").stdout).expect("is text");
        let names: Vec<&str> = said
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        assert_eq!(names, ["PATH", "PORT"]);
    }
}
