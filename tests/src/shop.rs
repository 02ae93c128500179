//! The five real servers in one process, on free ports; and the gateway, for those who want it.

use std::net::SocketAddr;
use std::path::PathBuf;

use chassis::testkit::{Server, env};
use chassis::upstream::url::UpstreamUrl;
use framework_comparison::{Framework, framework};
use futures_util::future::join_all;
use gateway::tls::Tls;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// All five services, connected to each other. They stop when the shop is dropped.
#[derive(Debug)]
pub struct Shop {
    /// user-service, on axum.
    pub users: Server,
    /// product-service, on Rocket.
    pub products: Server,
    /// order-service, on poem.
    pub orders: Server,
    /// notification-service, on warp.
    pub notifications: Server,
    /// analytics-service, on actix-web.
    pub analytics: Server,
}

/// A service of the shop.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Its name.
    pub name: &'static str,
    /// The framework it is built on.
    pub framework: &'static str,
    /// The server.
    pub server: &'a Server,
}

macro_rules! start {
    ($service:ident, $variables:expr) => {{
        let variables: Vec<(&'static str, String)> = $variables;
        Server::start(move |listener, shutdown| async move {
            let config = $service::Config::read(env(&variables))?;
            let app = $service::App::new(&config, &$service::http::API, shutdown)?;
            $service::http::serve(listener, app).await
        })
        .await
    }};
}

/// Starts user-service.
pub async fn users() -> Server {
    start!(user_service, Vec::new())
}

/// Starts user-service, with a lab.
pub async fn users_with_lab() -> Server {
    start!(user_service, vec![("LAB_MODE", "on".to_owned())])
}

/// Starts product-service with this user-service.
pub async fn products(users: &UpstreamUrl) -> Server {
    start!(product_service, vec![("USER_SERVICE_URL", text(users))])
}

/// Starts product-service on each framework except Rocket, with this user-service.
pub async fn products_on_other_frameworks(users: &UpstreamUrl) -> Vec<(Framework, Server)> {
    let others = framework::ALL.iter().filter(|one| one.name != "rocket");
    let servers = others.map(async |framework| {
        let variables = vec![("USER_SERVICE_URL", text(users))];
        let server = Server::start(move |listener, shutdown| async move {
            let config = product_service::Config::read(env(&variables))?;
            framework.serve(listener, &config, shutdown).await
        });
        (*framework, server.await)
    });
    join_all(servers).await
}

/// Starts order-service with these upstreams.
pub async fn orders(
    users: &UpstreamUrl,
    products: &UpstreamUrl,
    notifications: &UpstreamUrl,
) -> Server {
    orders_that([users, products, notifications], &[]).await
}

/// Time-outs so long that upstreams answer in time even on a busy machine.
pub const GENEROUS: [(&str, &str); 3] = [
    ("DEADLINE_MS", "20000"),
    ("CALL_TIMEOUT_MS", "20000"),
    ("NOTIFY_TIMEOUT_MS", "20000"),
];

/// Starts order-service with these upstreams (user, product and notification-service) and
/// these settings.
pub async fn orders_that(
    [users, products, notifications]: [&UpstreamUrl; 3],
    settings: &[(&'static str, &str)],
) -> Server {
    let mut variables = vec![
        ("USER_SERVICE_URL", text(users)),
        ("PRODUCT_SERVICE_URL", text(products)),
        ("NOTIFICATION_SERVICE_URL", text(notifications)),
    ];
    let settings = settings.iter();
    variables.extend(settings.map(|(name, value)| (*name, (*value).to_owned())));
    start!(order_service, variables)
}

/// Starts notification-service.
pub async fn notifications() -> Server {
    start!(notification_service, Vec::new())
}

/// Starts analytics-service with these upstreams. It has the longest poll interval, so that an
/// upstream gets only the requests that the test causes.
pub async fn analytics(
    users: &UpstreamUrl,
    products: &UpstreamUrl,
    orders: &UpstreamUrl,
    notifications: &UpstreamUrl,
) -> Server {
    analytics_polling([users, products, orders, notifications], 60_000).await
}

/// Starts analytics-service, which polls these four every `interval` milliseconds.
pub async fn analytics_polling(
    [users, products, orders, notifications]: [&UpstreamUrl; 4],
    interval: u32,
) -> Server {
    start!(
        analytics_service,
        vec![
            ("USER_SERVICE_URL", text(users)),
            ("PRODUCT_SERVICE_URL", text(products)),
            ("ORDER_SERVICE_URL", text(orders)),
            ("NOTIFICATION_SERVICE_URL", text(notifications)),
            ("POLL_INTERVAL_MS", interval.to_string()),
        ]
    )
}

/// Starts a gateway with these services behind it (user, product, order, notification and
/// analytics-service) and these settings, which may also say where a service is.
pub async fn gateway(services: [&UpstreamUrl; 5], settings: &[(&'static str, &str)]) -> Server {
    gateway_and_tls(services, settings).await.0
}

/// The same, with the port for TLS and the file of the certificate if the settings ask for TLS.
pub async fn gateway_and_tls(
    services: [&UpstreamUrl; 5],
    settings: &[(&'static str, &str)],
) -> (Server, Option<(SocketAddr, PathBuf)>) {
    let settings = settings.iter();
    let mut variables: Vec<_> = settings
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    let services = gateway::routes::DESTINATIONS.iter().zip(services);
    variables.extend(services.map(|(to, url)| (to.variable, text(url))));
    let (tell, told) = oneshot::channel();
    let server = Server::start(move |listener, shutdown| async move {
        let config = gateway::Config::read(env(&variables))?;
        let tls = config.tls.as_ref().map(Tls::bind).transpose()?;
        let place = tls.as_ref();
        let place = place.map(|tls| (tls.address(), tls.certificate().to_owned()));
        // Its test may be over.
        let _ = tell.send(place);
        let app = gateway::App::new(&config, &gateway::http::API, shutdown)?;
        gateway::http::serve(listener, tls, app).await
    });
    (server.await, told.await.expect("it starts"))
}

fn text(url: &UpstreamUrl) -> String {
    url.as_str().to_owned()
}

impl Shop {
    /// Starts all five, empty, with the routes of the lab.
    pub async fn start_lab() -> Self {
        let on = || ("LAB_MODE", "on".to_owned());
        let users = start!(user_service, vec![on()]);
        let users_url = ("USER_SERVICE_URL", text(&users.upstream_url()));
        let products = start!(product_service, vec![on(), users_url.clone()]);
        let notifications = start!(notification_service, vec![on()]);
        let others = [
            users_url,
            ("PRODUCT_SERVICE_URL", text(&products.upstream_url())),
            (
                "NOTIFICATION_SERVICE_URL",
                text(&notifications.upstream_url()),
            ),
        ];
        let mut variables = vec![on()];
        variables.extend(others);
        let mut of_orders = variables.clone();
        let generous = GENEROUS.iter();
        of_orders.extend(generous.map(|(name, value)| (*name, (*value).to_owned())));
        let orders = start!(order_service, of_orders);
        variables.push(("ORDER_SERVICE_URL", text(&orders.upstream_url())));
        variables.push(("POLL_INTERVAL_MS", "60000".to_owned()));
        Self {
            users,
            products,
            orders,
            notifications,
            analytics: start!(analytics_service, variables),
        }
    }

    /// Starts all five, empty.
    pub async fn start() -> Self {
        let users = users().await;
        let products = products(&users.upstream_url()).await;
        let notifications = notifications().await;
        let urls = [&users, &products, &notifications].map(Server::upstream_url);
        let orders = orders_that(urls.each_ref(), &GENEROUS).await;
        let analytics = analytics(
            &users.upstream_url(),
            &products.upstream_url(),
            &orders.upstream_url(),
            &notifications.upstream_url(),
        )
        .await;
        Self {
            users,
            products,
            orders,
            notifications,
            analytics,
        }
    }

    /// Starts a gateway in front of the five.
    pub async fn gateway(&self) -> Server {
        self.gateway_that(&GENEROUS).await
    }

    /// Starts a gateway in front of the five with these settings.
    pub async fn gateway_that(&self, settings: &[(&'static str, &str)]) -> Server {
        let urls = self.services().map(|one| one.server.upstream_url());
        gateway(urls.each_ref(), settings).await
    }

    /// Starts one more analytics-service, with a lab, which knows this gateway of the shop.
    pub async fn analytics_beside(&self, gateway: &Server) -> Server {
        let url = |server: &Server| text(&server.upstream_url());
        start!(
            analytics_service,
            vec![
                ("LAB_MODE", "on".to_owned()),
                ("USER_SERVICE_URL", url(&self.users)),
                ("PRODUCT_SERVICE_URL", url(&self.products)),
                ("ORDER_SERVICE_URL", url(&self.orders)),
                ("NOTIFICATION_SERVICE_URL", url(&self.notifications)),
                ("GATEWAY_URL", url(gateway)),
                ("POLL_INTERVAL_MS", "60000".to_owned()),
            ]
        )
    }

    /// Each of the five with its name.
    pub fn services(&self) -> [Named<'_>; 5] {
        let named = |name, framework, server| Named {
            name,
            framework,
            server,
        };
        [
            named("user-service", "axum", &self.users),
            named("product-service", "rocket", &self.products),
            named("order-service", "poem", &self.orders),
            named("notification-service", "warp", &self.notifications),
            named("analytics-service", "actix-web", &self.analytics),
        ]
    }
}

/// Adds a user; returns the id.
pub async fn add_user(users: &Server, name: &str) -> String {
    let body = json!({"name": name, "email": format!("{name}@example.com")});
    id(&users.post("/api/users", body).await.expect(201))
}

/// Adds a product; returns the id.
pub async fn add_product(products: &Server, price: Value, stock: u32) -> String {
    let body = json!({"name": "Kettle", "price": price, "stock": stock});
    id(&products.post("/api/products", body).await.expect(201))
}

/// How many of a product are in stock.
pub async fn stock(products: &Server, id: &str) -> u64 {
    let product = products.get(&format!("/api/products/{id}")).await;
    product.expect(200)["stock"].as_u64().expect("a number")
}

/// The id of a record.
pub fn id(record: &Value) -> String {
    record["id"].as_str().expect("an id").to_owned()
}
