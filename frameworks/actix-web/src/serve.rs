//! Adds the contract to the routes of a service, and serves them on a listener.

use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Protocol};
use actix_server::Server;
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::Error;
use actix_web::dev::{AppConfig, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use chassis::serve::connection::Connection;
use chassis::serve::requests::Requests;
use chassis::serve::run::RunError;
use chassis::serve::service::Service;
use chassis::serve::shutdown::GRACE;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use crate::connection::connection;
use crate::exchange::exchange;
use crate::operations::{lab_routes, operations, unrouted};

/// A function that adds routes. Each worker of actix calls it.
pub type Routes = fn(&mut web::ServiceConfig);

// ANCHOR: serve
/// Serves `routes` on `listener` until the service has shut down. `app` is the state that
/// the handlers share.
///
/// actix has its own server: one thread accepts connections, and each worker is a
/// single-threaded runtime with its own application. State that the workers share is created
/// here, outside the function that builds an application.
///
/// `HttpServer` uses plain sockets, and has a time-out only for the first head of a
/// connection. So this function builds the server like `HttpServer` does, but over the
/// [`Requests`] that the other four frameworks use.
pub async fn serve<A>(
    listener: TcpListener,
    routes: Routes,
    app: A,
    service: Arc<Service>,
) -> Result<(), RunError>
where
    A: Send + Sync + 'static,
{
    let shutdown = service.shutdown().clone();
    let requested = shutdown.clone();
    let (app, service) = (Data::new(app), Data::from(service));
    let server = Server::build();
    let stopping = server.graceful_shutdown_signal();
    let connections = move || {
        let (stopping, service) = (stopping.clone(), service.clone());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            // `Connection` has its own time-outs, and lingers when it is closed.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(Duration::ZERO)
            .keep_alive(KeepAlive::Os)
            // `Requests` ends a request only if its client is gone.
            .h1_allow_half_closed(false)
            .on_connect_ext(|requests: &Requests, data| {
                data.insert(requests.phase());
            })
            .finish(map_config(
                with_rules(routes, app.clone(), service.clone()),
                |()| AppConfig::default(),
            ));
        fn_service(move |stream: TcpStream| {
            // actix would echo `Connection: upgrade`, and then close the connection. It would
            // also ask for every body, before it is known whether somebody reads it.
            let requests = Requests::new(Connection::new(stream, &service), &service);
            let requests = requests.hiding_wishes();
            async move { Ok((requests, Protocol::Http1, None)) }
        })
        .and_then(http)
    };
    server
        .workers(Handle::current().metrics().num_workers())
        .shutdown_signal(async move { requested.requested().await })
        .shutdown_timeout(GRACE.as_secs())
        .listen("http", listener.into_std()?, connections)?
        .run()
        .await?;
    shutdown.drained().await;
    Ok(())
}
// ANCHOR_END: serve

// ANCHOR: with_rules
/// Adds the operations, the exchange around every request, and the reply to requests that
/// no route matches.
fn with_rules<A: 'static>(
    routes: Routes,
    app: Data<A>,
    service: Data<Service>,
) -> actix_web::App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = Error,
        InitError = (),
    >,
> {
    let has_lab = service.lab().is_some();
    actix_web::App::new()
        .app_data(app)
        .app_data(service)
        .configure(routes)
        .configure(operations)
        .configure(|routes| {
            if has_lab {
                lab_routes(routes);
            }
        })
        .default_service(web::to(unrouted))
        .wrap(from_fn(exchange))
        .wrap(from_fn(connection))
}
// ANCHOR_END: with_rules
