//! The registry, as the services see it. Each instance of a service registers there, and those that
//! call the service read there where its instances are. The gateway is the registry.
//!
//! ```text
//! PUT    /registry/{service}/{instance}   registers the instance, or renews it, every 2 s
//! DELETE /registry/{service}/{instance}   before the instance shuts down
//! GET    /registry                        where all instances are, asked for every 2 s
//! ```

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use utoipa::ToSchema;

use crate::env::{Env, Parameter};
use crate::upstream::line::{Line, closes};
use crate::upstream::url::UpstreamUrl;

/// The path of the registry.
pub const PATH: &str = "/registry";

/// The pause between two renewals of an instance, and between two questions for all instances.
pub const RENEW_EVERY: Duration = Duration::from_secs(2);

/// How long an instance is known that is not renewed.
pub const FORGET_AFTER: Duration = Duration::from_secs(6);

/// How long the registry may take to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The pause after the first request that fails; it doubles up to [`RENEW_EVERY`]. Short, because
/// the registry may be just about to start.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The port of the registry on this machine, without `REGISTRY_URL`: that of the gateway.
const PORT: u16 = 8000;

/// Where all registered instances are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listing {
    /// Changes when the registry starts anew.
    #[schema(examples("4467-5f0c3d5e"))]
    pub registry: String,
    /// Whether each instance that runs has had the time to register: false in the first six seconds
    /// of the registry.
    pub complete: bool,
    /// The instances, by service and id.
    pub instances: Vec<Registered>,
}

/// A registered instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Registered {
    /// The service.
    #[schema(examples("analytics-service"))]
    pub service: String,
    /// The id that the instance has chosen.
    #[schema(examples("4462-5f0c3d5e"))]
    pub instance: String,
    /// Where it listens.
    #[schema(value_type = String, examples("127.0.0.1:8005"))]
    pub address: SocketAddr,
}

/// An id for a run of a program: its process, and a number that no later process with the same id
/// has.
pub fn run_id() -> String {
    format!("{}-{:08x}", std::process::id(), fastrand::u32(..))
}

/// Where the registry is, and what it wants to see. Cheap to clone; clones ask it once for all.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    url: Option<UpstreamUrl>,
    token: Option<Token>,
    listings: Arc<OnceLock<Listings>>,
}

/// The listings as they come, and the task that asks for them.
#[derive(Debug)]
struct Listings {
    latest: watch::Receiver<Listing>,
    _asking: Option<AbortOnDropHandle<()>>,
}

/// The secret of those who may register: the value of `REGISTRY_TOKEN`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    const EXPECTED: &'static str = "16 to 256 visible ASCII characters";

    fn parse(value: &str) -> Option<Self> {
        let is_visible = value.bytes().all(|byte| byte.is_ascii_graphic());
        (is_visible && (16..=256).contains(&value.len())).then(|| Self(value.to_owned()))
    }

    /// Whether the value of an `Authorization` header has this token. The time that it takes does
    /// not tell how much of it is right.
    pub fn is_in(&self, authorization: &[u8]) -> bool {
        let (scheme, given) = authorization.split_at(authorization.len().min(7));
        let difference = given.iter().zip(self.0.bytes());
        let difference = difference.fold(0, |all, (one, other)| all | (one ^ other));
        scheme.eq_ignore_ascii_case(b"bearer ") && given.len() == self.0.len() && difference == 0
    }
}

/// A response of the registry.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    body: Bytes,
}

impl Answer {
    /// What the registry says about a refusal.
    pub(crate) fn sentence(&self) -> String {
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
        }
        let refusal = serde_json::from_slice::<Refusal>(&self.body);
        let said =
            refusal.map(|refusal| crate::values::text::shortened(&refusal.error).into_owned());
        let said = said.unwrap_or_else(|_| "no answer of a registry".to_owned());
        format!("{}: {said}", self.status.as_u16())
    }
}

impl Registry {
    /// Reads where the registry is.
    pub fn read(env: &mut Env<'_>) -> Self {
        Self {
            url: env.parsed("REGISTRY_URL", UpstreamUrl::EXPECTED, UpstreamUrl::parse),
            token: env.secret("REGISTRY_TOKEN", Token::EXPECTED, Token::parse),
            listings: Arc::default(),
        }
    }

    /// The registry of this process.
    pub fn own(latest: watch::Receiver<Listing>) -> Self {
        let listings = Listings {
            latest,
            _asking: None,
        };
        Self {
            listings: Arc::new(OnceLock::from(listings)),
            ..Self::default()
        }
    }

    /// Where it is, if the environment says so: then an instance registers there.
    pub fn url(&self) -> Option<&UpstreamUrl> {
        self.url.as_ref()
    }

    /// The token of those who may register.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// The listings, the latest one first. While the registry does not answer, the last one
    /// stays.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: the registry is asked by a task.
    pub fn follow(&self) -> watch::Receiver<Listing> {
        let listings = self.listings.get_or_init(|| {
            let (told, latest) = watch::channel(Listing::default());
            // Without the listings, or they would never be dropped.
            let registry = Self {
                listings: Arc::default(),
                ..self.clone()
            };
            Listings {
                latest,
                _asking: Some(AbortOnDropHandle::new(tokio::spawn(registry.ask(told)))),
            }
        });
        listings.latest.clone()
    }

