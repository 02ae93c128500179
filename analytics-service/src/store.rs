//! The last known totals, in memory. No lock: each total belongs to the one task that polls
//! for it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chassis::contract::health::UpDown;
use chassis::lab::data::Data;
use chassis::upstream::error::CallError;
use chassis::upstream::shared_poll::{PollDied, SharedPoll};
use chassis::values::time::Timestamp;

use crate::clients::{List, Upstreams};
use crate::model::{OrderStats, Reading, Source, Summary};

/// A shared poll for each upstream. A read waits for a poll that began after it.
#[derive(Debug)]
pub struct Totals {
    users: Watched<u64>,
    products: Watched<u64>,
    orders: Watched<OrderStats>,
    notifications: Watched<u64>,
}

/// An upstream, and the outcome of its polls.
#[derive(Debug)]
struct Watched<T> {
    service: &'static str,
    poll: SharedPoll<Reading<T>>,
    /// How often the lab has reset this: a poll forgets what was known before the last time.
    resets: Arc<AtomicU64>,
}

impl Totals {
    /// No total is known before the first read.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime: the polls run on it.
    pub fn new(upstreams: Upstreams) -> Self {
        let orders = upstreams.orders;
        Self {
            users: Watched::list(upstreams.users),
            products: Watched::list(upstreams.products),
            orders: Watched::new(orders.service(), move || orders.clone().stats()),
            notifications: Watched::list(upstreams.notifications),
        }
    }

    /// How many users there are.
    pub async fn users(&self) -> Result<Reading<u64>, PollDied> {
        self.users.poll.fresh().await
    }

    /// How many products there are.
    pub async fn products(&self) -> Result<Reading<u64>, PollDied> {
        self.products.poll.fresh().await
    }

    /// How many orders there are, and what they are worth.
    pub async fn orders(&self) -> Result<Reading<OrderStats>, PollDied> {
        self.orders.poll.fresh().await
    }

    /// How many notifications there are.
    pub async fn notifications(&self) -> Result<Reading<u64>, PollDied> {
        self.notifications.poll.fresh().await
    }

    /// All totals. Polls the four concurrently.
    pub async fn summary(&self) -> Result<Summary, PollDied> {
        let (users, products, orders, notifications) = tokio::try_join!(
            self.users(),
            self.products(),
            self.orders(),
            self.notifications(),
        )?;
        Ok(Summary {
            total_users: users.value(),
            total_products: products.value(),
            total_orders: orders.value().map(|stats| stats.total),
            total_notifications: notifications.value(),
            timestamp: Timestamp::now(),
            services: [
                Source::new(self.users.service, &users),
                Source::new(self.products.service, &products),
                Source::new(self.orders.service, &orders),
                Source::new(self.notifications.service, &notifications),
            ],
        })
    }
}

/// Forgets the last known totals.
impl Data for Totals {
    fn clear(&self) {
        self.users.forget();
        self.products.forget();
        self.orders.forget();
        self.notifications.forget();
    }
}

impl Watched<u64> {
    fn list(list: List) -> Self {
        Self::new(list.service(), move || list.clone().total())
    }
}

impl<T: Copy + Send + 'static> Watched<T> {
    fn new<F>(service: &'static str, ask: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<T, CallError>> + Send + 'static,
    {
        let (resets, mut seen) = (Arc::<AtomicU64>::default(), 0);
        let count = Arc::clone(&resets);
        let poll = SharedPoll::new(Reading::UNKNOWN, move |mut before: Reading<T>| {
            let resets = count.load(Ordering::Relaxed);
            if resets != seen {
                (seen, before) = (resets, Reading::UNKNOWN);
            }
            let (begun, asked) = (Timestamp::now(), ask());
            async move {
                let answer = asked.await;
                log_change(service, before.status, answer.as_ref().err());
                before.after(begun, answer.ok())
            }
        });
        Self {
            service,
            poll,
            resets,
        }
    }

    fn forget(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
    }
}

/// Logs a change of state: one line when a service goes down, not one for each poll.
fn log_change(service: &'static str, before: UpDown, error: Option<&CallError>) {
    match (before, error) {
        (UpDown::Up, Some(error)) => {
            tracing::warn!(upstream = service, %error, "down: reporting its last known total");
        }
        (UpDown::Down, None) => tracing::info!(upstream = service, "up again"),
        (UpDown::Up, None) | (UpDown::Down, Some(_)) => {}
    }
}
