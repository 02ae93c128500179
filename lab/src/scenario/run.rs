//! Runs a scenario. Whatever happens, what it broke is mended at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::actions::{Action, Fault, Instances, Restart, Send, Wait};
use super::file::{At, Phase, Scenario};
use super::report::{self, Checked, Progress, State, plain};
use super::scripts::Scripts;
use crate::client::{Client, request};
use crate::load::Load;
use crate::load::customers::Customers;
use crate::load::shopper::{Kind, Shopper};
use crate::load::tally::{Outcome, Tally};
use crate::shop::{Member, Shop};

/// How long a request may take: longer than the gateway waits for a service.
const REQUEST: Duration = Duration::from_secs(10);

/// How long the shop may take until it is ready: an open circuit stays open for five seconds.
const READY: Duration = Duration::from_secs(20);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// The services that have records.
const WITH_RECORDS: [Member; 4] = [
    Member::User,
    Member::Product,
    Member::Order,
    Member::Notification,
];

/// The shop of a run, and what can be done with it.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where it is.
    pub shop: Shop,
    /// What stops and starts its processes, if something can.
    pub scripts: Option<Scripts>,
}

impl Place {
    /// The address of a program. Further instances are where `scripts/start.sh` puts them.
    pub(crate) fn origin(&self, at: At) -> String {
        let origin = self.shop.origin(at.member);
        let moved = origin.rsplit_once(':').and_then(|(host, port)| {
            let port = port.parse::<u16>().ok()?;
            Some(format!("{host}:{}", port + 10 * (at.instance - 1)))
        });
        match moved {
            Some(moved) if at.instance > 1 => moved,
            _ => origin.to_owned(),
        }
    }
}

/// Runs `scenario` at `place`, until its end or until `stop`, and tells `progress`.
pub async fn run(
    scenario: &Scenario,
    place: &Place,
    progress: &Progress,
    stop: impl Future<Output = ()>,
) {
    let mut run = Run::new(scenario, place, progress);
    let ended = tokio::select! {
        ended = run.all() => ended,
        () = stop => Err("It was stopped.".to_owned()),
    };
    let mended = run.mend().await;
    progress.change(|report| {
        let holds = report.assertions.iter().all(|one| one.holds);
        let error = match (ended.err(), mended.err()) {
            (Some(ended), Some(mended)) => {
                Some(format!("{ended} What it broke is not mended: {mended}"))
            }
            (None, Some(mended)) => Some(format!("What it broke is not mended: {mended}")),
            (ended, None) => ended,
        };
        report.state = if holds && error.is_none() {
            State::Done
        } else {
            State::Failed
        };
        report.error = error;
    });
}

struct Run<'a> {
    scenario: &'a Scenario,
    place: &'a Place,
    progress: &'a Progress,
    client: Client,
    load: Load,
    /// The phases that were measured.
    phases: Vec<report::Phase>,
    broken: Broken,
}

