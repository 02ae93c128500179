//! The lab: what breaks a service on purpose, and what puts it back. It exists only with
//! `LAB_MODE=on`.

pub mod data;
pub(crate) mod faults;
pub(crate) mod in_flight;

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::contract::api::{Api, Route};
use crate::contract::body::{self, Field, Form};
use crate::contract::error::{ApiError, FieldError};
use crate::contract::reply::Reply;
use crate::env::Variables;
use crate::lab::data::Data;
use crate::lab::faults::Faults;
use crate::lab::in_flight::InFlight;
use crate::telemetry::recorder::{Recorder, Wanted};
use crate::values::clock::Clock;
use crate::values::text::shortened;

/// How long a reset waits for requests in flight.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many spans are shown if nothing else is said.
const USUAL_SPANS: usize = 1000;

/// The routes of the lab.
static ROUTES: LazyLock<[Route; 6]> = LazyLock::new(|| {
    [
        Route::of_lab("/lab/faults", "GET, HEAD, PUT, DELETE, OPTIONS"),
        Route::of_lab("/lab/spans", "GET, HEAD, OPTIONS"),
        Route::of_lab("/lab/settings", "GET, HEAD, OPTIONS"),
        Route::of_lab("/lab/reset", "POST, OPTIONS"),
        Route::of_lab("/lab/seed", "POST, OPTIONS"),
        Route::of_lab("/lab/clock", "POST, OPTIONS"),
    ]
});

/// The lab of a service.
#[derive(Debug)]
pub struct Lab {
    faults: Faults,
    clock: Clock,
    in_flight: Arc<InFlight>,
    recorder: Arc<Recorder>,
    settings: Variables,
    data: OnceLock<Vec<Arc<dyn Data>>>,
    /// Locked by a reset or a seed, so that there is one at a time.
    changing: Mutex<()>,
}

/// A request for the lab.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
}

/// What a request wants of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Spans,
    Settings,
    ShowFaults,
    SetFaults,
    ClearFaults,
    Reset,
    Seed,
    Clock,
}

impl Wish {
    /// Whether it is in the body.
    pub(crate) fn has_body(self) -> bool {
        matches!(self, Self::SetFaults | Self::Clock)
    }
}

impl<'a> Asked<'a> {
    /// A request with this method, path and query.
    pub fn new(method: &'a str, path: &'a str, query: Option<&'a str>) -> Self {
        Self {
            method,
            path,
            query,
        }
    }

    /// What is wanted; `None` if the lab has no such method.
    pub(crate) fn wish(self) -> Option<Wish> {
        Some(match (self.method, self.path) {
            ("GET" | "HEAD", "/lab/spans") => Wish::Spans,
            ("GET" | "HEAD", "/lab/settings") => Wish::Settings,
            ("GET" | "HEAD", "/lab/faults") => Wish::ShowFaults,
            ("PUT", "/lab/faults") => Wish::SetFaults,
            ("DELETE", "/lab/faults") => Wish::ClearFaults,
            ("POST", "/lab/reset") => Wish::Reset,
            ("POST", "/lab/seed") => Wish::Seed,
            ("POST", "/lab/clock") => Wish::Clock,
            _ => return None,
        })
    }
}

/// The body of `POST /lab/clock`.
#[derive(Deserialize)]
struct ClockBody {
    #[serde(default)]
    forward: Field<String>,
}

/// The answer to it.
#[derive(Serialize)]
struct ClockAnswer {
    /// How far the clock is ahead, as an ISO 8601 duration.
    ahead: String,
}

impl Lab {
    /// A lab without faults, whose clock is right. It shows the `settings`; `in_flight` are the
    /// requests that a reset waits for.
    pub(crate) fn new(service: &str, settings: Variables, in_flight: Arc<InFlight>) -> Self {
        Self {
            faults: Faults::default(),
            clock: Clock::default(),
            in_flight,
            recorder: Arc::new(Recorder::new(service)),
            settings,
            data: OnceLock::new(),
            changing: Mutex::default(),
        }
    }

