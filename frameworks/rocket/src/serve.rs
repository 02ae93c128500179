//! Adds the contract to the routes of a service, and serves them on a listener.

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
/// Serves `routes` on `listener` until the service has shut down. `app` is the state that
/// the handlers share.
///
/// Rocket's own server accepts no listener, has no time-out for a request head, and cuts off
/// requests in flight. Its in-process client, made for tests, runs the same fairings, routes
/// and catchers. So requests go from the accept loop of the chassis to that client.
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
        .map_err(|error| RunError::Start(format!("Rocket cannot start: {error}")))?;
    // A response borrows the client, and a streamed response outlives its handler. So leak
    // the client: it lives until the process ends.
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
/// Adds the operations, the exchange around every handler, and the reply to requests that
/// no route matches.
fn with_rules(routes: Vec<Route>, service: Arc<Service>) -> Rocket<Build> {
    let mut routes = [routes, operations(service.lab().is_some())].concat();
    for route in &mut routes {
        route.handler = Box::new(InExchange(route.handler.clone()));
    }
    // With an explicit configuration, Rocket reads neither ROCKET_* nor Rocket.toml.
    let config = rocket::Config {
        log_level: LogLevel::Off,
        cli_colors: false,
        ident: Ident::none(),
        ..rocket::Config::default()
    };
    rocket::custom(config)
        // Replace Rocket's default shield, whose headers the other services do not send.
        .attach(Shield::new())
        .attach(Rules)
        .mount("/", routes)
        .register("/", catchers![unrouted])
        .manage(service)
}
// ANCHOR_END: with_rules
