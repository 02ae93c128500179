//! Puts the contract around the routes of a service, and answers with them on a listener.

use std::convert::Infallible;
use std::sync::Arc;

use chassis::serve::run::RunError;
use chassis::serve::server;
use chassis::serve::service::Service;
use hyper::service::service_fn;
use rocket::config::{Ident, LogLevel};
use rocket::local::asynchronous::Client;
use rocket::route::Route;
use rocket::shield::Shield;
use rocket::{Build, Rocket, catchers};
use tokio::net::TcpListener;

use crate::dispatch::dispatch;
use crate::exchange::{InExchange, Rules};
use crate::operations::{operations, unrouted};

// ANCHOR: serve
/// Answers on `listener` with `routes`, which share `app`, until the service's
/// shutdown is over.
///
/// Rocket's own server takes no listener, never gives up on a connection that
/// sends half a head, and cuts off what is in flight. Its in-process client,
/// made for tests, goes the same way through fairings, routes and catchers; so
/// it is put behind the accept loop that axum, poem and warp have.
pub async fn serve<A>(
    listener: TcpListener,
    routes: Vec<Route>,
    app: A,
    service: Arc<Service>,
) -> Result<(), RunError>
where
    A: Send + Sync + 'static,
{
    let rocket = with_rules(routes, Arc::clone(&service)).manage(app);
    let rocket = Client::untracked(rocket)
        .await
        .map_err(|error| RunError::Start(format!("Rocket does not start: {error}")))?;
    // A response borrows the client, and a streamed response outlives its handler. So
    // the client lives until the process ends.
    let rocket: &'static Client = Box::leak(Box::new(rocket));
    let http =
        service_fn(
            move |request| async move { Ok::<_, Infallible>(dispatch(rocket, request).await) },
        );
    server::serve(listener, http, &service).await;
    Ok(())
}
// ANCHOR_END: serve

// ANCHOR: with_rules
/// A fairing for every request, an exchange around every handler, and a catcher
/// for what no route matches.
pub(crate) fn with_rules(routes: Vec<Route>, service: Arc<Service>) -> Rocket<Build> {
    let mut routes = [routes, operations()].concat();
    for route in &mut routes {
        route.handler = Box::new(InExchange(route.handler.clone()));
    }
    // Given a whole configuration, Rocket reads neither ROCKET_* nor Rocket.toml.
    let config = rocket::Config {
        log_level: LogLevel::Off,
        cli_colors: false,
        ident: Ident::none(),
        ..rocket::Config::default()
    };
    rocket::custom(config)
        // In place of Rocket's own, with headers that the other services lack.
        .attach(Shield::new())
        .attach(Rules)
        .mount("/", routes)
        .register("/", catchers![unrouted])
        .manage(service)
}
// ANCHOR_END: with_rules