    /// The route of a path.
    pub(crate) fn route(path: &str) -> Option<&'static Route> {
        ROUTES.iter().find(|route| route.template == path)
    }

    /// What is to be reset and seeded, in this order.
    pub(crate) fn set_data(&self, data: Vec<Arc<dyn Data>>) {
        // A service has its data once.
        let _ = self.data.set(data);
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    pub(crate) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// Does what is wished. `body` is that of the request, empty if the wish has none; `api` are
    /// the routes that can have faults.
    pub(crate) async fn answer(
        &self,
        wish: Wish,
        query: Option<&str>,
        body: &[u8],
        api: &Api,
    ) -> Result<Reply, ApiError> {
        match wish {
            Wish::Spans => return self.spans(query.unwrap_or_default()),
            Wish::Settings => return Ok(Reply::json(200, &self.settings)),
            Wish::ShowFaults => {}
            Wish::SetFaults => self.faults.replace(faults::parse(body, api)?),
            Wish::ClearFaults => self.faults.replace(Vec::new()),
            Wish::Reset => {
                self.reset().await;
                return Ok(Reply::message("The service is as it was when it started"));
            }
            Wish::Seed => {
                self.seed().await?;
                return Ok(Reply::message("The service has the data of the demo"));
            }
            Wish::Clock => return self.forward(body),
        }
        Ok(Reply::json(200, &self.faults.shown()))
    }

    /// Ends the faults first: the requests that hang by one end too.
    async fn reset(&self) {
        let _one = self.changing.lock().await;
        self.faults.replace(Vec::new());
        self.in_flight.ended(PATIENCE).await;
        for data in self.data.get().into_iter().flatten() {
            data.clear();
        }
        self.clock.reset();
    }

    async fn seed(&self) -> Result<(), ApiError> {
        let _one = self.changing.lock().await;
        let all = || self.data.get().into_iter().flatten();
        if all().any(|data| data.was_used()) {
            return Err(ApiError::conflict(
                "The service has had records already, so its next ids would be others; \
                 POST /lab/reset first",
            ));
        }
        all().try_for_each(|data| data.seed())
    }

    /// The spans that `query` asks for, as in `GET /lab/spans`.
    pub fn spans(&self, query: &str) -> Result<Reply, ApiError> {
        let (mut of, mut after, mut limit, mut newest) = (None, 0, USUAL_SPANS, false);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let wrong = |expected: &str| {
                let value = shortened(&value);
                let message = format!("{name} is {value:?}, expected {expected}");
                ApiError::validation(vec![FieldError::new(name.as_ref(), message)])
            };
            match name.as_ref() {
                "trace" => of = Some(value.into_owned()),
                "after" => {
                    after = value.parse().map_err(|_| wrong("the number of a span"))?;
                }
                "limit" => {
                    let number = value.parse().ok();
                    let number = number.filter(|number| Recorder::LIMITS.contains(number));
                    limit = number.ok_or_else(|| wrong("1 to 4096"))?;
                }
                "order" => {
                    newest = match value.as_ref() {
                        "asc" => false,
                        "desc" => true,
                        _ => return Err(wrong("asc or desc")),
                    };
                }
                _ => {}
            }
        }
        let wanted = Wanted {
            of: of.as_deref(),
            after,
            limit,
            newest,
        };
        Ok(Reply::json(200, &self.recorder.shown(&wanted)))
    }

    fn forward(&self, body: &[u8]) -> Result<Reply, ApiError> {
        let body: ClockBody = body::parse(body)?;
        let mut form = Form::default();
        let forward = form.required("forward", body.forward, |text| {
            let time = text.parse::<SignedDuration>().ok();
            let time = time.and_then(|time| Duration::try_from(time).ok());
            let time = time.filter(|time| !time.is_zero());
            time.ok_or_else(|| "must be a time such as PT15M or PT2H30M".to_owned())
        });
        let forward = form.finish(|| forward)?;
        let ahead = self.clock.forward(forward).map_err(|furthest| {
            let days = furthest.as_secs() / (24 * 60 * 60);
            ApiError::conflict(format!(
                "The clock would be more than {days} days ahead; POST /lab/reset moves it back"
            ))
        })?;
        let ahead = SignedDuration::try_from(ahead).map_err(ApiError::internal)?;
        let ahead = format!("{ahead}");
        Ok(Reply::json(200, &ClockAnswer { ahead }))
    }
}
