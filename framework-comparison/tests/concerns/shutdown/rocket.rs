use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

use rocket::config::{Config, LogLevel, Shutdown};
use rocket::fairing::AdHoc;
use rocket::{get, routes};
use tokio::sync::Notify;

use super::{TIMEOUT, slowly, stopping};

static BEGUN: Notify = Notify::const_new();
static LISTENS: Notify = Notify::const_new();
static PORT: OnceLock<u16> = OnceLock::new();

#[get("/slow")]
async fn slow() -> &'static str {
    slowly(&BEGUN).await
}

#[tokio::test]
async fn it_finishes_requests_in_flight_and_ends_by_its_own_deadline() {
    // ANCHOR: own
    let config = Config {
        shutdown: Shutdown {
            grace: 2, // seconds for requests in flight
            mercy: 3, // and for connections that do not close
            ..Shutdown::default()
        },
        // ANCHOR_END: own
        address: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        log_level: LogLevel::Off,
        ..Config::release_default()
    };
    let listens = AdHoc::on_liftoff("port", |rocket| {
        Box::pin(async {
            PORT.get_or_init(|| rocket.config().port);
            LISTENS.notify_one();
        })
    });
    let server = rocket::custom(config)
        .mount("/", routes![slow])
        .attach(listens);
    let server = server.ignite().await.expect("it ignites");
    let shutdown = server.shutdown();
    let running = tokio::spawn(async {
        server.launch().await.expect("no error");
    });
    let listens = tokio::time::timeout(TIMEOUT, LISTENS.notified()).await;
    listens.expect("it listens");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *PORT.wait()));
    let stopping = stopping(address, running, &BEGUN, async || shutdown.notify()).await;
    stopping.ends().await;
}
