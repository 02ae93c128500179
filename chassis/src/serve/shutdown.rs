//! Stopping: on SIGTERM or SIGINT a service stops accepting, finishes what is in
//! flight, closes idle connections and exits.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::telemetry::context::Context;

/// How long what is in flight may take to finish.
pub const GRACE: Duration = Duration::from_secs(10);

/// Says when to stop, and keeps what must be finished first. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    requested: CancellationToken,
    // The token knows, too, but takes a lock to say so; connections ask often.
    is_requested: Arc<AtomicBool>,
    work: TaskTracker,
}

impl Shutdown {
    /// One that is requested by SIGTERM or SIGINT.
    pub fn on_signal() -> io::Result<Self> {
        let shutdown = Self::default();
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let requested = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            requested.request();
        });
        Ok(shutdown)
    }

    /// Asks for it.
    pub fn request(&self) {
        self.is_requested.store(true, Ordering::Relaxed);
        self.requested.cancel();
    }

    /// Whether it was asked for.
    pub fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::Relaxed)
    }

    /// Waits until it is asked for.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Runs `work` to its end even if whoever waits for it goes away, such as a
    /// client that hangs up in the middle of its order; a shutdown waits for it.
    /// It stays part of the current request.
    pub async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let work = Context::current().scope(work);
        match self.work.spawn(work).await {
            Ok(done) => done,
            // Let a panic go on in the request it belongs to.
            Err(died) => match died.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Tasks are cancelled only as the runtime itself ends.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Spawns `work` that a shutdown waits for.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) {
        self.work.spawn(work);
    }

    /// Waits until all that was spawned is done, or [`GRACE`] is over; says
    /// which.
    pub async fn drained(&self) -> bool {
        self.work.close();
        tokio::time::timeout(GRACE, self.work.wait()).await.is_ok()
    }
}
