//! Clients for the services that order-service calls. The client for product-service has
//! its own module, [`stock`](crate::stock).

use std::time::{Duration, Instant};

use chassis::upstream::client::Upstream;
use chassis::upstream::error::CallError;
use chassis::values::id::Id;
use serde::{Deserialize, Serialize};

use crate::error::OrderError;
use crate::model::Order;

/// The client for user-service.
#[derive(Clone, Debug)]
pub struct Users(Upstream);

/// The fields of a user that an order needs.
#[derive(Debug, Deserialize)]
struct User {
    id: Id,
}

impl Users {
    /// A client over `upstream`.
    pub fn new(upstream: Upstream) -> Self {
        Self(upstream)
    }

    /// Whether there is a user with this id.
    pub async fn exists(&self, id: Id, deadline: Instant) -> Result<bool, OrderError> {
        let upstream = self.0.before(deadline);
        let path = format!("/api/users/{id}");
        let found = match upstream.get(&path).find::<User>().await {
            Ok(Some(other)) if other.id != id => Err(CallError::other_record(id, other.id)),
            found => found.map(|user| user.is_some()),
        };
        found.map_err(|error| OrderError::Unavailable(upstream.name(), error))
    }
}

/// The client for notification-service.
#[derive(Clone, Debug)]
pub struct Notifier {
    upstream: Upstream,
    timeout: Duration,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewNotification {
    user_id: Id,
    message: String,
    r#type: &'static str,
}

impl Notifier {
    /// A client over `upstream`. An order waits for `timeout` at most, since the
    /// notification is optional.
    pub fn new(upstream: Upstream, timeout: Duration) -> Self {
        Self {
            upstream: upstream.with_timeout(timeout),
            timeout,
        }
    }

    /// Tells a user that an order is confirmed.
    pub async fn confirm(&self, order: &Order, deadline: Instant) -> Result<(), CallError> {
        let message = NewNotification {
            user_id: order.user_id,
            message: format!("Your order #{} has been confirmed", order.id),
            r#type: "order_confirmation",
        };
        // The wait for a place in the bulkhead counts, too.
        let upstream = self
            .upstream
            .before(deadline.min(Instant::now() + self.timeout));
        let call = upstream.post("/api/notifications/send", &message);
        call.done().await
    }
}
