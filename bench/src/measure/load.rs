//! The load generators: running them, and parsing their output.
//!
//! `wrk` sends as fast as it gets answers: each connection has one request in flight. Its latency is
//! that of a busy server, and is mostly the number of connections divided by the throughput.
//!
//! At a fixed rate, the latency is that of a server that is not busy. If `oha` is installed, it is
//! used: it sends evenly, and its latency includes the time that a request waited to be sent, so a
//! pause of the server delays all requests that were due during the pause. Otherwise `hey` is used:
//! its workers send at the same moments, so requests come in bursts. A request that a worker could
//! not send in time is left out, which hides pauses (coordinated omission). It reports times to
//! 0.1 ms.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::process::Process;
use serde::Deserialize;

use super::process::{is_installed, pinned};
use super::stats::percentile;
use crate::Failed;

/// The number of connections of the load at a fixed rate.
pub const FIXED_RATE_CONNECTIONS: u32 = 20;

/// How much longer than requested a generator may run.
const EXTRA_TIME: Duration = Duration::from_secs(20);

/// A load: a GET of the URL, or a POST if there is a JSON body.
#[derive(Clone, Debug)]
pub struct Load {
    /// The URL with its path.
    pub url: String,
    /// The JSON of a POST.
    pub body: Option<String>,
    /// The most times the JSON is sent. Then `GET /health` follows.
    pub count: Option<u64>,
    /// The script of `wrk`, in `bench/wrk/`.
    pub script: &'static str,
    /// A header of each request, such as `Accept-Encoding: gzip`.
    pub header: Option<&'static str>,
}

impl Load {
    /// A load of GET requests to this URL.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            body: None,
            count: None,
            script: "load.lua",
            header: None,
        }
    }

    /// A load that posts this JSON to this URL. Each # in it becomes a different number each
    /// time.
    pub fn post(url: impl Into<String>, json: &str) -> Self {
        Self {
            body: Some(json.to_owned()),
            ..Self::get(url)
        }
    }
}

/// The processors of the generators, and the folder of their output.
#[derive(Debug)]
pub struct Generator<'a> {
    /// The processors reserved for the generators.
    pub processors: Option<&'a [usize]>,
    /// The folder of their output.
    pub output: &'a Path,
}

/// The result of `wrk`.
#[derive(Debug, PartialEq)]
pub struct Loaded {
    /// The number of answers.
    pub requests: u64,
    /// The duration.
    pub seconds: f64,
    /// The number of answers other than 2xx or 3xx, and of broken connections.
    pub failed: u64,
    /// The median latency.
    pub p50_ms: f64,
    /// The latency that 99 in a hundred stay below.
    pub p99_ms: f64,
}

impl Loaded {
    /// Requests per second.
    pub fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        let requests = self.requests as f64;
        requests / self.seconds
    }

    /// Why the result is void, if it is.
    pub fn void(&self) -> Option<String> {
        match (self.failed, self.requests) {
            (0, 0) => Some("nothing was answered".to_owned()),
            (0, _) => None,
            (failed, of) => Some(format!("{failed} of {of} requests failed")),
        }
    }
}

impl Generator<'_> {
    /// Sends as fast as the server answers, on this number of connections.
    pub fn wrk(&self, load: &Load, connections: u32, seconds: u64) -> Result<Loaded, Failed> {
        let threads = self.processors.map_or(1, <[usize]>::len);
        let threads = threads.min(connections as usize);
        let script = format!("bench/wrk/{}", load.script);
        let mut wrk = pinned("wrk", self.processors);
        wrk.args([format!("-t{threads}"), format!("-c{connections}")])
            .args([format!("-d{seconds}s"), "--timeout=10s".to_owned()])
            .args(["-s", &script]);
        if let Some(header) = load.header {
            wrk.args(["-H", header]);
        }
        wrk.arg(&load.url);
        if let Some(body) = &load.body {
            wrk.args(["--", body]);
            wrk.args(load.count.map(|count| count.to_string()));
        }
        let said = self.run(wrk, "wrk", seconds)?;
        parse_wrk(&said).ok_or_else(|| unclear("wrk", &said))
    }

    /// Sends `rate` requests per second.
    pub fn at_rate(
        &self,
        tool: FixedRate,
        load: &Load,
        rate: u32,
        seconds: u64,
    ) -> Result<Paced, Failed> {
        let name = tool.name();
        let mut command = pinned(name, self.processors);
        let connections = FIXED_RATE_CONNECTIONS.to_string();
        command.args(["-c", &connections, "-z", &format!("{seconds}s")]);
        if let Some(body) = &load.body {
            command.args(["-m", "POST", "-T", "application/json", "-d", body]);
        }
        match tool {
            FixedRate::Oha => command.args([
                "-q",
                &rate.to_string(),
                "--latency-correction",
                "--wait-ongoing-requests-after-deadline",
                "--no-tui",
                "--output-format",
                "json",
            ]),
            // The rate of one worker; each worker has a connection.
            FixedRate::Hey => {
                let each = rate.div_ceil(FIXED_RATE_CONNECTIONS);
                command.args(["-q", &each.to_string(), "-o", "csv"])
            }
        };
        command.arg(&load.url);
        let said = self.run(command, name, seconds)?;
        let paced = match tool {
            FixedRate::Oha => parse_oha(&said),
            FixedRate::Hey => parse_hey(&said, seconds),
        };
        paced.ok_or_else(|| unclear(name, &said))
    }

    /// Runs a generator, and returns its standard output.
    fn run(&self, mut command: Command, name: &str, seconds: u64) -> Result<String, Failed> {
        // Write to a file: a pipe would have to be read meanwhile.
        let output = self.output.join(format!("{name}.out"));
        let file = File::create(&output)
            .map_err(|error| format!("{} cannot be written: {error}", output.display()))?;
        command
            .stdin(Stdio::null())
            .stderr(file.try_clone()?)
            .stdout(file);
        let within = Duration::from_secs(seconds) + EXTRA_TIME;
        let status = Process::start(&mut command)?.wait(within);
        let status = status.map_err(|error| format!("{name} failed: {error}"))?;
        let said = std::fs::read_to_string(&output)?;
        if status.success() {
            Ok(said)
        } else {
            Err(format!("{name} failed ({status}): {}", said.trim()).into())
        }
    }
}

