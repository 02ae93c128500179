//! product-service: what can be ordered, at which price, and how much there is.
//!
//! Stock must be taken for every order that stands and for no other, although
//! the answer to a change of stock can get lost. So every change has a key, and
//! can be asked for again without being made again. Whoever does not know what
//! became of a change asks until product-service says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chassis::serve::shutdown::{GRACE, Shutdown};
use chassis::telemetry::context::Context;
use chassis::upstream::call::Call;
use chassis::upstream::client::Upstream;
use chassis::upstream::error::CallError;
use chassis::values::id::Id;
use chassis::values::money::Money;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use uuid::Uuid;

use crate::error::OrderError;
use crate::model::Order;

/// How many changes may be in doubt at once. Each is a task that asks once a
/// second.
const MAX_DOUBTS: usize = 1000;

/// How long the outcome of a change is asked for: longer than a service hangs
/// that somebody looks after.
const SETTLE_WITHIN: Duration = Duration::from_mins(10);

/// The pauses between asking: the first, and the longest.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
const SETTLE_MAX_PAUSE: Duration = Duration::from_secs(1);

/// How long an answer is waited for then: longer than any client does.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long is left for it once this service is to stop.
const LAST_CALL: Duration = GRACE.saturating_sub(Duration::from_secs(2));

/// product-service, in the words of order-service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Products(Arc<Shelves>);

#[derive(Debug)]
struct Shelves {
    upstream: Upstream,
    shutdown: Shutdown,
    /// Tells the keys of this process from those of any other.
    process: Uuid,
    changes: AtomicU64,
    /// A place for each change that is in doubt.
    doubts: Semaphore,
}

/// A product, as much of one as an order needs.
#[derive(Debug, Deserialize)]
pub struct Product {
    /// The price of one piece.
    pub price: Money,
}

/// A change of stock, with the key that lets it be asked for again.
#[derive(Debug)]
struct Change {
    path: String,
    delta: StockChange,
    key: String,
}

impl Change {
    fn call<'a>(&'a self, upstream: &'a Upstream) -> Call<'a> {
        let call = upstream.patch(&self.path, &self.delta);
        call.with_key(&self.key)
    }
}

#[derive(Debug, Serialize)]
struct StockChange {
    delta: i64,
}

impl Products {
    /// The products of this service. `shutdown` waits for stock that is on its
    /// way.
    pub fn new(upstream: Upstream, shutdown: Shutdown) -> Self {
        Self(Arc::new(Shelves {
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
        let product = upstream.get(&path).find::<Product>().await;
        Ok(product.map_err(|error| self.unavailable(error))?.is_some())
    }

    /// Takes `quantity` pieces out of stock; the product is as it was at that
    /// moment.
    ///
    /// Without an answer in time the order fails, but its stock may be taken all
    /// the same: that is found out, and undone, behind the failed order.
    pub async fn take(
        &self,
        id: Id,
        quantity: u32,
        deadline: Instant,
    ) -> Result<Product, OrderError> {
        let taking = self.change(id, -i64::from(quantity));
        let upstream = self.0.upstream.before(deadline);
        let error = match taking.call(&upstream).json().await {
            Ok(product) => return Ok(product),
            Err(error) => error,
        };
        if error.in_doubt() {
            let products = self.clone();
            self.behind(async move {
                if products.settle(&taking).await.is_ok() {
                    products.settle_back(id, quantity).await;
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

    /// Gives stock back that was taken for an order that does not stand after
    /// all. No client waits for it.
    pub fn give_back(&self, id: Id, quantity: u32) {
        let products = self.clone();
        self.behind(async move { products.settle_back(id, quantity).await });
    }

    /// Gives the stock of an order back that is being cancelled. In doubt, it
    /// ends only when it is known whether it is back: that decides whether the
    /// order stands.
    pub async fn put_back(&self, order: &Order) -> Result<(), OrderError> {
        let giving = Change {
            // The same each time: cancelled again after a failure, an order gives
            // nothing back twice.
            key: format!("{}-cancel-{}", self.0.process, order.id),
            ..self.change(order.product_id, order.quantity.into())
        };
        let given = match giving.call(&self.0.upstream).done().await {
            Err(error) if error.in_doubt() => self.settle(&giving).await,
            given => given,
        };
        match given {
            // A product that is gone needs no stock.
            Ok(()) | Err(CallError::Refused { status: 404, .. }) => Ok(()),
            Err(CallError::Refused { message, .. }) => Err(OrderError::NotTakenBack(message)),
            Err(error) => Err(self.unavailable(error)),
        }
    }

    async fn settle_back(&self, id: Id, quantity: u32) {
        let giving = self.change(id, quantity.into());
        // A refusal is an answer too: a product that is gone needs no stock.
        let _ = self.settle(&giving).await;
    }

    /// Asks for a change until it is known what became of it.
    async fn settle(&self, change: &Change) -> Result<(), CallError> {
        let given_up = || {
            tracing::error!(
                path = change.path,
                delta = change.delta.delta,
                key = change.key,
                "nobody knows whether this stock was changed: look at the product, and put it right by hand"
            );
        };
        let Ok(_place) = self.0.doubts.try_acquire() else {
            given_up();
            return Err(CallError::TimedOut(Duration::ZERO));
        };
        let asking = async {
            let mut pause = SETTLE_PAUSE;
            let patient = self.0.upstream.clone().with_timeout(SETTLE_TIMEOUT);
            loop {
                let upstream = patient.before(Instant::now() + SETTLE_TIMEOUT);
                match change.call(&upstream).done().await {
                    Err(error) if !error.is_answer() => sleep(pause).await,
                    answer => return answer,
                }
                pause = (pause * 2).min(SETTLE_MAX_PAUSE);
            }
        };
        let stopping = async {
            self.0.shutdown.requested().await;
            sleep(LAST_CALL).await;
        };
        tokio::select! {
            answer = asking => return answer,
            () = sleep(SETTLE_WITHIN) => {}
            () = stopping => {}
        }
        given_up();
        Err(CallError::TimedOut(SETTLE_WITHIN))
    }

    /// Runs `work` that no client waits for, but a shutdown does.
    fn behind(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.shutdown.spawn(Context::current().scope(work));
    }

    fn change(&self, id: Id, delta: i64) -> Change {
        let number = self.0.changes.fetch_add(1, Ordering::Relaxed);
        Change {
            path: format!("/api/products/{id}/stock"),
            delta: StockChange { delta },
            key: format!("{}-{number}", self.0.process),
        }
    }

    fn unavailable(&self, error: CallError) -> OrderError {
        OrderError::Unavailable(self.0.upstream.name(), error)
    }
}
