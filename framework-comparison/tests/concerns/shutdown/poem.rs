use poem::listener::TcpAcceptor;
use poem::{Route, Server, get, handler};
use tokio::sync::{Notify, oneshot};

use super::{free_port, slowly, stopping};

static BEGUN: Notify = Notify::const_new();

#[handler]
async fn slow() -> &'static str {
    slowly(&BEGUN).await
}

#[tokio::test]
async fn it_finishes_requests_in_flight_and_waits_for_half_a_head() {
    let routes = Route::new().at("/slow", get(slow));
    let (listener, address) = free_port().await;
    let acceptor = TcpAcceptor::from_tokio(listener).expect("an acceptor");
    let (stop, stopped) = oneshot::channel::<()>();

    // ANCHOR: own
    let deadline = None;
    let server = Server::new_with_acceptor(acceptor).run_with_graceful_shutdown(
        routes,
        async {
            // In a service: the signal. Here the test sends it.
            let _ = stopped.await;
        },
        deadline,
    );
    // ANCHOR_END: own

    let running = tokio::spawn(async { server.await.expect("no error") });
    let stopping = stopping(address, running, &BEGUN, async || drop(stop)).await;
    stopping.waits_for_its_client().await;
}
