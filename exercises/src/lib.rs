#![doc = include_str!("../README.md")]

mod answers;
mod count;
mod errors;
pub mod report;
mod stock;
mod swap;

use std::env;
use std::net::{Ipv4Addr, SocketAddr};

use rocket::Route;
use rocket::fairing::AdHoc;
use serde_json::json;
use shop_tests::program::Program;

use report::Report;

/// The exercises are numbered from 1 to this.
pub const COUNT: usize = 5;

/// Asks `program`, one of this build by its file name, for all that exercise `number`
/// wants of it. Fails where nothing could be asked.
pub async fn check(number: usize, program: &str) -> Result<Report, String> {
    if number == 5 {
        // That one is started by the shop.
        return swap::check(program).await;
    }
    let program = Program::try_start(program, &[("PORT", "0")])?;
    let address = program.address();
    match number {
        1 => Ok(count::check(address, "axum").await),
        2 => Ok(count::check(address, "warp").await),
        3 => Ok(errors::check(address).await),
        4 => Ok(stock::check(address).await),
        _ => Err(format!(
            "there is no exercise {number}; they are 1 to {COUNT}"
        )),
    }
}

// What the small servers of the exercises share.

/// Where to listen: on `PORT`, or on any free one.
pub fn address() -> SocketAddr {
    let port = env::var("PORT").ok().and_then(|port| port.parse().ok());
    (Ipv4Addr::LOCALHOST, port.unwrap_or(0)).into()
}

/// Says where it listens, as the services do in their first line.
pub fn listening(address: SocketAddr) {
    println!("{}", json!({"address": address, "port": address.port()}));
}

/// Serves `routes`, which share `state`, on Rocket's own server.
pub async fn rocket<T>(state: T, routes: Vec<Route>) -> Result<(), Box<rocket::Error>>
where
    T: Send + Sync + 'static,
{
    let address = address();
    let config = rocket::Config {
        address: address.ip(),
        port: address.port(),
        log_level: rocket::config::LogLevel::Off,
        ..rocket::Config::release_default()
    };
    let rocket = rocket::custom(config).manage(state).mount("/", routes);
    let say = AdHoc::on_liftoff("address", |rocket| {
        Box::pin(async {
            let config = rocket.config();
            listening(SocketAddr::new(config.address, config.port));
        })
    });
    rocket.attach(say).launch().await?;
    Ok(())
}
