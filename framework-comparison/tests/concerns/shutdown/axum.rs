use axum::Router;
use axum::routing::get;
use tokio::sync::{Notify, oneshot};

use super::{free_port, slowly, stopping};

static BEGUN: Notify = Notify::const_new();

#[tokio::test]
async fn it_finishes_requests_in_flight_and_waits_for_half_a_head() {
    let routes = Router::new().route("/slow", get(async || slowly(&BEGUN).await));
    let (listener, address) = free_port().await;
    let (stop, stopped) = oneshot::channel::<()>();

    // ANCHOR: own
    let server = axum::serve(listener, routes).with_graceful_shutdown(async {
        // In a service: the signal. Here the test sends it.
        let _ = stopped.await;
    });
    // ANCHOR_END: own

    let running = tokio::spawn(async { server.await.expect("no error") });
    let stopping = stopping(address, running, &BEGUN, async || drop(stop)).await;
    stopping.waits_for_its_client().await;
}