    /// Asks for all instances again and again.
    async fn ask(self, told: watch::Sender<Listing>) {
        let (mut line, mut pause) = (None, Pause::default());
        let mut was_there = true;
        loop {
            let listing = timeout(TIMEOUT, self.listing(&mut line)).await;
            let listing = listing.unwrap_or_else(|_| Err(format!("no answer within {TIMEOUT:?}")));
            let is_there = listing.is_ok();
            let registry = self.shown();
            match listing {
                Ok(listing) => {
                    if !was_there {
                        tracing::info!(registry, "the registry answers again");
                    }
                    told.send_if_modified(|last| {
                        let is_new = *last != listing;
                        *last = listing;
                        is_new
                    });
                }
                Err(error) => {
                    line = None;
                    if was_there {
                        tracing::warn!(
                            registry,
                            error,
                            "the registry does not answer, the last known instances stay in use"
                        );
                    }
                }
            }
            was_there = is_there;
            sleep(pause.after(is_there)).await;
        }
    }

    async fn listing(&self, line: &mut Option<Line>) -> Result<Listing, String> {
        let any = IpAddr::from([0_u16; 8]);
        let answer = self.send(line, any, Method::GET, PATH, |_| None).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(answer.sentence());
        }
        let listing = serde_json::from_slice::<Listing>(&answer.body);
        let mut listing = listing.map_err(|cause| format!("no list of instances: {cause}"))?;
        listing.instances.retain(|one| one.address.port() != 0);
        Ok(listing)
    }

    /// Sends a request to the registry on `line`, or on a new connection from the address `from` if
    /// there is none or if it is closed. `body` makes the body, for a connection whose end is at
    /// this address.
    pub(crate) async fn send(
        &self,
        line: &mut Option<Line>,
        from: IpAddr,
        method: Method,
        path: &str,
        body: impl FnOnce(IpAddr) -> Option<Vec<u8>>,
    ) -> io::Result<Answer> {
        let url = self.url.clone().unwrap_or_else(|| UpstreamUrl::local(PORT));
        let mut open = match line.take().filter(|line| !line.is_closed()) {
            Some(open) => open,
            None => Line::open_from(from, url.host_and_port()).await?,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, url.authority());
        if let Some(Token(token)) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = body(open.local().ip().to_canonical());
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::from(body.unwrap_or_default());
        let request = request.body(body).map_err(io::Error::other)?;
        let (head, body) = open.ask(request).await?;
        *line = (!closes(&head)).then_some(open);
        Ok(Answer {
            status: head.status,
            body,
        })
    }

    fn shown(&self) -> &str {
        self.url.as_ref().map_or("the gateway", UpstreamUrl::as_str)
    }
}

/// The pauses between requests to the registry.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    /// The pause after a request that has succeeded or not.
    pub(crate) fn after(&mut self, success: bool) -> Duration {
        let next = if success {
            FIRST_PAUSE
        } else {
            (2 * self.0).min(RENEW_EVERY)
        };
        let pause = std::mem::replace(&mut self.0, next);
        if success { RENEW_EVERY } else { pause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_never_shown() {
        for (value, is_good) in [
            ("0123456789abcdef", true),
            ("0123456789abcde", false),
            ("0123456789 abcdef", false),
            ("0123456789abcde\u{e4}", false),
            (&*"x".repeat(256), true),
            (&*"x".repeat(257), false),
        ] {
            assert_eq!(Token::parse(value).is_some(), is_good, "{value}");
        }
        let env = Env::new(|name| (name == "REGISTRY_TOKEN").then(|| "too short".to_owned()));
        let mut env = env;
        Registry::read(&mut env);
        let error = env.finish(()).expect_err("it is too short").to_string();
        let expected =
            "REGISTRY_TOKEN has 9 characters, expected 16 to 256 visible ASCII characters";
        assert_eq!(error, expected);
        let token = Token::parse("0123456789abcdef");
        assert!(!format!("{token:?}").contains("0123"));
    }

    #[test]
    fn a_header_has_the_token_or_not() {
        let token = Token::parse("0123456789abcdef").expect("a token");
        for (header, is_in) in [
            ("Bearer 0123456789abcdef", true),
            ("bearer 0123456789abcdef", true),
            ("Bearer 0123456789abcdeX", false),
            ("Bearer 0123456789abcdef0", false),
            ("Bearer 0123456789abcde", false),
            ("Bearer ", false),
            ("0123456789abcdef", false),
            ("Basic 0123456789abcdef", false),
            ("", false),
        ] {
            assert_eq!(token.is_in(header.as_bytes()), is_in, "{header}");
        }
    }

    #[test]
    fn a_registry_that_is_away_is_asked_soon_and_then_less_often() {
        let mut pause = Pause::default();
        let ms = |ms| Duration::from_millis(ms);
        assert_eq!(pause.after(true), RENEW_EVERY);
        let pauses: Vec<_> = (0..8).map(|_| pause.after(false)).collect();
        let expected = [50, 100, 200, 400, 800, 1600, 2000, 2000].map(ms);
        assert_eq!(pauses, expected);
        assert_eq!(pause.after(true), RENEW_EVERY);
        assert_eq!(pause.after(false), ms(50), "from the start");
    }
}