/// What has to be put back.
#[derive(Debug, Default)]
struct Broken {
    faults: BTreeMap<At, Vec<Fault>>,
    /// Services that were restarted, and may have other settings.
    restarted: BTreeSet<At>,
    /// Services with other instances than before.
    instances: BTreeMap<At, u16>,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, place: &'a Place, progress: &'a Progress) -> Self {
        let client = Client::new(REQUEST);
        let shop = place.shop.clone();
        let shopper = Shopper::new(client.clone(), shop, false, Customers::seeded());
        Self {
            scenario,
            place,
            progress,
            load: Load::new(Arc::new(shopper), scenario.mix.clone(), 1),
            client,
            phases: Vec::new(),
            broken: Broken::default(),
        }
    }

    async fn all(&mut self) -> Result<(), String> {
        if self.scenario.needs_terminal() && self.place.scripts.is_none() {
            return Err(format!(
                "This scenario stops and starts processes; run it in a terminal with scripts/scenario.sh run {}, on a shop of scripts/start.sh.",
                self.scenario.name
            ));
        }
        self.progress
            .say("The shop is emptied, and gets three users and three products.");
        self.prepare().await?;
        for phase in &self.scenario.phases {
            self.phase(phase).await?;
        }
        self.judge();
        Ok(())
    }

    async fn prepare(&self) -> Result<(), String> {
        for member in Member::ALL {
            self.ask(Method::DELETE, member, "/lab/faults", None)
                .await?;
        }
        self.until_ready().await?;
        for member in WITH_RECORDS {
            self.ask(Method::POST, member, "/lab/reset", None).await?;
            self.ask(Method::POST, member, "/lab/seed", None).await?;
        }
        // Through the gateway, whose cache forgets what was there before.
        for product in 1..=3 {
            let path = format!("/api/products/{product}");
            let stock = json!({ "stock": self.scenario.stock });
            self.ask(Method::PUT, Member::Gateway, &path, Some(&stock))
                .await?;
        }
        Ok(())
    }

    /// Sends a request that must succeed.
    async fn ask(
        &self,
        method: Method,
        member: Member,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(), String> {
        let url = self.place.shop.url(member, path);
        self.ask_url(method, &url, body).await
    }

    async fn ask_url(&self, method: Method, url: &str, body: Option<&Value>) -> Result<(), String> {
        let answered = match body {
            Some(body) => self.client.send_json(method.clone(), url, body).await,
            None => match request(method.clone(), url) {
                Ok(request) => self.client.send(request).await,
                Err(cause) => Err(cause),
            },
        };
        let response = answered.map_err(|cause| {
            format!("{method} {url}: {cause}. Is the shop up? scripts/start.sh starts it.")
        })?;
        if response.status.is_success() {
            return Ok(());
        }
        if response.status == 404 && url.contains("/lab/") {
            return Err(format!(
                "{url} does not exist: start the shop with LAB_MODE=on, as scripts/start.sh does."
            ));
        }
        let said = response.error().unwrap_or_default();
        Err(format!(
            "{method} {url} answered {}. {said}",
            response.status
        ))
    }

    /// Waits until all six are ready: circuits have to close, and instances to be found.
    async fn until_ready(&self) -> Result<(), String> {
        let deadline = Instant::now() + READY;
        loop {
            let missing = self.not_ready().await;
            let Some(missing) = missing else {
                return Ok(());
            };
            if Instant::now() > deadline {
                return Err(missing);
            }
            sleep(PAUSE).await;
        }
    }

    async fn not_ready(&self) -> Option<String> {
        for member in Member::ALL {
            let url = self.place.shop.url(member, "/health/ready");
            let name = member.name();
            let response = match self.client.get(&url).await {
                Ok(response) => response,
                Err(cause) => {
                    return Some(format!(
                        "{name} does not answer: {cause}. scripts/start.sh starts the shop."
                    ));
                }
            };
            let body: Value = response.json().unwrap_or_default();
            let status = body["status"].as_str().unwrap_or("broken");
            if status != "ready" {
                return Some(format!("{name} is {status}; see {url}"));
            }
        }
        let url = self.place.shop.url(Member::Gateway, "/status");
        let status = self.client.get(&url).await.ok();
        let status: Value = status.and_then(|it| it.json().ok()).unwrap_or_default();
        let services = status["services"].as_array().into_iter().flatten();
        let mut instances = services
            .filter_map(|one| one["instances"].as_array())
            .flatten();
        // One that is ejected gets requests if there is no other.
        let away = instances.find(|one| one["state"] != "up" && one["state"] != "ejected")?;
        Some(format!("{} is {}; see {url}", away["url"], away["state"]))
    }

    async fn phase(&mut self, phase: &Phase) -> Result<(), String> {
        let rate = phase.rate.unwrap_or(self.scenario.rate);
        if let Some(name) = &phase.name {
            self.progress.say(format!(
                "{name}: {} s with {rate} requests a second.",
                phase.seconds
            ));
        }
        let tally = Arc::new(Tally::default());
        let counters = self.numbers().await;
        let began = Instant::now();
        let (done, ended) = tokio::sync::oneshot::channel::<()>();
        // Only what the actions change.
        let Self {
            place,
            progress,
            client,
            load,
            scenario,
            broken,
            ..
        } = self;
        let sending = load.run(rate, || Arc::clone(&tally), async {
            // An error means that the sender is gone, which is an end too.
            let _ = ended.await;
        });
        let mut acting = Acting {
            scenario,
            place,
            progress,
            client,
            broken,
            tally: &tally,
        };
        let acting = async {
            for action in &phase.actions {
                acting.perform(action).await?;
            }
            sleep_until(began + Duration::from_secs_f64(phase.seconds)).await;
            drop(done);
            Ok::<_, String>(began.elapsed())
        };
        let ((), took) = tokio::join!(sending, acting);
        let seconds = took?.as_secs_f64();
        let Some(name) = &phase.name else {
            return Ok(());
        };
        let mut numbers = self.numbers().await;
        for (name, now) in &mut numbers {
            let before = counters.get(name).and_then(|it| it.as_ref().ok());
            if let (Ok(now), Some(before)) = (now, before)
                && self.scenario.numbers[name].is_counter()
            {
                // One that has become smaller began anew, with its service.
                *now -= if before <= now { *before } else { 0.0 };
            }
        }
        let phase = report::Phase {
            name: name.clone(),
            tally,
            seconds,
            numbers,
        };
        let measured = phase.measured();
        self.progress.say(format!("{name}: {measured}"));
        self.progress.change(|report| report.phases.push(measured));
        self.phases.push(phase);
        Ok(())
    }

    async fn numbers(&self) -> BTreeMap<String, Result<f64, String>> {
        let mut read = BTreeMap::new();
        for (name, number) in &self.scenario.numbers {
            let value = number.read(&self.client, self.place).await;
            read.insert(name.clone(), value);
        }
        read
    }

    fn judge(&self) {
        let checked = self.scenario.assertions.iter().map(|assertion| {
            let names = assertion.that.names();
            let saw = names.iter().map(|name| match self.value(name) {
                Ok(value) if name.ends_with(".errors") => {
                    format!("{name} = {} %", plain(value * 100.0))
                }
                Ok(value) => format!("{name} = {}", plain(value)),
                Err(cause) => format!("{name} is unknown: {cause}"),
            });
            Checked {
                text: assertion.text.clone(),
                holds: assertion.that.holds(|name| self.value(name)) == Ok(true),
                saw: saw.collect::<Vec<_>>().join(", "),
            }
        });
        let checked = checked.collect();
        self.progress.change(|report| {
            report.assertions = checked;
            report.answer = Some(self.scenario.answer);
            report.why = Some(self.scenario.why.clone());
        });
    }

    /// The value of a name in an assertion.
    fn value(&self, name: &str) -> Result<f64, String> {
        let parts: Vec<_> = name.split('.').collect();
        let unknown = || "it was not measured".to_owned();
        let phase = self.phases.iter().find(|phase| phase.name == parts[0]);
        let phase = phase.ok_or_else(unknown)?;
        let nothing = || "nothing was sent".to_owned();
        match parts[1..] {
            [number] if phase.numbers.contains_key(number) => phase.numbers[number].clone(),
            [field] => report::value(&phase.tally.sum(), field, phase.seconds).ok_or_else(nothing),
            [kind, field] => {
                report::value(&phase.tally.of(kind), field, phase.seconds).ok_or_else(nothing)
            }
            _ => Err(unknown()),
        }
    }

    /// Puts back what was changed, as far as that is possible. The first failure is returned.
    async fn mend(&mut self) -> Result<(), String> {
        let Broken {
            faults,
            restarted,
            instances,
        } = std::mem::take(&mut self.broken);
        if faults.is_empty() && restarted.is_empty() && instances.is_empty() {
            return Ok(());
        }
        self.progress.say("What was broken is mended.");
        let mut result = Ok(());
        for at in faults.into_keys() {
            // One that has been stopped has no faults.
            let url = format!("{}/lab/faults", self.place.origin(at));
            if let Err(fault) = self.ask_url(Method::DELETE, &url, None).await
                && at.instance == 1
            {
                result = result.and(Err(fault));
            }
        }
        if let Some(scripts) = &self.place.scripts {
            let none = BTreeMap::new();
            let mut words: Vec<(&str, Vec<String>)> = Vec::new();
            for at in restarted.iter().filter(|at| !at.is_one) {
                words.push(("stop.sh", vec![at.name()]));
            }
            for at in instances.into_keys() {
                let one = format!("{}=1", at.name());
                words.push(("start.sh", vec!["--instances".to_owned(), one]));
            }
            if !restarted.is_empty() {
                words.push(("start.sh", Vec::new()));
            }
            for (script, words) in words {
                let words: Vec<_> = words.iter().map(String::as_str).collect();
                let ran = scripts.run(script, &words, &none).await;
                result = result.and(ran.map(drop));
            }
        }
        // Waiting would not mend it.
        result?;
        self.until_ready().await
    }
}

