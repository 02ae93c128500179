//! The requests in flight, and the work that goes on without its client.

use std::mem;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The work that a reset waits for.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<TaskTracker>);

impl InFlight {
    /// Work begins. It has ended when the token is dropped.
    pub(crate) fn begin(&self) -> TaskTrackerToken {
        self.0.lock().token()
    }

    /// Waits until all has ended that has begun before, or for `most`.
    pub(crate) async fn ended(&self, most: Duration) {
        // What begins now is not waited for, or it would never end under load.
        let before = mem::take(&mut *self.0.lock());
        before.close();
        let _ = timeout(most, before.wait()).await;
    }
}
