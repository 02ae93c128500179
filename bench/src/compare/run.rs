//! A run: in each round all servers start anew, and each quantity is measured for all in turn.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use bench::Failed;
use bench::measure::load::{FIXED_RATE_CONNECTIONS, FixedRate, Generator};
use bench::measure::process;
use bench::measure::progress::Progress;
use bench::measure::server::{self, Started};
use reqwest::blocking::Client;

use crate::cost::{self, BuildFolder};
use crate::plan::Plan;
use crate::results::{Key, Kind, Quantity, Request, Sample, Samples};
use crate::servers::{self, Contender, Launch, Target};

/// A run in progress.
pub(crate) struct Run<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) contenders: &'a [Contender],
    pub(crate) http: Client,
    pub(crate) fixed_rate: FixedRate,
    pub(crate) servers_on: Option<&'a [usize]>,
    pub(crate) generator: Generator<'a>,
    pub(crate) random: fastrand::Rng,
    pub(crate) samples: Samples,
    /// Requests per second, the same in all rounds.
    pub(crate) fixed_rates: BTreeMap<Request, u32>,
    pub(crate) progress: Progress,
}

impl Run<'_> {
    pub(crate) fn round(&mut self) -> Result<(), Failed> {
        self.at_rest()?;
        let mut processes = Vec::new();
        let mut targets = Vec::new();
        for contender in self.contenders {
            self.progress.show("starting", &contender.server.name);
            let started = contender.launch.as_ref().map(|launch| self.start(launch));
            let started = started.transpose()?;
            let url = started.as_ref().map(Started::url);
            targets.push(servers::prepare(
                url.as_ref().unwrap_or(&contender.server.what),
                &self.http,
            )?);
            processes.push(started);
        }
        let process_of = |place: usize| processes[place].as_ref().map(|one| one.process.id());

        for writes in [false, true] {
            let mut loads = Vec::new();
            for request in self
                .plan
                .requests
                .iter()
                .filter(|one| one.writes() == writes)
            {
                loads.extend(self.plan.connections.iter().map(|count| (*request, *count)));
            }
            self.random.shuffle(&mut loads);
            for (request, connections) in loads {
                for place in self.order() {
                    self.load(
                        place,
                        &targets[place],
                        process_of(place),
                        request,
                        connections,
                    )?;
                }
            }
            for request in &self.plan.at_fixed_rate {
                if request.writes() == writes {
                    self.fixed_rate(*request, &targets)?;
                }
            }
            if !writes {
                for place in 0..targets.len() {
                    let memory = process_of(place).and_then(process::memory);
                    if let Some(memory) = memory {
                        let key = Key::of(Quantity::MemoryUnderLoad);
                        self.samples.add(key, place, Ok(memory.most_kib / 1024.0));
                    }
                }
            }
        }
        Ok(())
    }

    /// Measures idle servers, started anew, because load increases their memory.
    fn at_rest(&mut self) -> Result<(), Failed> {
        let mut fresh = Vec::new();
        for place in self.order() {
            let contender = &self.contenders[place];
            let Some(launch) = &contender.launch else {
                continue;
            };
            self.progress
                .show("start and memory", &contender.server.name);
            let started = self.start(launch)?;
            let milliseconds = started.ready_after.as_secs_f64() * 1e3;
            self.samples
                .add(Key::of(Quantity::StartToReady), place, Ok(milliseconds));
            fresh.push((place, started));
        }
        thread::sleep(Duration::from_secs(1));
        for (place, started) in fresh {
            let memory = || process::memory(started.process.id());
            let Some(idle) = memory() else { continue };
            let count = self.plan.idle_connections;
            let open = server::open_idle(started.address, count)?;
            let held = memory().unwrap_or(idle);
            drop(open);
            self.samples.add(
                Key::of(Quantity::MemoryIdle),
                place,
                Ok(idle.now_kib / 1024.0),
            );
            let each = (held.now_kib - idle.now_kib) / f64::from(count);
            self.samples
                .add(Key::of(Quantity::MemoryPerConnection), place, Ok(each));
        }
        Ok(())
    }

    fn start(&self, launch: &Launch) -> Result<Started, Failed> {
        let errors = self.generator.output.join("server.err");
        servers::start(launch, self.servers_on, &errors)
    }

    /// All servers, in random order.
    fn order(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.contenders.len()).collect();
        self.random.shuffle(&mut order);
        order
    }

    /// Measures the maximum throughput for one kind of request.
    fn load(
        &mut self,
        place: usize,
        target: &Target,
        process: Option<u32>,
        request: Request,
        connections: u32,
    ) -> Result<(), Failed> {
        let what = format!("{}, {connections} connections", request.title());
        self.progress
            .show(&what, &self.contenders[place].server.name);
        let cpu = || process.and_then(process::cpu_micros);
        let before = cpu();
        let load = self
            .generator
            .wrk(&target.load(request), connections, self.plan.seconds)?;
        let used = cpu().zip(before).map(|(after, before)| after - before);
        // If a thread has ended, its processor time is missing.
        let used = used.filter(|used| *used > 0.0);
        let void = load.void();
        let sample = |number| -> Sample { void.clone().map_or(Ok(number), Err) };
        let mut add = |quantity, number| {
            let key = Key::under_load(quantity, request, connections);
            self.samples.add(key, place, sample(number));
        };
        add(Quantity::Throughput, load.rate());
        add(Quantity::LatencyP50, load.p50_ms);
        add(Quantity::LatencyP99, load.p99_ms);
        if let Some(used) = used {
            #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
            let requests = load.requests.max(1) as f64;
            add(Quantity::CpuPerRequest, used / requests);
        }
        Ok(())
    }

    /// Measures all servers at the same rate: a share of the throughput of the slowest in the
    /// first round.
    fn fixed_rate(&mut self, request: Request, targets: &[Target]) -> Result<(), Failed> {
        let rate = self.fixed_rates.get(&request).copied();
        let rate = rate.unwrap_or_else(|| {
            let mut counts = self.plan.connections.iter().copied();
            let connections = counts.find(|count| *count > 1).unwrap_or(1);
            let key = Key::under_load(Quantity::Throughput, request, connections);
            let slowest = self.samples.medians(key).reduce(f64::min);
            even(slowest.unwrap_or(0.0) * self.plan.of_slowest)
        });
        self.fixed_rates.insert(request, rate);
        for place in self.order() {
            let what = format!("{}, {rate} per second", request.title());
            self.progress
                .show(&what, &self.contenders[place].server.name);
            let seconds = self.plan.seconds;
            let load = targets[place].load(request);
            let paced = self
                .generator
                .at_rate(self.fixed_rate, &load, rate, seconds)?;
            let void = paced.void(rate);
            for (quantity, number) in [
                (Quantity::FixedRateP50, paced.p50_ms),
                (Quantity::FixedRateP99, paced.p99_ms),
                (Quantity::FixedRateP999, paced.p999_ms),
            ] {
                let key = Key::at_fixed_rate(quantity, request);
                let sample = void.clone().map_or(Ok(number), Err);
                self.samples.add(key, place, sample);
            }
        }
        Ok(())
    }

    /// Builds and counts the floor and the frameworks.
    pub(crate) fn costs(&mut self) -> Result<(), Failed> {
        "builds".clone_into(&mut self.progress.stage);
        let built: Vec<(usize, &str)> = self
            .contenders
            .iter()
            .enumerate()
            .filter(|(_, contender)| matches!(contender.server.kind, Kind::Floor | Kind::Framework))
            .map(|(place, contender)| (place, contender.server.name.as_str()))
            .collect();
        for &(place, name) in &built {
            self.progress.show("crates and lines", name);
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            if let Some(crates) = cost::crates(name) {
                self.samples
                    .add(Key::of(Quantity::Crates), place, Ok(crates as f64));
            }
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            if let Some(lines) = cost::adapter_lines(&cost::adapter(name)) {
                self.samples
                    .add(Key::of(Quantity::AdapterLines), place, Ok(lines as f64));
            }
        }
        if self.plan.builds == 0 {
            return Ok(());
        }
        let folder = BuildFolder::open(&self.generator.output.join("builds"))?;
        for &(place, name) in &built {
            self.progress.show("the smallest server", name);
            #[expect(clippy::cast_precision_loss, reason = "bytes of a program")]
            let bytes = folder.size(name, "dist")? as f64;
            let key = Key::of(Quantity::BinarySize);
            self.samples.add(key, place, Ok(bytes / 1024.0 / 1024.0));
        }
        for round in 1..=self.plan.builds {
            self.progress.stage = format!("builds, round {round} of {}", self.plan.builds);
            let mut order = built.clone();
            self.random.shuffle(&mut order);
            for (place, name) in order {
                self.progress.show("a clean build", name);
                let clean = folder.clean_build(name)?;
                // The first incremental build creates the state that later builds start from.
                folder.incremental_build(name, 0)?;
                let again = folder.incremental_build(name, round)?;
                for (quantity, took) in [
                    (Quantity::CleanBuild, clean),
                    (Quantity::IncrementalBuild, again),
                ] {
                    let sample = Ok(took.as_secs_f64());
                    self.samples.add(Key::of(quantity), place, sample);
                }
            }
        }
        Ok(())
    }
}

/// A rate rounded to two digits, which the connections can share evenly.
fn even(rate: f64) -> u32 {
    let rate = rate.max(f64::from(FIXED_RATE_CONNECTIONS));
    let step = 10_f64.powf(rate.log10().floor() - 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate"
    )]
    let rounded = ((rate / step).floor() * step) as u32;
    rounded.next_multiple_of(FIXED_RATE_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_rate_is_rounded() {
        for (rate, expected) in [(4_935.5, 4_900), (15_000.0, 15_000), (0.0, 20)] {
            assert_eq!(even(rate), expected, "{rate}");
        }
    }
}