/// What the actions of a phase need.
struct Acting<'a> {
    scenario: &'a Scenario,
    place: &'a Place,
    progress: &'a Progress,
    client: &'a Client,
    broken: &'a mut Broken,
    tally: &'a Arc<Tally>,
}

impl Acting<'_> {
    async fn perform(&mut self, action: &Action) -> Result<(), String> {
        self.progress.say(format!("{}.", action.describe()));
        match action {
            Action::Fault(fault) => {
                let all = self.broken.faults.entry(fault.at).or_default();
                all.push(fault.clone());
                let all = all.clone();
                self.set_faults(fault.at, &all).await
            }
            Action::Mend(at) => self.set_faults(*at, &[]).await,
            Action::Restart(Restart { service, with }) => self.restart(*service, with).await,
            Action::Instances(Instances { service, count }) => {
                self.broken.instances.insert(*service, *count);
                self.start(*service, &BTreeMap::new()).await
            }
            Action::Send(send) => self.send(send).await,
            Action::Wait(wait) => self.wait(wait).await,
        }
    }

    async fn set_faults(&mut self, at: At, faults: &[Fault]) -> Result<(), String> {
        if faults.is_empty() {
            self.broken.faults.insert(at, Vec::new());
        }
        let url = format!("{}/lab/faults", self.place.origin(at));
        let response = self.client.send_json(Method::PUT, &url, &faults).await;
        let response = response.map_err(|cause| format!("{url}: {cause}"))?;
        if response.status.is_success() {
            return Ok(());
        }
        // The fields that are wrong are in the body.
        let said = String::from_utf8_lossy(&response.body).into_owned();
        Err(format!("PUT {url} answered {}: {said}", response.status))
    }

    async fn restart(&mut self, at: At, with: &BTreeMap<String, String>) -> Result<(), String> {
        self.broken.restarted.insert(at);
        let scripts = self.scripts()?;
        let none = BTreeMap::new();
        let said = scripts.run("stop.sh", &[&at.name()], &none).await?;
        if said.starts_with("Nothing to stop") {
            return Err(format!(
                "{} was not started by scripts/start.sh, so it cannot be restarted here.",
                at.name()
            ));
        }
        self.start(at, with).await
    }

    async fn start(&self, at: At, with: &BTreeMap<String, String>) -> Result<(), String> {
        let name = at.member.name();
        let mut instances = self.broken.instances.iter();
        let count = instances.find(|(of, _)| of.member == at.member);
        let scripts = self.scripts()?;
        let ran = match count {
            Some((_, count)) => {
                let count = format!("{name}={count}");
                scripts
                    .run("start.sh", &["--instances", &count], with)
                    .await
            }
            None => scripts.run("start.sh", &[name], with).await,
        };
        ran.map(drop)
    }

    fn scripts(&self) -> Result<&Scripts, String> {
        let scripts = self.place.scripts.as_ref();
        scripts.ok_or_else(|| "Processes can be stopped only in a terminal.".to_owned())
    }

    async fn send(&self, send: &Send) -> Result<(), String> {
        let url = self.place.shop.url(Member::Gateway, &send.request.path);
        let mut sending = JoinSet::new();
        for _ in 0..send.times {
            let mut one =
                request(send.request.method.clone(), &url).map_err(|cause| cause.to_string())?;
            if let Some(body) = &send.body {
                let json = serde_json::to_vec(body).map_err(|cause| cause.to_string())?;
                *one.body_mut() = json.into();
                let json = hyper::header::HeaderValue::from_static("application/json");
                one.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
            }
            for (name, value) in &send.headers {
                let name = hyper::header::HeaderName::try_from(name);
                let value = hyper::header::HeaderValue::try_from(value);
                let (Ok(name), Ok(value)) = (name, value) else {
                    return Err(format!("{:?} has no headers", send.headers));
                };
                one.headers_mut().insert(name, value);
            }
            let (client, tally) = (self.client.clone(), Arc::clone(self.tally));
            sending.spawn(async move {
                let began = Instant::now();
                let outcome = Outcome::of(&client.send(one).await);
                tally.add(&Kind::Send, &outcome, Some(began.elapsed()));
            });
        }
        sending.join_all().await;
        Ok(())
    }

    async fn wait(&self, wait: &Wait) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs_f64(wait.seconds);
        let Some(until) = &wait.until else {
            sleep_until(deadline).await;
            return Ok(());
        };
        loop {
            let mut numbers = BTreeMap::new();
            for name in until.names() {
                let number = &self.scenario.numbers[name];
                numbers.insert(name, number.read(self.client, self.place).await);
            }
            let holds = until.holds(|name| numbers[name].clone());
            match holds {
                Ok(true) => return Ok(()),
                _ if Instant::now() < deadline => sleep(PAUSE).await,
                Ok(false) => {
                    return Err(format!(
                        "It did not happen within {} s that {}.",
                        wait.seconds, until
                    ));
                }
                Err(cause) => return Err(cause),
            }
        }
    }
}
