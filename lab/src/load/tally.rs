//! What became of requests: how many succeeded, why the others did not, and how long they took.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::shopper::Kind;
use crate::client::{NoResponse, Response};

/// The most different outcomes that are told apart.
const MOST_OUTCOMES: usize = 32;

/// Outcomes after which nobody knows whether the request was carried out.
const UNKNOWN: [&str; 4] = ["502 outcome_unknown", "504 gateway_timeout", CUT_OFF, LATE];
const CUT_OFF: &str = "cut off";
const LATE: &str = "no response in time";

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As its customer wanted.
    Ok,
    /// As its customer wanted, but at another price than the one that was shown.
    Surprised,
    /// Otherwise: the status and the code of an error, such as `409 insufficient_stock`, or why
    /// there is no response.
    Other(String),
}

impl Outcome {
    /// That of a request for which there was no room.
    pub fn not_sent() -> Self {
        Self::Other("not sent".to_owned())
    }

    /// That of a response. A success must be JSON.
    pub fn of(answered: &Result<Response, NoResponse>) -> Self {
        let other = |text: &str| Self::Other(text.to_owned());
        let response = match answered {
            Ok(response) => response,
            Err(NoResponse::NotReached(_)) => return other("no connection"),
            Err(NoResponse::TimedOut(_)) => return other(LATE),
            Err(NoResponse::CutOff) => return other(CUT_OFF),
            Err(NoResponse::NoUrl(_) | NoResponse::TooLong) => return other("unusable"),
        };
        let status = response.status.as_u16();
        let body = response.json::<serde_json::Value>().ok();
        if response.status.is_success() {
            return match body {
                Some(_) => Self::Ok,
                None => Self::Other(format!("{status} without JSON")),
            };
        }
        let code = body.as_ref().and_then(|body| body.get("code")?.as_str());
        // It may be anything that calls itself the shop.
        let code: String = code.unwrap_or_default().chars().take(40).collect();
        Self::Other(format!("{status} {code}").trim_end().to_owned())
    }
}

/// The outcomes of requests, by what their customers did.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Vec<(Kind, Counts)>>);

impl Tally {
    /// Counts a request. `took` is none if it was not sent.
    pub fn add(&self, kind: &Kind, outcome: &Outcome, took: Option<Duration>) {
        let mut all = self.0.lock();
        let place = all.iter().position(|(one, _)| one == kind);
        let place = place.unwrap_or_else(|| {
            all.push((kind.clone(), Counts::default()));
            all.len() - 1
        });
        all[place].1.add(outcome, took);
    }

    /// Those of one kind.
    pub fn of(&self, name: &str) -> Counts {
        self.total(|kind| kind.name() == name)
    }

    /// All of them.
    pub fn sum(&self) -> Counts {
        self.total(|_| true)
    }

    /// All of them, and begins anew.
    pub fn take(&self) -> Counts {
        let mut sum = Counts::default();
        for (_, counts) in std::mem::take(&mut *self.0.lock()) {
            sum.merge(&counts);
        }
        sum
    }

    fn total(&self, wanted: impl Fn(&Kind) -> bool) -> Counts {
        let mut sum = Counts::default();
        for (_, counts) in self.0.lock().iter().filter(|(kind, _)| wanted(kind)) {
            sum.merge(counts);
        }
        sum
    }
}

/// How many requests ended how.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    ok: u64,
    surprised: u64,
    others: BTreeMap<String, u64>,
    times: Times,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome, took: Option<Duration>) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Surprised => {
                self.ok += 1;
                self.surprised += 1;
            }
            Outcome::Other(label) => {
                let is_new = !self.others.contains_key(label);
                let label = if is_new && self.others.len() >= MOST_OUTCOMES {
                    "something else"
                } else {
                    label
                };
                *self.others.entry(label.to_owned()).or_default() += 1;
                // It was answered at once, and says nothing about the shop.
                if label.starts_with("429") {
                    return;
                }
            }
        }
        if let Some(took) = took {
            self.times.add(took);
        }
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Self) {
        self.ok += other.ok;
        self.surprised += other.surprised;
        for (label, count) in &other.others {
            *self.others.entry(label.clone()).or_default() += count;
        }
        self.times.merge(&other.times);
    }

    fn those(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        let wanted = self.others.iter().filter(|(label, _)| wanted(label));
        wanted.map(|(_, count)| count).sum()
    }

    /// All requests.
    pub fn requests(&self) -> u64 {
        self.ok + self.those(|_| true)
    }

    /// Those that succeeded.
    pub fn ok(&self) -> u64 {
        self.ok
    }

    /// Orders at another price than the one that was shown.
    pub fn surprised(&self) -> u64 {
        self.surprised
    }

    /// Those that the gateway refused with 429.
    pub fn limited(&self) -> u64 {
        self.those(|label| label.starts_with("429"))
    }

    /// Those that a service judged and refused, such as an order for more than there is.
    pub fn refused(&self) -> u64 {
        self.those(|label| label.starts_with('4')) - self.limited()
    }

    /// Those that got an error, no response or an unusable one.
    pub fn failed(&self) -> u64 {
        self.those(|label| !label.starts_with('4'))
    }

    /// Those that may have been carried out or not.
    pub fn unknown(&self) -> u64 {
        self.those(|label| UNKNOWN.contains(&label))
    }

    /// [`failed`](Self::failed) as a share of all, 0 to 1. 0 if there are none.
    pub fn error_share(&self) -> f64 {
        if self.requests() == 0 {
            return 0.0;
        }
        as_f64(self.failed()) / as_f64(self.requests())
    }

    /// The outcomes of those that did not succeed, and how often each was.
    pub fn others(&self) -> impl Iterator<Item = (&str, u64)> {
        self.others.iter().map(|(label, count)| (&**label, *count))
    }

    /// The time within which this share of the requests ended, in milliseconds.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        self.times.quantile(share)
    }
}

