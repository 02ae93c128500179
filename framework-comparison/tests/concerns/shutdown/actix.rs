use actix_web::{App, HttpServer, get, rt};
use tokio::sync::Notify;

use super::{free_port, slowly, stopping};

static BEGUN: Notify = Notify::const_new();

#[get("/slow")]
async fn slow() -> &'static str {
    slowly(&BEGUN).await
}

#[actix_web::test]
async fn it_finishes_requests_in_flight_and_ends_by_its_own_deadline() {
    let (listener, address) = free_port().await;
    let listener = listener.into_std().expect("a listener");

    // ANCHOR: own
    let server = HttpServer::new(|| App::new().service(slow))
        .shutdown_timeout(30) // seconds; the default
        .listen(listener)
        .expect("it listens")
        .workers(1)
        .disable_signals() // the test sends the signal
        .run();
    // ANCHOR_END: own

    let handle = server.handle();
    let running = rt::spawn(async { server.await.expect("no error") });
    let stopping = stopping(address, running, &BEGUN, async || handle.stop(true).await).await;
    stopping.ends().await;
}
