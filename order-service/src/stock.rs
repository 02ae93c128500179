//! product-service: what can be ordered, at which price, and how much there is.
//!
//! Stock must be taken for every order that stands and for no other, although the
//! response to a stock change can get lost. So every change has an idempotency key, and
//! repeating it is safe. While the outcome of a change is unknown, order-service repeats
//! it until product-service answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chassis::serve::shutdown::{GRACE, Shutdown};
use chassis::telemetry::context::Context;
use chassis::upstream::call::Call;
use chassis::upstream::client::Upstream;
use chassis::upstream::error::CallError;
use chassis::upstream::resilience::jittered;
use chassis::values::id::Id;
use chassis::values::money::Money;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::instrument;
use uuid::Uuid;

use crate::error::OrderError;
use crate::model::Order;

/// The most changes with an unknown outcome at once. Each is a task that sends a request
/// a second.
const MAX_DOUBTS: usize = 1000;

/// How long a change with an unknown outcome is repeated: longer than most outages.
const SETTLE_WITHIN: Duration = Duration::from_mins(10);

/// The pauses between repetitions: the first, and the longest.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
const SETTLE_MAX_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause that product-service, or what is in between, can ask for.
const SETTLE_MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// The time-out of a repetition: longer than a client waits.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long repetitions go on after a shutdown is requested.
const SETTLE_IN_SHUTDOWN: Duration = GRACE.saturating_sub(Duration::from_secs(2));

/// The client for product-service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Products(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    upstream: Upstream,
    shutdown: Shutdown,
    /// Makes the keys of this process differ from those of any other.
    process: Uuid,
    changes: AtomicU64,
    /// A permit for each change with an unknown outcome.
    doubts: Semaphore,
}

/// The codes with which product-service refuses a change of stock. No other refusal is about
/// the change itself.
const VERDICTS: [&str; 3] = ["not_found", "insufficient_stock", "validation_failed"];

/// The fields of a product that an order needs.
#[derive(Debug, Deserialize)]
struct Product {
    id: Id,
    #[serde(deserialize_with = "price")]
    price: Money,
}

/// A price within the contract. With another one, the total of an order could be more than an
/// amount can hold.
fn price<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
    let price = Money::deserialize(deserializer)?;
    if (Money::ZERO..=Money::MAX_PRICE).contains(&price) {
        return Ok(price);
    }
    let most = Money::MAX_PRICE;
    Err(D::Error::custom(format_args!(
        "the price is {price}, expected 0 to {most}"
    )))
}

impl Product {
    /// Fails if this is another product.
    fn with_id(self, id: Id) -> Result<Self, CallError> {
        if self.id == id {
            return Ok(self);
        }
        Err(CallError::other_record(id, self.id))
    }
}

/// Stock that is taken, for an order that is not saved yet. Dropped, it is returned in the
/// background.
#[derive(Debug)]
#[must_use = "dropped, the stock is returned"]
pub struct Taken {
    /// The price of one piece when the stock was taken.
    pub price: Money,
    products: Products,
    id: Id,
    quantity: u32,
    is_kept: bool,
}

impl Taken {
    /// The order is saved: the stock is its own.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.is_kept {
            let (products, id, quantity) = (self.products.clone(), self.id, self.quantity);
            let returning = async move { products.return_until_known(id, quantity).await };
            self.products.in_background(returning);
        }
    }
}

/// A change of stock, with the key that makes it safe to repeat.
#[derive(Debug)]
struct Change {
    product: Id,
    path: String,
    delta: StockChange,
    key: String,
}

impl Change {
    fn call<'a>(&'a self, upstream: &'a Upstream) -> Call<'a> {
        let call = upstream.patch(&self.path, &self.delta);
        call.with_key(&self.key)
    }

    /// Makes the call. Nothing but the product itself shows that the change is made.
    async fn made(&self, call: Call<'_>) -> Result<Product, CallError> {
        call.json::<Product>().await?.with_id(self.product)
    }
}