fn unclear(name: &str, said: &str) -> Failed {
    let said: String = said.chars().take(500).collect();
    format!("the output of {name} has an unexpected form: {said}").into()
}

/// Parses the last line, which load.lua writes.
fn parse_wrk(said: &str) -> Option<Loaded> {
    let line = said.lines().find_map(|line| line.strip_prefix("figures"))?;
    let numbers: Vec<f64> = line
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let [requests, micros, failed, p50, p99] = numbers[..] else {
        return None;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts"
    )]
    let (requests, failed) = (requests as u64, failed as u64);
    (micros > 0.0).then_some(Loaded {
        requests,
        seconds: micros / 1e6,
        failed,
        p50_ms: p50 / 1e3,
        p99_ms: p99 / 1e3,
    })
}

/// A load generator with a fixed rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FixedRate {
    /// It sends evenly.
    Oha,
    /// It sends in bursts.
    Hey,
}

impl FixedRate {
    /// The generator to use, if one is installed.
    pub fn installed() -> Option<Self> {
        let mut tools = [Self::Oha, Self::Hey].into_iter();
        tools.find(|tool| is_installed(tool.name()))
    }

    /// The program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oha => "oha",
            Self::Hey => "hey",
        }
    }
}

/// How it sends, for the readers of its figures.
impl fmt::Display for FixedRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Oha => "oha sends evenly, and its latency includes the time that a request waited to be sent.",
            Self::Hey => {
                "hey's workers send together, in bursts, and leave out what they could not send in\n\
                 time; that hides pauses (coordinated omission). Its clock has steps of 0.1 ms."
            }
        })
    }
}

/// The result at a fixed rate.
#[derive(Debug, PartialEq)]
pub struct Paced {
    /// The number of answers per second, of any status.
    pub rate: f64,
    /// The number of answers other than 2xx.
    pub failed: u64,
    /// The median latency.
    pub p50_ms: f64,
    /// The latency that 99 in a hundred stay below.
    pub p99_ms: f64,
    /// The latency that 999 in a thousand stay below.
    pub p999_ms: f64,
}

impl Paced {
    /// Why the result is void, if it is: failures, or another rate.
    pub fn void(&self, rate: u32) -> Option<String> {
        if self.failed > 0 {
            return Some(format!("{} requests failed", self.failed));
        }
        let rate = f64::from(rate);
        (self.rate < 0.9 * rate).then(|| format!("{:.0} of {rate} requests per second", self.rate))
    }
}

/// Parses the output of `hey -o csv`: a line for each answer, with its duration in seconds first,
/// and among others its status and the time it was sent. A request without an answer has no line,
/// so it lowers the rate.
fn parse_hey(said: &str, seconds: u64) -> Option<Paced> {
    let mut lines = said.lines();
    let head = lines.find(|line| line.starts_with("response-time,"))?;
    let column = |name| head.split(',').position(|column| column == name);
    let (status, sent) = (column("status-code")?, column("offset")?);
    let (mut times, mut first, mut failed) = (Vec::new(), f64::MAX, 0);
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        times.push(fields[0].parse::<f64>().ok()? * 1e3);
        first = first.min(fields.get(sent)?.parse().ok()?);
        failed += u64::from(!fields.get(status)?.starts_with('2'));
    }
    times.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "counts of requests and seconds")]
    // The clock of hey starts before it sends.
    let rate = times.len() as f64 / (seconds as f64 - first);
    Some(Paced {
        rate,
        failed,
        p50_ms: percentile(&times, 0.5)?,
        p99_ms: percentile(&times, 0.99)?,
        p999_ms: percentile(&times, 0.999)?,
    })
}

