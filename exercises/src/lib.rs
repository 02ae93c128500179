#![doc = include_str!("../README.md")]

mod answers;
mod balance;
pub mod balancer;
mod count;
mod errors;
mod limit;
pub mod report;
mod stampede;
mod stock;
mod swap;
pub mod upstream;

use std::env;
use std::net::{Ipv4Addr, SocketAddr};

use rocket::Route;
use rocket::fairing::AdHoc;
use serde_json::json;
use shop_tests::program::Program;

use report::Report;

/// The number of exercises.
pub const COUNT: usize = 8;

/// Checks `program`, the file name of a program of this build, against exercise `number`. Fails
/// if the check cannot run.
pub async fn check(number: usize, program: &str) -> Result<Report, String> {
    match number {
        // The script starts the program of this exercise.
        5 => return swap::check(program).await,
        // These need what is around the program first.
        6 => return balance::check(program).await,
        7 => return stampede::check(program).await,
        8 => return limit::check(program).await,
        _ => {}
    }
    let program = Program::try_start(program, &[("PORT", "0")])?;
    let address = program.address();
    match number {
        1 | 2 => Ok(count::check(address).await),
        3 => Ok(errors::check(address).await),
        4 => Ok(stock::check(address).await),
        _ => Err(format!("there is no exercise {number}; use 1 to {COUNT}")),
    }
}

// Shared by the small servers of the exercises.

/// The address to listen on: `PORT`, or any free port.
pub fn address() -> SocketAddr {
    let port = env::var("PORT").ok().and_then(|port| port.parse().ok());
    (Ipv4Addr::LOCALHOST, port.unwrap_or(0)).into()
}

/// Logs the address, as the services do in their first line.
pub fn listening(address: SocketAddr) {
    println!("{}", json!({"address": address, "port": address.port()}));
}

/// Serves `routes` on Rocket's own server. `state` is the state that they share.
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