/// Whether product-service says that it does not make the change.
fn is_verdict(error: &CallError) -> bool {
    matches!(error, CallError::Refused { code, .. } if VERDICTS.contains(&code.as_str()))
}

/// Whether the change may be made, now or later, although the call failed.
fn is_open(error: &CallError) -> bool {
    error.in_doubt() || (error.is_answer() && !is_verdict(error))
}

#[derive(Debug, Serialize)]
struct StockChange {
    delta: i64,
}

impl Products {
    /// A client over `upstream`. `shutdown` waits for stock changes in progress.
    pub fn new(upstream: Upstream, shutdown: Shutdown) -> Self {
        Self(Arc::new(Inner {
            upstream,
            shutdown,
            process: Uuid::new_v4(),
            changes: AtomicU64::new(1),
            doubts: Semaphore::new(MAX_DOUBTS),
        }))
    }

    /// Whether there is a product with this id.
    pub async fn exists(&self, id: Id, deadline: Instant) -> Result<bool, OrderError> {
        let upstream = self.0.upstream.before(deadline);
        let path = format!("/api/products/{id}");
        let found = match upstream.get(&path).find::<Product>().await {
            Ok(Some(product)) => product.with_id(id).map(|_| true),
            found => found.map(|_| false),
        };
        found.map_err(|error| self.unavailable(error))
    }

    /// Takes `quantity` pieces out of stock, for an order that is to be saved.
    ///
    /// Without a response in time the order fails, but the stock may be taken all the
    /// same. A background task then finds out and returns the stock.
    #[instrument(skip_all)]
    pub async fn take(
        &self,
        id: Id,
        quantity: u32,
        deadline: Instant,
    ) -> Result<Taken, OrderError> {
        let taking = self.change(id, -i64::from(quantity));
        let upstream = self.0.upstream.before(deadline);
        let error = match taking.made(taking.call(&upstream)).await {
            Ok(product) => {
                return Ok(Taken {
                    price: product.price,
                    products: self.clone(),
                    id,
                    quantity,
                    is_kept: false,
                });
            }
            Err(error) => error,
        };
        if is_open(&error) {
            let products = self.clone();
            self.in_background(async move {
                if products.settle(&taking).await.is_ok() {
                    products.return_until_known(id, quantity).await;
                }
            });
        }
        Err(match error {
            CallError::Refused { status: 404, .. } => OrderError::Unknown {
                user: false,
                product: true,
            },
            CallError::Refused { code, message, .. } if code == "insufficient_stock" => {
                OrderError::InsufficientStock(message)
            }
            error => self.unavailable(error),
        })
    }

    /// Returns the stock of an order that is being cancelled. Ends only when the outcome
    /// is known, since it decides whether the order stands.
    pub async fn return_for_cancel(&self, order: &Order) -> Result<(), OrderError> {
        let giving = Change {
            // The same key each time: cancelling again returns the stock once. A refusal is
            // not tied to the key: the stock that did not fit today may fit tomorrow.
            key: format!("{}-cancel-{}", self.0.process, order.id),
            ..self.change(order.product_id, order.quantity.into())
        };
        let given = match giving.made(giving.call(&self.0.upstream)).await {
            Err(error) if is_open(&error) => self.settle(&giving).await,
            given => given.map(drop),
        };
        match given {
            // A deleted product needs no stock.
            Ok(()) | Err(CallError::Refused { status: 404, .. }) => Ok(()),
            Err(CallError::Refused { message, .. }) => Err(OrderError::NotTakenBack(message)),
            Err(error) => Err(self.unavailable(error)),
        }
    }

    async fn return_until_known(&self, id: Id, quantity: u32) {
        let giving = self.change(id, quantity.into());
        match self.settle(&giving).await {
            // A deleted product needs no stock.
            Err(CallError::Refused { status: 404, .. }) => {}
            Err(error) if error.is_answer() => {
                tracing::warn!(productId = %id, quantity, %error, "the stock of an order that was not placed does not fit any more");
            }
            // If the outcome is unknown, the log says so already.
            Ok(()) | Err(_) => {}
        }
    }