/// A count as a number for a calculation. Counts here are far below 2^52.
#[expect(clippy::cast_precision_loss)]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

/// A histogram: it takes the same memory however many times there are. A bucket is 2 % wider than
/// the one before.
#[derive(Clone, Debug, Default)]
struct Times {
    buckets: Vec<u64>,
    count: u64,
}

/// The upper bound of the first bucket, in milliseconds.
const FIRST: f64 = 0.05;
const GROWTH: f64 = 1.02;
/// So that the last one has more than a minute.
const BUCKETS: usize = 720;

impl Times {
    fn add(&mut self, took: Duration) {
        let above = (took.as_secs_f64() * 1e3 / FIRST).max(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let place = (above.ln() / GROWTH.ln()).ceil() as usize;
        self.buckets.resize(BUCKETS, 0);
        self.buckets[place.min(BUCKETS - 1)] += 1;
        self.count += 1;
    }

    fn merge(&mut self, other: &Self) {
        if other.count > 0 {
            self.buckets.resize(BUCKETS, 0);
        }
        for (one, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *one += more;
        }
        self.count += other.count;
    }

    fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = as_f64(self.count) * share;
        let mut seen = 0;
        let place = self.buckets.iter().position(|count| {
            seen += count;
            seen > 0 && as_f64(seen) >= wanted
        });
        let place = i32::try_from(place?).ok()?;
        Some(FIRST * GROWTH.powi(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_told_apart() {
        let tally = Tally::default();
        let other = |label: &str| Outcome::Other(label.to_owned());
        for (kind, outcome, times) in [
            (Kind::Order, Outcome::Ok, 5),
            (Kind::Order, Outcome::Surprised, 1),
            (Kind::Order, other("409 insufficient_stock"), 2),
            (Kind::Order, other("503 dependency_unavailable"), 1),
            (Kind::Order, other("504 gateway_timeout"), 1),
            (Kind::Browse, other("429 rate_limited"), 4),
            (Kind::Browse, other("no connection"), 2),
        ] {
            for _ in 0..times {
                tally.add(&kind, &outcome, Some(Duration::from_millis(10)));
            }
        }
        let orders = tally.of("order");
        assert_eq!(
            (orders.requests(), orders.ok(), orders.refused()),
            (10, 6, 2)
        );
        assert_eq!(
            (orders.failed(), orders.unknown(), orders.surprised()),
            (2, 1, 1)
        );
        assert!((orders.error_share() - 0.2).abs() < 1e-9);
        let sum = tally.take();
        assert_eq!((sum.requests(), sum.limited(), sum.failed()), (16, 4, 4));
        assert_eq!(tally.sum().requests(), 0, "it began anew");
        assert!(tally.sum().quantile(0.5).is_none());
    }

    #[test]
    fn quantiles_are_right_within_two_percent() {
        let tally = Tally::default();
        for ms in 1..=1000 {
            let took = Duration::from_millis(ms);
            tally.add(&Kind::Browse, &Outcome::Ok, Some(took));
        }
        let sum = tally.sum();
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (0.001, 1.0)] {
            let got = sum.quantile(share).expect("there are some");
            assert!((got / expected - 1.0).abs() < 0.021, "{share}: {got}");
        }
        // Nothing is too short or too long.
        for took in [Duration::ZERO, Duration::from_hours(10)] {
            tally.add(&Kind::Browse, &Outcome::Ok, Some(took));
        }
        assert_eq!(tally.sum().requests(), 1002);
    }

    #[test]
    fn there_is_a_bound_on_different_outcomes() {
        let tally = Tally::default();
        for number in 0..1000 {
            let outcome = Outcome::Other(format!("500 code_{number}"));
            tally.add(&Kind::Browse, &outcome, None);
        }
        let sum = tally.sum();
        assert_eq!(sum.failed(), 1000);
        assert!(sum.others().count() <= MOST_OUTCOMES + 1);
    }
}
