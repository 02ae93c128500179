//! Load: customers who browse, order and cancel, as many a second as asked for.
//!
//! They arrive whether or not the shop has answered those before them (an open loop), as people do
//! who do not know of each other: a slow shop gets no less to do. What they do, and when, follows
//! from a seed.

pub mod customers;
pub mod shopper;
pub mod tally;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use self::shopper::{Kind, Shopper};
use self::tally::{Outcome, Tally};

/// The most requests in flight. One more is counted as an error and not sent: if so many wait, the
/// shop has stopped answering.
pub const MOST_IN_FLIGHT: u32 = 256;

/// A machine that slept does not send afterwards what it has missed.
const LATEST: Duration = Duration::from_secs(1);

/// What the customers do: each kind with its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix(Vec<(Kind, u32)>);

impl Mix {
    /// A mix of kinds with these weights. `None` if all weights are zero.
    pub fn new(weights: impl IntoIterator<Item = (Kind, u32)>) -> Option<Self> {
        let weights: Vec<_> = weights.into_iter().filter(|(_, n)| *n > 0).collect();
        (!weights.is_empty()).then_some(Self(weights))
    }

    /// Of ten customers, six browse, three order and one cancels.
    pub fn usual() -> Self {
        let weights = [(Kind::Browse, 6), (Kind::Order, 3), (Kind::Cancel, 1)];
        Self(weights.into())
    }

    /// The kinds in it.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.0.iter().map(|(kind, _)| kind)
    }

    fn draw(&self, random: &mut fastrand::Rng) -> Kind {
        let total = self.0.iter().map(|(_, weight)| weight).sum();
        let mut at = random.u32(0..total);
        for (kind, weight) in &self.0 {
            if at < *weight {
                return kind.clone();
            }
            at -= weight;
        }
        unreachable!("the weights add up to the total")
    }
}

/// A load on the shop.
#[derive(Debug)]
pub struct Load {
    shopper: Arc<Shopper>,
    mix: Mix,
    random: Mutex<fastrand::Rng>,
}

/// One arrival.
struct Arrival {
    kind: Kind,
    /// Selects the user, the product and so on.
    pick: u32,
    /// The time until the next arrival.
    gap: Duration,
}

impl Load {
    /// What `shopper` does in this mix, drawn from `seed`.
    pub fn new(shopper: Arc<Shopper>, mix: Mix, seed: u64) -> Self {
        Self {
            shopper,
            mix,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        }
    }

    /// Sends `rate` requests a second until `end`, and then waits for those in flight. Each is
    /// counted in the tally that `tally` returns when it arrives.
    pub async fn run(
        &self,
        rate: f64,
        tally: impl Fn() -> Arc<Tally>,
        end: impl Future<Output = ()>,
    ) {
        let mut end = pin!(end);
        if rate <= 0.0 {
            return end.await;
        }
        let slots = Arc::new(Semaphore::new(MOST_IN_FLIGHT as usize));
        let mut next = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = &mut end => break,
                () = sleep_until(next) => {}
            }
            let Arrival { kind, pick, gap } = self.draw(rate);
            let due = next.max(Instant::now().checked_sub(LATEST).unwrap_or(next));
            next = due + gap;
            let tally = tally();
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                tally.add(&kind, &Outcome::not_sent(), None);
                continue;
            };
            let shopper = Arc::clone(&self.shopper);
            tokio::spawn(async move {
                let outcome = shopper.act(&kind, pick).await;
                // From when it was due: a customer also waits while this program is late.
                tally.add(&kind, &outcome, Some(due.elapsed()));
                drop(slot);
            });
        }
        // All slots are free once all have ended. The semaphore is never closed.
        let _ = slots.acquire_many(MOST_IN_FLIGHT).await;
    }

    fn draw(&self, rate: f64) -> Arrival {
        let mut random = self.random.lock();
        let kind = self.mix.draw(&mut random);
        let pick = random.u32(..);
        // Not evenly, as people come; but never far from the rate.
        let gap = Duration::from_secs_f64((0.5 + random.f64()) / rate);
        Arrival { kind, pick, gap }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::load::customers::Customers;
    use crate::shop::Shop;

    fn shopper() -> Arc<Shopper> {
        let shop = Shop::local(2).expect("a shop where nobody listens");
        let customers = Customers::seeded();
        let client = Client::new(Duration::from_secs(1));
        Arc::new(Shopper::new(client, shop, false, customers))
    }

    #[test]
    fn a_seed_draws_the_same_customers_each_time() {
        let draw = |seed| {
            let load = Load::new(shopper(), Mix::usual(), seed);
            let drawn = (0..200).map(|_| {
                let Arrival { kind, pick, gap } = load.draw(50.0);
                (kind, pick, gap)
            });
            drawn.collect::<Vec<_>>()
        };
        let drawn = draw(1);
        assert_eq!(drawn, draw(1));
        assert_ne!(drawn, draw(2));
        let browse = drawn.iter().filter(|(kind, ..)| *kind == Kind::Browse);
        let share = browse.count();
        assert!((90..150).contains(&share), "{share} of 200 browse");
        let time: Duration = drawn.iter().map(|(.., gap)| *gap).sum();
        assert!(
            (3.5..4.5).contains(&time.as_secs_f64()),
            "200 at 50/s in {time:?}"
        );
    }

    #[tokio::test]
    async fn a_shop_that_is_down_gets_its_load_all_the_same() {
        let load = Load::new(shopper(), Mix::usual(), 1);
        let tally = Arc::new(Tally::default());
        let end = tokio::time::sleep(Duration::from_millis(300));
        load.run(100.0, || Arc::clone(&tally), end).await;
        let sum = tally.sum();
        assert!(sum.requests() >= 10, "{sum:?}");
        assert_eq!(sum.failed(), sum.requests(), "{sum:?}");
        let kinds: Vec<_> = sum.others().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["no connection"]);
    }
}
