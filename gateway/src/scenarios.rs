//! The scenarios of the lab, for a page: `/lab/scenarios`. The crate `lab` runs them, as it does for
//! `scripts/scenario.sh`. A run sees the shop as a client does: through HTTP, and the gateway.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use chassis::contract::body::{self, Field, Form, whole};
use chassis::contract::error::ApiError;
use chassis::contract::reply::Reply;
use chassis::values::money::Number;
use hyper::Method;
use lab::scenario::report::{Progress, State};
use lab::scenario::run::{Place, run};
use lab::scenario::{self, Scenario};
use lab::shop::Shop;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::App;

/// What their paths begin with.
pub const PREFIX: &str = "/lab/scenarios";

/// The latest run of each scenario.
#[derive(Debug, Default)]
pub struct Scenarios {
    /// Where the gateway listens.
    own: OnceLock<SocketAddr>,
    // No more than there are scenarios.
    runs: Mutex<BTreeMap<String, Run>>,
}

#[derive(Debug)]
struct Run {
    progress: Arc<Progress>,
    stop: CancellationToken,
}

impl Run {
    fn is_running(&self) -> bool {
        self.progress.report().state == State::Running
    }
}

/// The body of a request for a run.
#[derive(Default, Deserialize)]
struct RunBody {
    #[serde(default)]
    choice: Field<Number>,
}

impl Scenarios {
    /// Says where the gateway listens: the load of a run goes there.
    pub fn listen_at(&self, mut address: SocketAddr) {
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        // A gateway has one port without TLS.
        let _ = self.own.set(address);
    }
}

/// What a request for the scenarios wants; the error is the reply to any other one.
pub enum Wish {
    /// The list.
    List,
    /// To see the latest run of a scenario.
    See(Scenario),
    /// To run it. The request may have a body.
    Run(Scenario),
    /// To stop it.
    Stop(Scenario),
}

impl Wish {
    /// That of a request with this method and path.
    pub fn of(method: &Method, path: &str) -> Result<Self, ApiError> {
        let rest = path.strip_prefix(PREFIX).unwrap_or_default();
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        if rest.is_empty() {
            return if is_read {
                Ok(Self::List)
            } else {
                let method = method.as_str();
                Err(ApiError::method_not_allowed(method, "GET, HEAD, OPTIONS"))
            };
        }
        let name = rest
            .strip_prefix('/')
            .and_then(|it| it.strip_suffix("/run"));
        let name = name.ok_or_else(|| {
            ApiError::not_found("There is /lab/scenarios, and /lab/scenarios/{name}/run")
        })?;
        let scenario = scenario::named(name).map_err(|_| ApiError::no_such("scenario", name))?;
        match method.as_str() {
            "GET" | "HEAD" => Ok(Self::See(scenario)),
            "POST" => Ok(Self::Run(scenario)),
            "DELETE" => Ok(Self::Stop(scenario)),
            other => {
                let allow = "GET, HEAD, POST, DELETE, OPTIONS";
                Err(ApiError::method_not_allowed(other, allow))
            }
        }
    }
}

/// Does what is wished. `body` is that of a request for a run, empty if it has none.
pub fn answer(app: &App, wish: Wish, body: &[u8]) -> Result<Reply, ApiError> {
    let (status, progress) = match wish {
        Wish::List => return list(),
        Wish::Run(scenario) => (202, begin(app, scenario, body)?),
        Wish::See(scenario) => (200, latest(app, &scenario, false)?),
        Wish::Stop(scenario) => (202, latest(app, &scenario, true)?),
    };
    Ok(Reply::json(status, &progress.report()))
}

fn list() -> Result<Reply, ApiError> {
    let all = scenario::ALL.iter();
    let all: Result<Vec<_>, _> = all
        .map(|(name, _)| scenario::named(name).map(|one| one.listed()))
        .collect();
    Ok(Reply::json(200, &all.map_err(ApiError::internal)?))
}

fn latest(app: &App, scenario: &Scenario, stop: bool) -> Result<Arc<Progress>, ApiError> {
    let runs = app.scenarios.runs.lock();
    let run = runs.get(&scenario.name).ok_or_else(|| {
        let name = &scenario.name;
        ApiError::not_found(format!("The scenario {name} has not been run here"))
    })?;
    if stop {
        run.stop.cancel();
    }
    Ok(Arc::clone(&run.progress))
}

fn begin(app: &App, scenario: Scenario, body: &[u8]) -> Result<Arc<Progress>, ApiError> {
    let choice = choice(&scenario, body)?;
    if scenario.needs_terminal() {
        return Err(ApiError::conflict(format!(
            "This scenario stops processes, which the gateway cannot; run it in a terminal: scripts/scenario.sh run {}",
            scenario.name
        )));
    }
    let place = place(app)?;
    let mut runs = app.scenarios.runs.lock();
    if let Some((name, _)) = runs.iter().find(|(_, run)| run.is_running()) {
        return Err(ApiError::conflict(format!(
            "The scenario {name} is running; wait for its end, or stop it"
        )));
    }
    let progress = Arc::new(Progress::new(&scenario.name, choice, |_| {}));
    let stop = CancellationToken::new();
    let one = Run {
        progress: Arc::clone(&progress),
        stop: stop.clone(),
    };
    runs.insert(scenario.name.clone(), one);
    let (shutdown, told) = (app.service.shutdown().clone(), Arc::clone(&progress));
    app.service.shutdown().spawn(async move {
        let stopped = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = shutdown.requested() => {}
            }
        };
        run(&scenario, &place, &told, stopped).await;
    });
    Ok(progress)
}

/// The predicted choice, if there is one.
fn choice(scenario: &Scenario, body: &[u8]) -> Result<Option<usize>, ApiError> {
    if body.is_empty() {
        return Ok(None);
    }
    let body: RunBody = body::parse(body)?;
    let most = u32::try_from(scenario.choices.len()).unwrap_or(u32::MAX);
    let mut form = Form::default();
    let choice = form.optional("choice", body.choice, whole(1..=most));
    let choice = form.finish(|| Some(choice))?;
    Ok(choice.map(|choice| choice as usize))
}

/// The shop as the gateway knows it: the first instance of each service, and itself.
fn place(app: &App) -> Result<Place, ApiError> {
    let own = app.scenarios.own.get();
    let own = own.ok_or_else(|| ApiError::internal("the gateway does not listen yet"))?;
    let mut origins = app.upstreams.iter().map(|upstream| {
        let first = upstream.instances().states().into_iter().next();
        let url = first.map(|one| one.url);
        url.ok_or_else(|| ApiError::dependency_unavailable(upstream.name(), "not known"))
    });
    let mut next = || {
        let origin = origins.next();
        origin.unwrap_or_else(|| Err(ApiError::internal("the gateway has five upstreams")))
    };
    let origins = [
        next()?,
        next()?,
        next()?,
        next()?,
        next()?,
        format!("http://{own}"),
    ];
    Ok(Place {
        shop: Shop::at(origins),
        scripts: None,
    })
}