/// The fields of oha's JSON that are needed. Times are in seconds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Oha {
    summary: OhaSummary,
    latency_percentiles: OhaPercentiles,
    status_code_distribution: std::collections::BTreeMap<String, u64>,
    error_distribution: std::collections::BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OhaSummary {
    requests_per_sec: f64,
}

#[derive(Deserialize)]
struct OhaPercentiles {
    p50: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p999: f64,
}

fn parse_oha(said: &str) -> Option<Paced> {
    let oha: Oha = serde_json::from_str(said).ok()?;
    let bad = oha.status_code_distribution.iter();
    let bad = bad.filter(|(status, _)| !status.starts_with('2'));
    let failed = bad.chain(&oha.error_distribution).map(|(_, count)| count);
    Some(Paced {
        rate: oha.summary.requests_per_sec,
        failed: failed.sum(),
        p50_ms: oha.latency_percentiles.p50 * 1e3,
        p99_ms: oha.latency_percentiles.p99 * 1e3,
        p999_ms: oha.latency_percentiles.p999 * 1e3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_wrk_is_parsed() {
        let said = "Running 1s test @ http://127.0.0.1:37031/health\n\
            Requests/sec:   4620.27\n\
            figures\t4632\t1002539\t3\t6579\t19851\n";
        let load = parse_wrk(said).expect("parses");
        assert_eq!((load.requests, load.failed), (4632, 3));
        assert_eq!((load.p50_ms, load.p99_ms), (6.579, 19.851));
        assert!((load.rate() - 4620.27).abs() < 0.01, "{}", load.rate());
        assert_eq!(load.void().as_deref(), Some("3 of 4632 requests failed"));
        for said in [
            "",
            "unable to connect",
            "figures\t1\t2",
            "figures\t1\t0\t0\t1\t1",
        ] {
            assert_eq!(parse_wrk(said), None, "{said:?}");
        }
    }

    #[test]
    fn a_load_without_failures_is_void_only_if_nothing_was_answered() {
        let load = |requests, failed| Loaded {
            requests,
            seconds: 1.0,
            failed,
            p50_ms: 0.0,
            p99_ms: 0.0,
        };
        assert_eq!(load(100, 0).void(), None);
        assert!(load(0, 0).void().is_some());
        assert!(load(0, 7).void().is_some());
    }

    #[test]
    fn the_output_of_hey_is_parsed() {
        let mut said = "response-time,DNS+dialup,DNS,Request-write,Response-delay,\
            Response-read,status-code,offset\n"
            .to_owned();
        for tenth in 1..=1000 {
            let status = if tenth == 500 { 503 } else { 201 };
            let time = f64::from(tenth) / 10_000.0;
            let line = format!("{time:.4},0.0002,0.0000,0.0001,0.0117,0.0000,{status},0.4\n");
            said.push_str(&line);
        }
        let paced = parse_hey(&said, 2).expect("parses");
        assert_eq!((paced.rate, paced.failed), (625.0, 1), "in 1.6 s");
        let times = (paced.p50_ms, paced.p99_ms, paced.p999_ms);
        assert_eq!(times, (50.0, 99.0, 99.9));
        for said in [
            "",
            "response-time,status-code,offset\n",
            "response-time,status-code,offset\nx,200,0.1\n",
        ] {
            assert_eq!(parse_hey(said, 2), None, "{said:?}");
        }
    }

    #[test]
    fn the_output_of_oha_is_parsed() {
        let said = r#"{"summary":{"successRate":1.0,"requestsPerSec":3998.5},
            "latencyPercentiles":{"p10":0.0001,"p50":0.00025,"p99":0.0015,"p99.9":0.004,"p99.99":0.01},
            "statusCodeDistribution":{"200":7990,"503":2},
            "errorDistribution":{"connection closed":3}}"#;
        let paced = parse_oha(said).expect("parses");
        assert_eq!((paced.rate, paced.failed), (3998.5, 5));
        assert_eq!(
            (paced.p50_ms, paced.p99_ms, paced.p999_ms),
            (0.25, 1.5, 4.0)
        );
        assert_eq!(parse_oha("{}"), None);
    }

    #[test]
    fn a_rate_that_was_not_reached_makes_the_figure_void() {
        let paced = |rate, failed| Paced {
            rate,
            failed,
            p50_ms: 1.0,
            p99_ms: 1.0,
            p999_ms: 1.0,
        };
        assert_eq!(paced(3950.0, 0).void(4000), None);
        assert!(paced(3000.0, 0).void(4000).is_some());
        assert!(paced(3950.0, 1).void(4000).is_some());
    }
}
