//! One answer from three services: a user, with the newest orders and notifications.

use chassis::contract::error::ApiError;
use chassis::upstream::client::Upstream;
use chassis::upstream::error::CallError;
use chassis::values::id::Id;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Makes dashboards.
#[derive(Clone, Debug)]
pub struct Dashboards {
    users: Upstream,
    orders: Upstream,
    notifications: Upstream,
}

/// A user, with the newest orders and notifications. The records are as their services send them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dashboard {
    /// The user.
    #[schema(value_type = Object)]
    user: Box<RawValue>,
    /// The newest 20 orders, the newest first.
    #[schema(value_type = Option<Vec<Object>>)]
    orders: Option<Vec<Box<RawValue>>>,
    /// The newest 20 notifications, the newest first.
    #[schema(value_type = Option<Vec<Object>>)]
    notifications: Option<Vec<Box<RawValue>>>,
    /// How many there are in all.
    totals: Totals,
    /// The services whose part is missing.
    #[schema(value_type = Vec<String>)]
    unavailable: Vec<&'static str>,
}

/// How many records a user has in all.
#[derive(Debug, Serialize, ToSchema)]
struct Totals {
    /// Orders.
    orders: Option<u64>,
    /// Notifications.
    notifications: Option<u64>,
}

/// The newest records, and the number of all.
type Newest = (Vec<Box<RawValue>>, u64);

impl Dashboards {
    /// Dashboards from these services.
    pub fn new(users: Upstream, orders: Upstream, notifications: Upstream) -> Self {
        Self {
            users,
            orders,
            notifications,
        }
    }

    /// The dashboard of a user.
    pub async fn of(&self, id: Id) -> Result<Dashboard, ApiError> {
        const NEWEST: &str = "?limit=20&order=desc";
        let user = format!("/api/users/{id}");
        let orders = format!("/api/orders/user/{id}{NEWEST}");
        let notifications = format!("/api/notifications/{id}{NEWEST}");
        let user = async {
            let user = self.users.get(&user).find::<Box<RawValue>>().await;
            let user = user.map_err(|error| error.for_client(self.users.name()))?;
            user.ok_or_else(|| ApiError::no_such("user", id))
        };
        // Without a user, nothing waits for the rest.
        let (user, orders, notifications) = tokio::try_join!(
            user,
            async { Ok(self.orders.get(&orders).list().await) },
            async { Ok(self.notifications.get(&notifications).list().await) },
        )?;
        let mut unavailable = Vec::new();
        let mut part = |service: &Upstream, newest: Result<Newest, CallError>| match newest {
            Ok((records, total)) => (Some(records), Some(total)),
            Err(error) => {
                tracing::warn!(upstream = service.name(), %error, "a dashboard lacks a part");
                unavailable.push(service.name());
                (None, None)
            }
        };
        let (orders, all_orders) = part(&self.orders, orders);
        let (notifications, all_notifications) = part(&self.notifications, notifications);
        Ok(Dashboard {
            user,
            orders,
            notifications,
            totals: Totals {
                orders: all_orders,
                notifications: all_notifications,
            },
            unavailable,
        })
    }
}
