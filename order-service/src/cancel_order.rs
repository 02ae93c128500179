//! Cancelling an order: its stock goes back exactly once.

use std::sync::Arc;

use chassis::upstream::error::CallError;
use chassis::values::id::Id;
use tokio::time::timeout;

use crate::App;
use crate::error::OrderError;
use crate::model::Order;

/// Cancels an order and gives its stock back.
///
/// When product-service is slow, the client is told so in time, and the
/// cancellation goes on: whether it succeeds is decided by the stock, not by the
/// client's patience.
pub async fn cancel_order(app: App, id: Id) -> Result<Arc<Order>, OrderError> {
    // Of many who cancel at once, one gets past here.
    let order = app.orders.claim_cancel(id)?;
    let (shutdown, patience) = (app.service.shutdown().clone(), app.deadline);
    let cancelling = shutdown.finish(async move {
        match app.products.put_back(&order).await {
            Ok(()) => app.orders.cancelled(id),
            Err(error) => {
                app.orders.not_cancelled(id);
                Err(error)
            }
        }
    });
    let slow = OrderError::Unavailable("product-service", CallError::TimedOut(patience));
    timeout(patience, cancelling).await.unwrap_or(Err(slow))
}
