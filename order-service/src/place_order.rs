//! Placing an order: the one flow of the shop that crosses services.

use std::sync::Arc;
use std::time::Instant;

use tracing::instrument;

use crate::App;
use crate::error::OrderError;
use crate::model::{NewOrder, Order};

/// The order, or why there is none.
pub type Placed = Result<Arc<Order>, OrderError>;

/// Places an order. The user, the product and its stock are required; the
/// notification is best effort. All of it shares one deadline.
#[instrument(skip_all)]
pub async fn place_order(app: &App, new: NewOrder) -> Placed {
    let deadline = Instant::now() + app.deadline;
    // Both at once: neither needs the other.
    let (user, product) = tokio::join!(
        app.users.exists(new.user_id, deadline),
        app.products.exists(new.product_id, deadline)
    );
    // Report an outage before an unknown user or product: it may be the cause.
    let (user, product) = (user?, product?);
    if !(user && product) {
        return Err(OrderError::Unknown {
            user: !user,
            product: !product,
        });
    }

    app.orders.check_capacity()?;

    // From here on stock is taken. If the order is not saved, because other orders fill the
    // store in the meantime or by a panic, `taken` is dropped, and its stock goes back.
    let taking = app.products.take(new.product_id, new.quantity, deadline);
    let taken = taking.await?;
    let order = app.orders.save(new, taken.price)?;
    taken.keep();

    match app.notifier.confirm(&order, deadline).await {
        Ok(()) => app.orders.notified(order.id),
        Err(error) => {
            tracing::warn!(orderId = %order.id, %error, "the order stands, but its user was not notified");
            Ok(order)
        }
    }
}
