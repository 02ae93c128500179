//! Stopping: on SIGTERM or SIGINT a service stops accepting, finishes what is in
//! flight, closes idle connections and exits. A second signal ends it at once.

use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::telemetry::context::Context;

/// How long what is in flight may take to finish.
pub const GRACE: Duration = Duration::from_secs(10);

/// Says when to stop, and keeps what must be finished first. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    requested: CancellationToken,
    // The token knows whether, too, but takes a lock to say so; connections ask often.
    requested_at: Arc<OnceLock<Instant>>,
    work: TaskTracker,
    /// Where the work runs. A worker of actix is a runtime of its own, which ends
    /// before the work does.
    runtime: Handle,
}

/// One that is requested by nothing but [`Shutdown::request`]. Its work runs on the
/// current runtime.
///
/// # Panics
///
/// Outside of a Tokio runtime.
impl Default for Shutdown {
    fn default() -> Self {
        Self {
            requested: CancellationToken::new(),
            requested_at: Arc::default(),
            work: TaskTracker::new(),
            runtime: Handle::current(),
        }
    }
}

impl Shutdown {
    /// One that is requested by SIGTERM or SIGINT. The second signal ends the
    /// process, whatever is in flight.
    pub fn on_signal() -> io::Result<Self> {
        let shutdown = Self::default();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let requested = shutdown.clone();
        tokio::spawn(async move {
            received(&mut terminate, &mut interrupt).await;
            requested.request();
            let (name, status) = received(&mut terminate, &mut interrupt).await;
            eprintln!("ended by a second signal, {name}; requests in flight are cut off");
            std::process::exit(status);
        });
        Ok(shutdown)
    }

    /// Asks for it.
    pub fn request(&self) {
        self.requested_at.get_or_init(Instant::now);
        self.requested.cancel();
    }

    /// Whether it was asked for.
    pub fn is_requested(&self) -> bool {
        self.requested_at.get().is_some()
    }

    /// Waits until it is asked for.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Runs `work` to its end even if whoever waits for it goes away, such as a
    /// client that hangs up in the middle of its order; a shutdown waits for it.
    /// It stays part of the current request and span.
    pub async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let work = Context::current().scope(work.in_current_span());
        match self.work.spawn_on(work, &self.runtime).await {
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
        self.work.spawn_on(work, &self.runtime);
    }

    /// Waits until all that was spawned is done, for [`GRACE`] from the request at
    /// most.
    pub async fn drained(&self) {
        self.work.close();
        let due = *self.requested_at.get_or_init(Instant::now) + GRACE;
        if timeout_at(due, self.work.wait()).await.is_err() {
            tracing::warn!("work was still in flight after {GRACE:?} and is cut off");
        }
    }
}

/// The next of the two signals: its name, and the exit status by which a shell knows
/// that it ended a process.
async fn received(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", 128 + 15),
        _ = interrupt.recv() => ("SIGINT", 128 + 2),
    }
}
