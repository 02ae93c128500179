//! Cancelling an order: its stock is returned exactly once.

use std::sync::Arc;

use chassis::values::id::Id;
use tokio::time::{Instant, timeout_at};

use crate::App;
use crate::error::OrderError;
use crate::model::Order;

/// What a client learns in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// The order is cancelled, and its stock is back.
    Done(Arc<Order>),
    /// Nobody knows yet whether the stock is back. This is the order as it is: later it is
    /// cancelled, or it stands.
    InProgress(Arc<Order>),
}

/// Cancels an order and returns its stock.
///
/// When product-service is slow, the client is told so in time, and the cancellation goes on:
/// it succeeds if the stock is returned, however long that takes.
pub async fn cancel_order(app: App, id: Id) -> Result<Cancellation, OrderError> {
    let deadline = Instant::now() + app.deadline;
    // Of concurrent cancellations one has the claim, and the others wait for its outcome.
    let Ok(claim) = timeout_at(deadline, app.orders.claim_cancel(id)).await else {
        return in_progress(&app, id);
    };
    let (claim, products) = (claim?, app.products.clone());
    let shutdown = app.service.shutdown();
    let cancelling = shutdown.finish(async move {
        // If this fails, or panics, the claim ends and the order stands.
        products.return_for_cancel(claim.order()).await?;
        claim.cancelled()
    });
    match timeout_at(deadline, cancelling).await {
        Ok(Err(OrderError::Unavailable(_, cause))) if cause.in_doubt() => in_progress(&app, id),
        Ok(cancelled) => cancelled.map(Cancellation::Done),
        Err(_) => in_progress(&app, id),
    }
}

fn in_progress(app: &App, id: Id) -> Result<Cancellation, OrderError> {
    app.orders.find(id).map(Cancellation::InProgress)
}
