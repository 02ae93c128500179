//! Which service answers which paths.

use chassis::contract::api::Route;

use crate::lab;

/// A service behind the gateway.
#[derive(Debug)]
pub struct Destination {
    /// Its name.
    pub service: &'static str,
    /// The variable that says where it is.
    pub variable: &'static str,
    /// Its port on this machine, without the variable.
    pub port: u16,
    /// What its paths begin with: `/api/users` is itself one, and all below it are.
    pub prefixes: &'static [&'static str],
}

/// The services behind the gateway.
#[rustfmt::skip]
pub static DESTINATIONS: [Destination; 5] = [
    to("user-service",         "USER_SERVICE_URL",         8001, &["/api/users", "/api/auth"]),
    to("product-service",      "PRODUCT_SERVICE_URL",      8002, &["/api/products"]),
    to("order-service",        "ORDER_SERVICE_URL",        8003, &["/api/orders"]),
    to("notification-service", "NOTIFICATION_SERVICE_URL", 8004, &["/api/notifications"]),
    to("analytics-service",    "ANALYTICS_SERVICE_URL",    8005, &["/api/analytics"]),
];

const fn to(
    service: &'static str,
    variable: &'static str,
    port: u16,
    prefixes: &'static [&'static str],
) -> Destination {
    Destination {
        service,
        variable,
        port,
        prefixes,
    }
}

/// The event streams among what is forwarded.
pub const STREAMS: [&str; 1] = ["/api/analytics/stream"];

/// All prefixes of paths that are forwarded.
pub fn prefixes() -> impl Iterator<Item = &'static str> {
    let all = DESTINATIONS.iter().flat_map(|one| one.prefixes);
    all.copied()
}

/// The prefixes of the paths that are forwarded to the lab of a service, such as
/// `/lab/user-service`.
pub fn labs() -> impl Iterator<Item = String> {
    let all = DESTINATIONS.iter();
    all.map(|one| format!("{}{}", lab::PREFIX, one.service))
}

/// The place in [`DESTINATIONS`] of the service that answers a route. `None` for one of the gateway
/// itself.
pub fn destination(route: &Route) -> Option<usize> {
    let prefix = route.template.as_str();
    DESTINATIONS.iter().position(|one| {
        has_stream(one, prefix) || one.prefixes.contains(&prefix) || is_lab_of(one, prefix)
    })
}

/// Whether `path` is a stream of `destination`.
fn has_stream(destination: &Destination, path: &str) -> bool {
    let mut prefixes = destination.prefixes.iter();
    STREAMS.contains(&path) && prefixes.any(|prefix| path.starts_with(prefix))
}

/// Whether what is below `prefix` is forwarded to the lab of `destination`.
fn is_lab_of(destination: &Destination, prefix: &str) -> bool {
    prefix.strip_prefix(lab::PREFIX) == Some(destination.service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::API;

    #[test]
    fn the_first_segment_selects_the_service() {
        for (path, expected) in [
            ("/api/users", Some("user-service")),
            ("/api/users/7", Some("user-service")),
            ("/api/%75sers/7", Some("user-service")),
            ("/api/auth/login", Some("user-service")),
            ("/api/products/7/stock", Some("product-service")),
            ("/api/orders/user/7", Some("order-service")),
            ("/api/notifications", Some("notification-service")),
            ("/api/analytics/summary", Some("analytics-service")),
            ("/api/analytics/stream", Some("analytics-service")),
            ("/api/users/7/dashboard", None),
            ("/api/payments", None),
            ("/api/usersx", None),
            ("/api/Users", None),
            ("/api", None),
            ("/api/", None),
            ("/users", None),
            ("/status", None),
        ] {
            let route = API.route(path);
            let found = route.and_then(destination);
            let found = found.map(|place| DESTINATIONS[place].service);
            assert_eq!(found, expected, "{path}");
        }
        for own in ["/", "/status", "/health", "/api/users/7/dashboard"] {
            assert!(API.route(own).is_some(), "{own}");
        }
    }
}