    /// Repeats a change until product-service itself says what became of it.
    #[instrument(skip_all)]
    async fn settle(&self, change: &Change) -> Result<(), CallError> {
        let given_up = || {
            tracing::error!(
                path = change.path,
                delta = change.delta.delta,
                key = change.key,
                "the outcome of this stock change is unknown: check the product and correct its stock by hand"
            );
        };
        let Ok(_permit) = self.0.doubts.try_acquire() else {
            given_up();
            return Err(CallError::TimedOut(Duration::ZERO));
        };
        let asking = async {
            let mut pause = SETTLE_PAUSE;
            let repeated = self.0.upstream.clone().with_timeout(SETTLE_TIMEOUT);
            loop {
                let upstream = repeated.before(Instant::now() + SETTLE_TIMEOUT);
                let error = match change.made(change.call(&upstream).once()).await {
                    Ok(_) => return Ok(()),
                    Err(verdict) if is_verdict(&verdict) => return Err(verdict),
                    Err(error) => error,
                };
                let asked_for = error.retry_after().unwrap_or_default();
                sleep(jittered(pause) + asked_for.min(SETTLE_MAX_RETRY_AFTER)).await;
                pause = (pause * 2).min(SETTLE_MAX_PAUSE);
            }
        };
        let stopping = async {
            self.0.shutdown.requested().await;
            sleep(SETTLE_IN_SHUTDOWN).await;
        };
        tokio::select! {
            answer = asking => return answer,
            () = sleep(SETTLE_WITHIN) => {}
            () = stopping => {}
        }
        given_up();
        Err(CallError::TimedOut(SETTLE_WITHIN))
    }

    /// Runs `work` in the background, as part of the current request; a shutdown waits for
    /// it.
    fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.shutdown.spawn(Context::current().scope(work));
    }

    fn change(&self, id: Id, delta: i64) -> Change {
        let number = self.0.changes.fetch_add(1, Ordering::Relaxed);
        Change {
            product: id,
            path: format!("/api/products/{id}/stock"),
            delta: StockChange { delta },
            key: format!("{}-{number}", self.0.process),
        }
    }

    fn unavailable(&self, error: CallError) -> OrderError {
        OrderError::Unavailable(self.0.upstream.name(), error)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use chassis::testkit::Stub;
    use chassis::upstream::resilience::Resilience;
    use parking_lot::Mutex;

    use super::*;
    use crate::model::NewOrder;
    use crate::store::OrderStore;

    /// If nobody learns whether the stock was returned, the order stands and can be cancelled
    /// again. Only the key then tells product-service that it is the same change.
    #[tokio::test]
    async fn each_try_to_cancel_an_order_has_the_same_key() {
        let keys = Arc::new(Mutex::new(HashSet::new()));
        let seen = Arc::clone(&keys);
        let stub = Stub::replying(move |request| {
            let key = request
                .lines()
                .find_map(|line| line.strip_prefix("idempotency-key: "));
            seen.lock().insert(key.map(str::to_owned));
            ("503 Service Unavailable", "{}".to_owned())
        })
        .await;
        let without_circuit = Resilience {
            circuit: None,
            ..Resilience::default()
        };
        let products = Products(Arc::new(Inner {
            upstream: stub.upstream_with(without_circuit),
            shutdown: Shutdown::default(),
            process: Uuid::new_v4(),
            changes: AtomicU64::new(1),
            // It gives up at once.
            doubts: Semaphore::new(0),
        }));
        let id = |text: &str| text.parse().expect("an id");
        let new = |user| NewOrder {
            user_id: id(user),
            product_id: id("1"),
            quantity: 2,
        };
        let store = OrderStore::default();
        for user in ["1", "2"] {
            let order = store.save(new(user), Money::ZERO).expect("capacity");
            for _ in 0..2 {
                let unknown = products.return_for_cancel(&order).await;
                unknown.expect_err("nobody knows");
            }
        }
        assert_eq!(keys.lock().len(), 2, "one for each order: {keys:?}");
    }
}
