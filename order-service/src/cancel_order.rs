//! Cancelling an order: its stock is returned exactly once.

use std::sync::Arc;

use chassis::upstream::error::CallError;
use chassis::values::id::Id;
use tokio::time::timeout;

use crate::App;
use crate::error::OrderError;
use crate::model::Order;

/// Cancels an order and returns its stock.
///
/// When product-service is slow, the client gets an error in time and the cancellation
/// goes on: it succeeds if the stock is returned, however long that takes.
pub async fn cancel_order(app: App, id: Id) -> Result<Arc<Order>, OrderError> {
    // Of concurrent cancellations, one gets past this line.
    let order = app.orders.claim_cancel(id)?;
    let (shutdown, limit) = (app.service.shutdown().clone(), app.deadline);
    let cancelling = shutdown.finish(async move {
        match app.products.return_for_cancel(&order).await {
            Ok(()) => app.orders.cancelled(id),
            Err(error) => {
                app.orders.not_cancelled(id);
                Err(error)
            }
        }
    });
    let slow = OrderError::Unavailable("product-service", CallError::TimedOut(limit));
    timeout(limit, cancelling).await.unwrap_or(Err(slow))
}
