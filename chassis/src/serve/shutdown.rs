//! Shutdown: on SIGTERM or SIGINT a service does what must come first, stops accepting connections,
//! closes idle ones, finishes the requests in flight and exits. A second signal ends it at once.

use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::lab::in_flight::InFlight;
use crate::telemetry::context::Context;

/// How long a shutdown waits for work in flight.
pub const GRACE: Duration = Duration::from_secs(10);

/// How long a signal waits for work that must end before the shutdown begins.
const NOTICE: Duration = Duration::from_secs(1);

/// Requests a shutdown, and waits for work that must finish first. Cheap to clone.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use chassis::serve::shutdown::Shutdown;
///
/// let shutdown = Shutdown::default();
/// // The work goes on even if the caller is cancelled.
/// let saved = shutdown.finish(async { "order 1" }).await;
/// assert_eq!(saved, "order 1");
///
/// shutdown.request();
/// shutdown.requested().await;
/// shutdown.drained().await;
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Shutdown {
    announced: CancellationToken,
    before: TaskTracker,
    requested: CancellationToken,
    // The token also knows whether, but takes a lock for it, and connections check often.
    requested_at: Arc<OnceLock<Instant>>,
    work: TaskTracker,
    /// What goes on without its client.
    in_flight: Arc<InFlight>,
    /// The runtime that the work runs on. Not the current one: a worker of actix is a runtime
    /// of its own, which ends before the work does.
    runtime: Handle,
}

/// A shutdown that only [`Shutdown::request`] requests. Its work runs on the current runtime.
///
/// # Panics
///
/// Outside of a Tokio runtime.
impl Default for Shutdown {
    fn default() -> Self {
        Self {
            announced: CancellationToken::new(),
            before: TaskTracker::new(),
            requested: CancellationToken::new(),
            requested_at: Arc::default(),
            work: TaskTracker::new(),
            in_flight: Arc::default(),
            runtime: Handle::current(),
        }
    }
}

impl Shutdown {
    /// A shutdown that SIGTERM or SIGINT requests. A second signal ends the process at once.
    pub fn on_signal() -> io::Result<Self> {
        let shutdown = Self::default();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let requested = shutdown.clone();
        tokio::spawn(async move {
            received(&mut terminate, &mut interrupt).await;
            tokio::spawn(requested.announce());
            let (name, status) = received(&mut terminate, &mut interrupt).await;
            eprintln!("ended by a second signal, {name}; requests in flight are cut off");
            std::process::exit(status);
        });
        Ok(shutdown)
    }

    /// Requests the shutdown when the work that must end before it has ended.
    async fn announce(self) {
        self.announced.cancel();
        self.before.close();
        if timeout(NOTICE, self.before.wait()).await.is_err() {
            tracing::warn!("the shutdown begins before all work has ended that should end first");
        }
        self.request();
    }

    /// Waits until it is certain that the shutdown will be requested.
    pub async fn announced(&self) {
        self.announced.cancelled().await;
    }

    /// Spawns work that ends soon after the shutdown is [announced](Self::announced). The shutdown
    /// waits a second for that, and begins then.
    pub fn spawn_before(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.before.spawn_on(work, &self.runtime);
    }

    /// Requests the shutdown.
    pub fn request(&self) {
        self.announced.cancel();
        self.requested_at.get_or_init(Instant::now);
        self.requested.cancel();
    }

    /// Whether the shutdown was requested.
    pub fn is_requested(&self) -> bool {
        self.requested_at.get().is_some()
    }

    /// Waits until the shutdown is requested.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Runs `work` to its end, even if the caller is cancelled because its client hangs up. A
    /// shutdown waits for it. The work belongs to the current request and span.
    pub async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        // In a box, since each layer around it, and the task, would move it: an order is 13 KiB.
        let work = Box::pin(work).in_current_span();
        let work = Context::current().scope(work);
        let token = self.in_flight.begin();
        let work = work.inspect(move |_| drop(token));
        match self.work.spawn_on(work, &self.runtime).await {
            Ok(done) => done,
            // Continue a panic in the request that it belongs to.
            Err(died) => match died.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Tasks are cancelled only when the runtime ends.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// The work that was passed to [`finish`](Self::finish) and has not ended.
    pub(crate) fn in_flight(&self) -> Arc<InFlight> {
        Arc::clone(&self.in_flight)
    }

    /// Spawns `work` that a shutdown waits for.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) {
        self.work.spawn_on(work, &self.runtime);
    }

    /// Waits until all spawned work has ended, until [`GRACE`] after the request at most.
    pub async fn drained(&self) {
        self.work.close();
        let due = *self.requested_at.get_or_init(Instant::now) + GRACE;
        if timeout_at(due, self.work.wait()).await.is_err() {
            tracing::warn!("some work was still in flight after {GRACE:?} and is cut off");
        }
    }
}

/// Waits for one of the two signals. Returns its name, and the exit status that a shell gives
/// to a process that it ended.
async fn received(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", 128 + 15),
        _ = interrupt.recv() => ("SIGINT", 128 + 2),
    }
}
