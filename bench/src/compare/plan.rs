//! The amount of measurement, and the command line.

use std::path::PathBuf;

use crate::results::Request;

/// The amount of measurement.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) requests: Vec<Request>,
    pub(crate) connections: Vec<u32>,
    pub(crate) at_fixed_rate: Vec<Request>,
    /// The fixed rate, as a share of the throughput of the slowest.
    pub(crate) of_slowest: f64,
    pub(crate) idle_connections: u32,
    /// The number of builds from nothing; 0 skips all builds.
    pub(crate) builds: usize,
}

impl Plan {
    fn full() -> Self {
        Self {
            rounds: 10,
            seconds: 2,
            requests: Request::ALL.to_vec(),
            connections: vec![1, 32, 256],
            at_fixed_rate: vec![Request::OneProduct, Request::Page, Request::Create],
            of_slowest: 0.25,
            idle_connections: 1000,
            builds: 3,
        }
    }

    /// Under five minutes: one number of connections.
    fn quick() -> Self {
        Self {
            // The fewest that can show a difference.
            rounds: 6,
            seconds: 1,
            connections: vec![32],
            at_fixed_rate: vec![Request::OneProduct],
            builds: 0,
            ..Self::full()
        }
    }

    /// Some seconds, to check that it works. The figures mean nothing.
    fn smoke() -> Self {
        Self {
            rounds: 1,
            requests: vec![Request::OneProduct, Request::Mix],
            connections: vec![8],
            // Low enough for any machine, however busy.
            of_slowest: 0.05,
            idle_connections: 100,
            ..Self::quick()
        }
    }

    /// The approximate duration of a round with this number of servers, with start and stop.
    pub(crate) fn seconds_a_round(&self, servers: usize) -> u64 {
        let loads = self.requests.len() * self.connections.len() + self.at_fixed_rate.len();
        // wrk and hey take slightly longer than requested.
        let load = loads as u64 * (self.seconds * 1000 + 60);
        (servers as u64 * (load + 500) + 1000) / 1000
    }
}

/// The options of the command line.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) plan: Plan,
    pub(crate) peers: Vec<String>,
    pub(crate) out: PathBuf,
}

/// Reads the arguments that `scripts/compare.sh` passes on.
pub(crate) fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut plan, mut rounds, mut peers) = (Plan::full(), None, Vec::new());
    let mut out = PathBuf::from("docs/frameworks");
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--quick" => plan = Plan::quick(),
            "--smoke" => plan = Plan::smoke(),
            "--rounds" => {
                let value = value()?;
                let number = value
                    .parse()
                    .ok()
                    .filter(|number| (1..=50).contains(number));
                let wrong = || format!("--rounds is \"{value}\", expected 1 to 50");
                rounds = Some(number.ok_or_else(wrong)?);
            }
            "--peer" => peers.push(value()?),
            "--out" => out = PathBuf::from(value()?),
            _ => return Err(format!("unknown option {argument}; --help lists them")),
        }
    }
    plan.rounds = rounds.unwrap_or(plan.rounds);
    Ok(Options { plan, peers, out })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        options(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_and_the_error_names_a_wrong_one() {
        let given = parse("--rounds 7 --quick --peer http://a --peer http://b --out there");
        let given = given.expect("good options");
        assert_eq!((given.plan.rounds, given.plan.seconds), (7, 1));
        assert_eq!(given.peers, ["http://a", "http://b"]);
        assert_eq!(given.out, Path::new("there"));
        for (line, said) in [
            ("--rounds 0", "--rounds is \"0\", expected 1 to 50"),
            ("--rounds", "--rounds needs a value"),
            ("--fast", "unknown option --fast; --help lists them"),
        ] {
            assert_eq!(parse(line).expect_err(line), said);
        }
    }

    #[test]
    fn a_quick_run_of_all_six_is_under_five_minutes() {
        let quick = Plan::quick();
        assert!(quick.seconds_a_round(6) * quick.rounds as u64 <= 270);
    }
}
