//! Programs of the shop that somebody watches, and a client that reads the events.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::{TIMEOUT, raw};
use serde_json::{Value, json};
use shop_tests::program::Program;
use tokio::time::timeout;

/// The path of the events.
pub(crate) const STREAM: &str = "/api/analytics/stream";

/// The five services and the gateway, as processes. analytics-service knows the gateway, and the
/// gateway finds it in its registry.
pub(crate) struct Watched {
    pub(crate) users: Program,
    pub(crate) products: Program,
    pub(crate) orders: Program,
    pub(crate) notifications: Program,
    pub(crate) gateway: Program,
    pub(crate) analytics: Program,
}

impl Watched {
    /// Starts all with labs. The samples are `interval` milliseconds apart.
    pub(crate) async fn start(interval: &str) -> Self {
        const LAB: (&str, &str) = ("LAB_MODE", "on");
        let come_back = Program::start_to_come_back;
        let users = come_back("user-service", &[LAB]);
        let of_users = ("USER_SERVICE_URL", &*users.url());
        let products = Program::start("product-service", &[LAB, of_users]);
        let notifications = Program::start("notification-service", &[LAB]);
        let of_products = ("PRODUCT_SERVICE_URL", &*products.url());
        let of_notifications = ("NOTIFICATION_SERVICE_URL", &*notifications.url());
        let mut variables = vec![LAB, of_users, of_products, of_notifications];
        let orders = Program::start("order-service", &variables);
        let of_orders = ("ORDER_SERVICE_URL", &*orders.url());
        variables.push(of_orders);
        let behind = [("ANALYTICS_SERVICE_URL", "registry"), ("RATE_LIMIT", "off")];
        let gateway = Program::start("gateway", &[&variables[..], &behind].concat());
        let url = gateway.url();
        variables.extend([
            ("REGISTRY_URL", &*url),
            ("GATEWAY_URL", &*url),
            ("POLL_INTERVAL_MS", interval),
        ]);
        let analytics = Program::start("analytics-service", &variables);
        let deadline = Instant::now() + TIMEOUT;
        while get(gateway.address(), "/api/analytics/history")
            .await
            .status
            != 200
        {
            assert!(Instant::now() < deadline, "it is not registered");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self {
            users,
            products,
            orders,
            notifications,
            gateway,
            analytics,
        }
    }

    /// Adds the data of the demo.
    pub(crate) async fn seed(&self) {
        for service in [
            &self.users,
            &self.products,
            &self.orders,
            &self.notifications,
        ] {
            post(service.address(), "/lab/seed", &json!({}))
                .await
                .expect(200);
        }
    }
}

/// A response to a GET.
pub(crate) async fn get(address: SocketAddr, path: &str) -> chassis::testkit::Got {
    raw::get(address, path).await.expect("an answer")
}

/// A response to a POST.
pub(crate) async fn post(address: SocketAddr, path: &str, body: &Value) -> chassis::testkit::Got {
    raw::post(address, path, &[], body)
        .await
        .expect("an answer")
}

/// A client that reads events.
pub(crate) struct Viewer {
    pub(crate) response: reqwest::Response,
    rest: String,
}

impl Viewer {
    /// Begins to watch.
    pub(crate) async fn watch(address: SocketAddr) -> Self {
        let client = reqwest::Client::builder().no_proxy().build();
        let request = client
            .expect("a client")
            .get(format!("http://{address}{STREAM}"));
        let request = request.header("accept-encoding", "gzip, br");
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        Self {
            response,
            rest: String::new(),
        }
    }

    /// The next event: its name and data. `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.rest.find("\n\n") {
                let event: String = self.rest.drain(..end + 2).collect();
                let (name, data) = event.split_once('\n').expect("two lines");
                let name = name.strip_prefix("event: ").expect("a name").to_owned();
                let data = data.strip_prefix("data: ").expect("data");
                let data = serde_json::from_str(data).expect("JSON on one line");
                return Some((name, data));
            }
            let chunk = timeout(TIMEOUT, self.response.chunk()).await;
            let chunk = chunk.expect("in time").expect("whole")?;
            self.rest += str::from_utf8(&chunk).expect("text");
        }
    }

    /// The next tick.
    pub(crate) async fn tick(&mut self) -> Value {
        loop {
            let (name, data) = self.next().await.expect("more events");
            if name == "tick" {
                return data;
            }
        }
    }

    /// The first tick that is as wanted, within `limit`.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let begun = Instant::now();
        loop {
            let tick = self.tick().await;
            if wanted(&tick) {
                println!("{what}: after {:?}", begun.elapsed());
                assert!(begun.elapsed() <= limit, "{what}: {:?}", begun.elapsed());
                return tick;
            }
            assert!(begun.elapsed() < 3 * limit, "never {what}: {tick:#}");
        }
    }
}

/// What a tick says about a service.
pub(crate) fn service<'a>(tick: &'a Value, name: &str) -> &'a Value {
    let services = tick["services"].as_array().expect("a list");
    let mut found = services.iter().filter(|one| one["name"] == name);
    found.next().unwrap_or_else(|| panic!("no {name}: {tick}"))
}

/// What a tick says about calls.
pub(crate) fn edge<'a>(tick: &'a Value, from: &str, to: &str) -> &'a Value {
    let edges = tick["edges"].as_array().expect("a list");
    let mut found = edges
        .iter()
        .filter(|one| one["from"] == from && one["to"] == to);
    found
        .next()
        .unwrap_or_else(|| panic!("no {from} → {to}: {tick}"))
}
